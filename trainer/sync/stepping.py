"""A board's own loop over epochs and steps, for the ways that do not train with Keras' `fit`.

The model and the optimizer live on the board alone, outside the strategy; a way decides what boards exchange and
when. Records are those of `fit`: the same callback writes them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Callable, Dict, List, Tuple

import tensorflow as tf

from trainer import data
from trainer.sync.collective import Flat, mean_over_boards

if TYPE_CHECKING:
    from trainer.loop import Session

Logs = Dict[str, tf.Tensor]  # loss and accuracy, means over the epoch so far on this board


class Board:
    """The model, the optimizer and the loop of one board; all boards begin with the chief's weights."""

    def __init__(self, session: Session) -> None:
        self.session, self.strategy = session, session.strategy
        self.model = session.build_model()
        self.optimizer = session.build_optimizer()
        self.optimizer.build(self.model.trainable_variables)
        self._loss = tf.keras.losses.SparseCategoricalCrossentropy()
        self._sums = tf.Variable(tf.zeros(3), trainable=False)  # of losses, of right answers, of images
        self._begin_alike()
        session.ready(self.model)

    def backward(self, images: tf.Tensor, labels: tf.Tensor) -> Tuple[Logs, List[tf.Tensor]]:
        """The logs with this batch, and its gradient: a tensor for each trainable variable. In a tf.function."""
        with tf.GradientTape() as tape:
            probabilities = self.model(images, training=True)
            loss = self._loss(labels, probabilities)
        gradient = tape.gradient(loss, self.model.trainable_variables)
        return self._logs(loss, probabilities, labels), gradient

    def apply(self, gradient: List[tf.Tensor]) -> None:
        """One step of the optimizer. In a tf.function."""
        self.optimizer.apply_gradients(zip(gradient, self.model.trainable_variables))

    def train(
        self,
        step: Callable[[int, tf.Tensor, tf.Tensor], Logs],
        before_validation: Callable[[], None] = lambda: None,
    ) -> tf.keras.Model:
        """The model after all epochs: `step` on every batch, then validation.

        `step` gets its number in the whole run, from 1, and the batch; `before_validation` is called when the last
        step of an epoch was made.
        """
        session, recorder = self.session, self.session.recorder
        images, share, validation = session.images, session.share, session.validation_share
        steps = share.steps(len(images.y_train))
        batches = iter(data.training_batches(images, share, session.seed, session.epochs))
        held_out = data.validation_batches(images, validation)
        recorder.set_model(self.model)
        for epoch in session.epochs:
            self._sums.assign(tf.zeros(3))
            recorder.on_epoch_begin(epoch)
            for number in range(steps):
                logs = step(epoch * steps + number + 1, *next(batches))
                recorder.on_train_batch_end(number, logs)
            before_validation()
            trained = self._means()
            recorder.on_test_begin()
            self._sums.assign(tf.zeros(3))
            for x, y in held_out:
                self._evaluate(x, y)
            validated = self._means()
            recorder.on_test_end()
            recorder.on_epoch_end(
                epoch, {**trained, "val_loss": validated["loss"], "val_accuracy": validated["accuracy"]}
            )
        return self.model

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
    def _mean_sums(self) -> tf.Tensor:
        return mean_over_boards(self.strategy, self._sums.read_value())

    def _means(self) -> Dict[str, float]:
        sums = self._mean_sums().numpy()
        return {"loss": float(sums[0] / sums[2]), "accuracy": float(sums[1] / sums[2])}

    def _begin_alike(self) -> None:
        """Every board takes over the chief's weights; the mean of its vector and zeros, times the boards."""
        variables = self.model.variables
        flat = Flat([variable.shape for variable in variables])
        boards = self.strategy.num_replicas_in_sync

        @tf.function
        def chiefs() -> tf.Tensor:
            mine = flat.pack([variable.read_value() for variable in variables])
            return boards * mean_over_boards(
                self.strategy, mine if self.session.cluster.is_chief else tf.zeros_like(mine)
            )

        for variable, value in zip(variables, flat.unpack(chiefs())):
            variable.assign(value)
