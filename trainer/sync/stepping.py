"""The kit's training loop, for methods that do not train with Keras' `fit`.

Model and optimizer are local to the board, outside the strategy; a method decides what boards exchange and when. The
same callback as with `fit` writes the records.
"""

from __future__ import annotations

import contextlib
import copy
import time
from typing import (
    TYPE_CHECKING,
    Callable,
    Iterator,
    List,
    Optional,
    Sequence,
    Tuple,
)

import tensorflow as tf

from trainer.learning import data, optimizers
from trainer.learning.model import moving_statistics
from trainer.learning.step_timer import StepTimer
from trainer.sync.collective import Flat, mean_over_boards
from trainer.sync.method import Logs, Mean, Method, Several

if TYPE_CHECKING:
    from trainer.learning.context import TrainingContext


class Worker:
    """A worker's model, optimizer and training loop; all workers begin with the chief's weights."""

    def __init__(self, context: TrainingContext) -> None:
        self.context, self.strategy = context, context.strategy
        self.model = context.build_model()
        self.optimizer = context.build_optimizer()
        self.optimizer.build(self.model.trainable_variables)
        self._loss = tf.keras.losses.SparseCategoricalCrossentropy()
        self._sums = tf.Variable(tf.zeros(3), trainable=False)  # sums of losses, correct predictions and images
        self.pace, self.epoch = context.pace, context.epochs.start
        self.begun = self.pace.begun(context.begins)  # steps of the first epoch that earlier attempts made
        self.made_steps = self.pace.before(context.epochs.start) + self.begun  # and of all epochs
        self.last_step = self.pace.before(context.epochs.stop)
        self.warm_up_steps = context.config.sync.first_steps(self.pace.steps(0))
        # of a batch, so that steps can be traced before the first
        self.signature = [
            tf.TensorSpec([None, *array.shape[1:]], array.dtype)
            for array in (context.images.x_train, context.images.y_train)
        ]
        # (images, labels) -> (logs, gradient: list of [*shape_i] float32), traced once for all kinds of steps
        self.backward = tf.function(
            self._backward, input_signature=self.signature, jit_compile=context.xla == "jit_compile" or None
        )
        self._begin_alike()

    def under(self, context: TrainingContext) -> Worker:
        """A worker with the same model and optimizer under another context, such as another method's."""
        worker = copy.copy(self)
        worker.context = context
        return worker

    def _backward(self, images: tf.Tensor, labels: tf.Tensor) -> Tuple[Logs, List[tf.Tensor]]:
        scaled = isinstance(self.optimizer, tf.keras.mixed_precision.LossScaleOptimizer)
        with tf.GradientTape() as tape:
            probabilities = self.model(images, training=True)
            loss = self._loss(labels, probabilities)
            objective = self.optimizer.get_scaled_loss(loss) if scaled else loss
        gradient = tape.gradient(objective, self.model.trainable_variables)
        if scaled:
            gradient = self.optimizer.get_unscaled_gradients(gradient)
        return self._logs(loss, probabilities, labels), gradient

    def timed_apart(self) -> Worker:
        """A worker with the same model and optimizer, whose methods time into a timer of its own."""
        context = copy.copy(self.context)
        context.timer = StepTimer(context.timer.on)
        return self.under(context)

    def apply(self, gradient: List[tf.Tensor]) -> None:
        """Apply gradient: list of [*shape_i] float32, one per trainable variable. Call it in a tf.function."""
        self.optimizer.apply_gradients(zip(gradient, self.model.trainable_variables))

    def dry_run(self, step: Callable[[tf.Tensor, tf.Tensor], Logs]) -> None:
        """Make a step on a batch of zeros and undo it: TensorFlow optimizes a function in its first call."""
        changed = [*self.model.variables, *optimizers.state(self.optimizer), self._sums]
        before = [variable.numpy() for variable in changed]
        shapes = [[self.context.shard.batch, *spec.shape[1:]] for spec in self.signature]
        step(*[tf.zeros(shape, spec.dtype) for shape, spec in zip(shapes, self.signature)])
        for variable, value in zip(changed, before):
            variable.assign(value)

    def train(self, method: Method) -> tf.keras.Model:
        """Train all epochs and return the model."""
        context, recorder = self.context, self.context.recorder
        images, validation = context.images, context.validation_shard
        batches = self._batches(context.epochs.start)
        held_out = data.validation_batches(images, validation)
        method.trace()
        context.ready(self.model, self.optimizer, lambda: [*_only_own(method, self.model), self._sums])
        recorder.set_model(self.model)
        for epoch in context.epochs:
            self.epoch, steps, before = epoch, self.pace.steps(epoch), self.pace.before(epoch)
            changes = epoch == self.pace.measured_in and epoch + 1 < context.epochs.stop
            place = kept = self.begun if epoch == context.epochs.start else 0
            context.on_epoch_begin(epoch, context.begins.images if place else 0)
            if not place:
                self._sums.assign(tf.zeros(3))
            recorder.on_epoch_begin(epoch)
            while place < steps:
                number = before + place + 1
                count = min(self._steps_a_call(place, steps), method.alike(number))
                several = count > 1
                logs = method.steps(number, count, batches) if several else method.step(number, *next(batches))
                place += count
                if number + count - 1 == self.last_step or (changes and place == steps):
                    method.finalize()  # counted in the last window
                if place < steps and self._keeps(kept, place) and method.common(number + count - 1):
                    self._save_within(method, place, logs)
                    kept = place
                else:
                    recorder.on_train_batch_end(place - 1, logs)
            trained = self._sums.numpy()
            recorder.on_test_begin()
            self._sums.assign(tf.zeros(3))
            with method.consensus():
                for x, y in held_out:
                    self._evaluate(x, y)
            sums = self.means([*trained, *self._sums.numpy()])
            recorder.on_test_end()
            if changes:
                self._follow_speeds()
                batches = self._batches(epoch + 1)
            names = ("loss", "accuracy", "val_loss", "val_accuracy")
            values = (sums[0] / sums[2], sums[1] / sums[2], sums[3] / sums[5], sums[4] / sums[5])
            recorder.on_epoch_end(epoch, dict(zip(names, values)))
            if context.checkpoint_due(epoch):
                method.flush()
            context.save(epoch)
        return self.model

    def _batches(self, epoch: int) -> Iterator:
        """This board's batches from an epoch on."""
        context = self.context
        epochs = range(epoch, context.epochs.stop)
        done = context.begins.images if epoch == context.epochs.start else 0
        return iter(data.training_batches(context.images, self.pace.shard(epoch), context.seed, epochs, done))

    def _save_within(self, method: Method, place: int, logs: Logs) -> None:
        """Write a checkpoint after `place` steps of the epoch, where a window then ends."""
        began = time.monotonic()
        method.flush()
        stalled_s = time.monotonic() - began
        self.context.recorder.on_train_batch_end(place - 1, logs, cut=True)
        self.context.save_within(self.epoch, place, stalled_s)

    def _keeps(self, kept: int, place: int) -> bool:
        """Whether a checkpoint within the epoch is due after `place` steps of it; the latest was after `kept`."""
        every = self.context.config.checkpoint_steps
        return every > 0 and place // every > kept // every

    def _follow_speeds(self) -> None:
        """Share out the steps of the later epochs by the speeds of this one."""
        boards, rank = self.strategy.num_replicas_in_sync, self.context.cluster.rank
        own = self.context.recorder.computed_step_s()
        self.context.follow(self.means([boards * own if other == rank else 0.0 for other in range(boards)]))
        self.last_step = self.pace.before(self.context.epochs.stop)

    def _steps_a_call(self, place: int, steps: int) -> int:
        """Steps of the next call, after `place` steps of the epoch: it ends with the window or before."""
        config = self.context.config
        left = min(config.window_steps - place % config.window_steps, steps - place)
        return min(config.steps_a_call, left)

    def means(self, values: Sequence[float]) -> List[float]:
        """The mean of each value over all boards, the same on all boards."""
        mean = self.context.in_order.submit(self._mean_of, tf.constant(values, tf.float32)).result()
        return [float(value) for value in mean.numpy()]

    @tf.function(reduce_retracing=True)
    def _evaluate(self, images: tf.Tensor, labels: tf.Tensor) -> None:
        probabilities = self.model(images, training=False)
        self._logs(self._loss(labels, probabilities), probabilities, labels)

    def _logs(self, loss: tf.Tensor, probabilities: tf.Tensor, labels: tf.Tensor) -> Logs:
        count = tf.cast(tf.shape(labels)[0], tf.float32)
        right = tf.equal(tf.argmax(probabilities, axis=1, output_type=labels.dtype), labels)
        sums = self._sums.assign_add(tf.stack([loss * count, tf.reduce_sum(tf.cast(right, tf.float32)), count]))
        return {"loss": sums[0] / sums[2], "accuracy": sums[1] / sums[2]}

    @tf.function
    def _mean_of(self, values: tf.Tensor) -> tf.Tensor:
        return mean_over_boards(self.strategy, values)

    def _begin_alike(self) -> None:
        """Give every board the chief's weights: the mean of its vector and the others' zeros, times the boards."""
        variables = self.model.variables
        flat = Flat([variable.shape for variable in variables])

        @tf.function
        def total(times: tf.Tensor) -> tf.Tensor:
            return mean_over_boards(self.strategy, times * flat.pack([variable.read_value() for variable in variables]))

        times = float(self.strategy.num_replicas_in_sync if self.context.cluster.is_chief else 0)
        for variable, value in zip(variables, flat.unpack(total(tf.constant(times)))):
            variable.assign(value)


def _only_own(method: Method, model: tf.keras.Model) -> List[tf.Variable]:
    """The method's variables that are not the model's."""
    models = {id(variable) for variable in model.variables}
    return [variable for variable in method.variables if id(variable) not in models]


class SynchronousSteps(tf.Module):
    """A method in which all boards make every optimizer step with the same gradient: their mean."""

    def __init__(self, worker: Worker, mean: Mean, warm_up: Optional[Mean] = None) -> None:
        super().__init__()
        config = worker.context.config.sync
        self._worker, self._every = worker, config.accumulate_steps
        self._warm_up_steps = worker.warm_up_steps if warm_up else 0
        held = worker.model.trainable_variables if self._every > 1 else []
        self._held = [tf.Variable(tf.zeros(variable.shape), trainable=False) for variable in held]
        self._mean, self._warm_up_mean = mean, warm_up  # kept here so that tf.Module finds their variables
        self._update = self._updating(mean)
        self._first_updates = self._updating(warm_up) if warm_up and self._warm_up_steps else self._update
        self._hold = tf.function(self._hold_it, input_signature=worker.signature)
        self._holds = Several(self._hold, worker)
        kinds = {id(update): update for update in (self._first_updates, self._update)}
        self._whole = tf.constant(1.0)  # the share of a batch that is applied at once
        self._updates = {
            kind: Several(lambda images, labels, update=update: update(images, labels, self._whole), worker)
            for kind, update in kinds.items()
        }
        # of batch normalisation: each board has its own
        self._statistics = moving_statistics(worker.model)
        self._statistics_flat = Flat([variable.shape for variable in self._statistics])

    def trace(self) -> None:
        """Trace all kinds of steps."""
        for step in {id(step): step for step in (self._first_updates, self._update)}.values():
            step.get_concrete_function()
        for several in [self._holds] if self._held else self._updates.values():
            several.trace()
        if self._held:
            self._hold.get_concrete_function()

    def step(self, number: int, images: tf.Tensor, labels: tf.Tensor) -> Logs:
        """images: [b, ...], labels: [b] int32 -> logs; synchronises after `accumulate_steps` batches."""
        held = (number - 1) % self._every + 1
        if held < self._every and number < self._worker.last_step:
            return self._hold(images, labels)
        return self._update_of(number)(images, labels, tf.constant(1.0 / held))

    def alike(self, number: int) -> int:
        """Batches that are held until the next update; without, steps until the end of the warm-up or of the run."""
        held, last = (number - 1) % self._every + 1, self._worker.last_step
        if self._every > 1:
            return max(1, min(self._every - held, last - number))
        return (self._warm_up_steps if number <= self._warm_up_steps else last) + 1 - number

    def steps(self, number: int, count: int, batches: Iterator) -> Logs:
        """Logs of the last of `count` steps that are alike."""
        several = self._holds if self._every > 1 else self._updates[id(self._update_of(number))]
        return several(count, batches)

    def _update_of(self, number: int) -> Callable[[tf.Tensor, tf.Tensor, tf.Tensor], Logs]:
        return self._first_updates if number <= self._warm_up_steps else self._update

    def common(self, number: int) -> bool:
        """See method.Method."""
        return number % self._every == 0

    def finalize(self) -> None:
        """Nothing to do: all boards have the same weights."""

    def flush(self) -> None:
        """Nothing to do: no communication is in flight between steps."""

    @contextlib.contextmanager
    def consensus(self) -> Iterator[None]:
        """Give all boards the mean of their moving statistics; their weights are always the same."""
        if self._statistics:
            self._worker.context.in_order.submit(self._average_statistics).result()
        yield

    @tf.function
    def _average_statistics(self) -> None:
        mine = self._statistics_flat.pack([variable.read_value() for variable in self._statistics])
        mine *= self._worker.context.shard.weight
        means = self._statistics_flat.unpack(mean_over_boards(self._worker.strategy, mine))
        for variable, mean in zip(self._statistics, means):
            variable.assign(mean)

    def _hold_it(self, images: tf.Tensor, labels: tf.Tensor) -> Logs:
        logs, gradient = self._worker.backward(images, labels)
        for held, part in zip(self._held, gradient):
            held.assign_add(part)
        return logs

    def _updating(self, mean: Mean) -> Callable[[tf.Tensor, tf.Tensor, tf.Tensor], Logs]:
        @tf.function(input_signature=[*self._worker.signature, tf.TensorSpec([], tf.float32)])
        def update(images: tf.Tensor, labels: tf.Tensor, share: tf.Tensor) -> Logs:
            logs, gradient = self.gradient(images, labels, share)
            self._worker.apply(mean(gradient))
            return logs

        return update

    def gradient(self, images: tf.Tensor, labels: tf.Tensor, share: tf.Tensor) -> Tuple[Logs, List[tf.Tensor]]:
        """images: [b, ...], labels: [b] int32, share: [] -> logs, this board's part of the mean gradient: list of
        [*shape_i] float32. With batches that were held it is of all of them, times `share`. Call it in a tf.function.
        """
        logs, gradient = self._worker.backward(images, labels)
        if self._held:
            gradient = [(held + part) * share for held, part in zip(self._held, gradient)]
            for held in self._held:
                held.assign(tf.zeros_like(held))
        weight = self._worker.context.shard.weight
        return logs, gradient if weight == 1 else [weight * part for part in gradient]
