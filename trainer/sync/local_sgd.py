"""Boards train by themselves and average every so many steps (local SGD; Stich, "Local SGD converges fast and
communicates little", ICLR 2019; post-local SGD: Lin et al., "Don't use large mini-batches, use local SGD", ICLR 2020).

What is averaged: all weights, and the moving statistics of batch normalisation, which are weights of the trained
model too. What is not: the optimizer's moments, which follow their own board's gradients and fade within some steps.

What travels is the change since the last average, not the weights: small numbers, which float16 holds well. With
`overlap` it travels while the board computes the next steps, and the others' part is applied as a correction when it
has come: weights += mean of all changes - own change.
"""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, Optional, Tuple

import tensorflow as tf

from trainer.sync.allreduce import GradientMean
from trainer.sync.collective import Flat, mean_over_boards
from trainer.sync.stepping import Board, Logs

if TYPE_CHECKING:
    from trainer.loop import Session


def train(session: Session) -> tf.keras.Model:
    """The model after all epochs of the session; the session's recorder writes the records."""
    board = Board(session)
    config = session.config.sync
    averaged = Averaging(session, board)
    reduced = GradientMean(session, [variable.shape for variable in board.model.trainable_variables])

    @tf.function(reduce_retracing=True)
    def together(images: tf.Tensor, labels: tf.Tensor) -> Logs:
        logs, gradient = board.backward(images, labels)
        board.apply(reduced(gradient))
        return logs

    @tf.function(reduce_retracing=True)
    def alone(images: tf.Tensor, labels: tf.Tensor) -> Logs:
        logs, gradient = board.backward(images, labels)
        board.apply(gradient)
        return logs

    def step(number: int, images: tf.Tensor, labels: tf.Tensor) -> Logs:
        if number <= config.warm_up_steps:
            return together(images, labels)
        logs: Logs = alone(images, labels)
        if number % config.period == 0:
            averaged.begin()
            if not config.overlap:
                averaged.finish()
        return logs

    def before_validation() -> None:
        # validation and the saved weights are of what all boards have learned, the last steps included
        averaged.begin()
        averaged.finish()

    return board.train(step, before_validation)


class Averaging:
    """Averages a board's weights with those of all others, in the background."""

    def __init__(self, session: Session, board: Board) -> None:
        self._strategy = session.strategy
        self._dtype = tf.as_dtype(session.config.sync.gradient_dtype)
        self._variables = board.model.variables
        self._flat = Flat([variable.shape for variable in self._variables])
        # what all boards had after the last average
        self._anchor = tf.Variable(self._packed(), trainable=False)
        self._largest = tf.Variable(1.0, trainable=False)
        self._worker = ThreadPoolExecutor(max_workers=1)  # one: collectives must come in the same order everywhere
        self._travelling: Optional[Tuple[tf.Tensor, Future]] = None

    def begin(self) -> None:
        """Send this board's change since the last average on its way; the one before must have come first."""
        self.finish()
        change = self._change()
        self._travelling = (change, self._worker.submit(self._mean, change))

    def finish(self) -> None:
        """Wait for the average on its way, if there is one, and correct the weights with it."""
        if self._travelling is not None:
            change, coming = self._travelling
            self._correct(change, coming.result())
            self._travelling = None

    def _packed(self) -> tf.Tensor:
        return self._flat.pack([variable.read_value() for variable in self._variables])

    @tf.function
    def _change(self) -> tf.Tensor:
        return self._packed() - self._anchor

    @tf.function
    def _mean(self, change: tf.Tensor) -> tf.Tensor:
        return tf.cast(mean_over_boards(self._strategy, tf.cast(change, self._dtype)), tf.float32)

    @tf.function
    def _correct(self, change: tf.Tensor, mean: tf.Tensor) -> None:
        self._anchor.assign_add(mean)
        for variable, part in zip(self._variables, self._flat.unpack(mean - change)):
            variable.assign_add(part)
