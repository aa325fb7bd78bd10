"""Asynchronous training with parameter servers, under TensorFlow's ParameterServerStrategy.

The servers hold the model and the optimizer's state. The chief hands out steps, each with the indices of its images.
The worker that takes one reads the model, computes the gradient and updates the servers, and waits for no other worker.
An epoch has the same images as a synchronous one: the chief waits for all of its steps, then has the workers validate.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Dict, Iterator, List, Tuple

import numpy as np
import tensorflow as tf
from tensorflow.python.distribute import distribute_utils

from trainer.contract.cluster import SERVER
from trainer.contract.events import Epoch
from trainer.contract.layout import UNPACKED
from trainer.learning import data
from trainer.learning.model import moving_statistics
from trainer.learning.step_timer import ready
from trainer.sync.served import RELAYED, Boards

if TYPE_CHECKING:
    from trainer.learning.context import TrainingContext

_LOOK_S = 0.05  # between two looks whether all steps are made
_PROGRESS_S = 2.0
_UPDATES = ("ResourceApply", "Assign")  # beginnings of the types of operations that update variables


def train(context: TrainingContext) -> tf.keras.Model:
    """Train all epochs as the chief and return the model, on this board alone."""
    return Chief(context).train()


class Chief:
    """Hands out steps to the workers, and tells the boards what their records need."""

    def __init__(self, context: TrainingContext) -> None:
        self.context = context
        assert isinstance(context.log, Boards)
        self._boards = context.log
        with context.strategy.scope():
            self.model = context.build_model()
            self.optimizer = context.build_optimizer()
            self.optimizer.build(self.model.trainable_variables)
            # losses, right answers and images: the servers', so that no worker takes its share with it when it ends
            self._sums = tf.Variable(tf.zeros(3), trainable=False)
        self._statistics = moving_statistics(self.model)
        self._coordinator = tf.distribute.experimental.coordinator.ClusterCoordinator(context.strategy)
        images = self._coordinator.create_per_worker_dataset(self._of_worker)
        self._images = iter(images)
        given = tf.data.IteratorSpec(images.element_spec), tf.TensorSpec([None], tf.int32)
        # traced outside the strategy's scope: one worker makes a step, without another replica
        self._step = tf.function(self._make_step).get_concrete_function(*given, tf.TensorSpec([2], tf.int64))
        self._validation_step = tf.function(self._validate).get_concrete_function(*given)

    def train(self) -> tf.keras.Model:
        """Train all epochs; the model with the final weights."""
        context = self.context
        changing = (*self.model.trainable_variables, *self._statistics)
        held = [0] * len(context.cluster.tasks(context.config.servers)[SERVER])  # bytes
        for variable in changing:
            held[tf.DeviceSpec.from_string(variable.device).task] += 4 * variable.shape.num_elements()
        read = 4 * sum(variable.shape.num_elements() for variable in self.model.variables)  # with those that are frozen
        self._boards.more = {
            "changing_parameters": sum(held) // 4,
            "server_bytes": held,
            "step_bytes": read + sum(held),
        }
        context.ready(self.model, self.optimizer)
        batches = self._batches(context.epochs)
        for epoch in context.epochs:
            began_s = time.monotonic()
            self._boards.tell("begin", epoch=epoch + 1)
            first, steps = (
                count * context.shard.workers for count in (context.pace.before(epoch), context.pace.steps(epoch))
            )
            # dropout follows from seed and step, whichever worker makes it
            loss, accuracy = self._all(
                self._step,
                [(next(batches), tf.constant([context.seed, first + step], tf.int64)) for step in range(steps)],
            )
            self._boards.tell("trained")
            train_s = time.monotonic() - began_s
            if not np.isfinite(loss):
                raise FloatingPointError(f"the loss is {loss} in epoch {epoch + 1}")
            val_loss, val_accuracy = self._all(self._validation_step, [(indices,) for indices in self._held_out()])
            values = {
                "loss": loss,
                "accuracy": accuracy,
                "val_loss": val_loss,
                "val_accuracy": val_accuracy,
                "learning_rate": context.rate.after(epoch, steps - 1),
            }
            epoch_s = time.monotonic() - began_s
            self._boards.tell(Epoch.KIND, epoch=epoch + 1, validation_s=epoch_s - train_s, **values)
            context.recorder.complete(epoch, train_s, {**values, "epoch_s": epoch_s})
            context.save(epoch)
        return self._whole()

    def _all(self, function: Any, given: List[Tuple[tf.Tensor, ...]]) -> Tuple[float, float]:
        """Loss and accuracy over the images of all calls, made by whichever worker is free."""
        self._sums.assign(tf.zeros(3))
        for arguments in given:
            self._coordinator.schedule(function, args=(self._images, *arguments))
        seen, seen_s = 0.0, time.monotonic()
        while not self._coordinator.done():
            time.sleep(_LOOK_S)
            if time.monotonic() - seen_s > _PROGRESS_S:
                now, seen_s = float(self._sums.numpy()[2]), time.monotonic()
                if now != seen:
                    self._boards.progress()
                seen = now
        self._coordinator.join()
        loss, right, images = self._sums.numpy()
        return float(loss / images), float(right / images)

    def _batches(self, epochs: range) -> Iterator[tf.Tensor]:
        """The indices of the images of each step: the batches that synchronous workers would have, in turn."""
        context = self.context
        of_ranks = [
            iter(data.training_indices(len(context.images.y_train), shard, context.seed, epochs))
            for shard in context.shard.of_all()
        ]
        while True:
            for indices in of_ranks:
                yield next(indices)

    def _held_out(self) -> List[tf.Tensor]:
        """The indices of the images of each step of validation."""
        count, batch = len(self.context.images.y_test), self.context.validation_shard.batch
        return [tf.range(begin, min(begin + batch, count)) for begin in range(0, count, batch)]

    def _of_worker(self) -> tf.data.Dataset:
        """All images and labels, again and again, read by each worker from its own disk."""
        images = self.context.images
        read = [
            tf.reshape(tf.io.decode_raw(tf.io.read_file(name), array.dtype), [-1, *array.shape[1:]])
            for name, array in zip(UNPACKED, (images.x_train, images.y_train, images.x_test, images.y_test))
        ]
        return tf.data.Dataset.from_tensors(tuple(read)).repeat()

    def _make_step(self, images: Iterator, indices: tf.Tensor, seed: tf.Tensor) -> None:
        """A step of a worker. indices: [b] int32 of its images, seed: [2] int64."""
        self.context.generator.seed = seed
        pixels, labels, _, _ = next(images)
        pixels, labels = tf.gather(pixels, indices), tf.gather(labels, indices)
        variables, iterations = self.model.trainable_variables, self.optimizer.iterations
        begun = ready([labels])
        with distribute_utils.cache_variable_reads():
            with tf.GradientTape() as tape:
                # each variable is read once, all of them at the beginning, and layers compute as soon as theirs is here
                read = [variable.read_value() for variable in (*variables, *self._statistics)]
                known = iterations.read_value()
                pulled = ready([*read, known])
                probabilities = self.model(pixels, training=True)
                losses = tf.keras.losses.sparse_categorical_crossentropy(labels, probabilities)
                loss = tf.reduce_mean(losses)
            gradient = tape.gradient(loss, variables)
            computed = ready(gradient)
            with tf.control_dependencies([computed]):
                now = iterations.get().read_value()  # before this step's update, which waits for it
            # the update of a variable waits for its gradient alone
            self.optimizer.apply_gradients(zip(gradient, variables), skip_gradients_aggregation=True)
            rate = self.optimizer.learning_rate.read_value()
        pushed = ready(_updated())
        sums = _sums(losses, probabilities, labels)
        self._sums.assign_add(sums)
        _tell_step([begun, pulled, computed, pushed], sums, now - known, rate)

    def _validate(self, images: Iterator, indices: tf.Tensor) -> None:
        """Validation of some images by a worker. indices: [b] int32."""
        _, _, pixels, labels = next(images)
        pixels, labels = tf.gather(pixels, indices), tf.gather(labels, indices)
        probabilities = self.model(pixels, training=False)
        losses = tf.keras.losses.sparse_categorical_crossentropy(labels, probabilities)
        self._sums.assign_add(_sums(losses, probabilities, labels))

    def _whole(self) -> tf.keras.Model:
        """The model with the servers' weights on this board, its partitioned variables joined."""
        whole = self.context.build_model()
        values = iter([variable.numpy() for variable in self.model.variables])
        for variable in whole.variables:
            value = next(values)
            while value.shape != tuple(variable.shape):
                value = np.concatenate([value, next(values)])
            variable.assign(value)
        return whole


def _updated() -> List[tf.Tensor]:
    """A number from each server, once all updates of the function being traced have been made there."""
    graph = tf.compat.v1.get_default_graph()
    servers = {internal.name: external.device for external, internal in graph.captures}
    updates: Dict[str, List[tf.Operation]] = {}
    for operation in graph.get_operations():
        if operation.type.startswith(_UPDATES):
            updates.setdefault(servers[operation.inputs[0].name], []).append(operation)
    marks = []
    for server, operations in updates.items():
        with tf.control_dependencies(operations), tf.device(server):
            marks.append(tf.identity(tf.constant(0.0)))
    return marks


def _tell_step(moments: List[tf.Tensor], sums: tf.Tensor, stale: tf.Tensor, rate: tf.Tensor) -> None:
    """Append a step's line to the relay's file on the worker's board."""
    with tf.device("CPU:0"):
        words = [tf.strings.as_string(number, precision=6) for number in (*moments, *tf.unstack(sums))]
        words += [tf.strings.as_string(stale), tf.strings.as_string(rate, precision=9)]
        tf.print(tf.strings.join(words, " "), output_stream=RELAYED)


def _sums(losses: tf.Tensor, probabilities: tf.Tensor, labels: tf.Tensor) -> tf.Tensor:
    """[3] float32: sums of losses and right answers, and the number of images."""
    right = tf.equal(tf.argmax(probabilities, axis=1, output_type=labels.dtype), labels)
    count = tf.cast(tf.shape(labels)[0], tf.float32)
    return tf.stack([tf.reduce_sum(losses), tf.reduce_sum(tf.cast(right, tf.float32)), count])
