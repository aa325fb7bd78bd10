"""Synchronous training with one flat all-reduce of the gradient a step, in few large messages.

Keras' `fit` under the strategy exchanges the same gradient in float32; here it may travel in half the bytes, and in
buckets that leave while the backward pass still computes the rest.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, List

import tensorflow as tf

from trainer.sync.collective import Flat, mean_over_boards
from trainer.sync.stepping import Board, Logs

if TYPE_CHECKING:
    from trainer.loop import Session


def train(session: Session) -> tf.keras.Model:
    """The model after all epochs of the session; the session's recorder writes the records."""
    board = Board(session)
    reduced = GradientMean(session, [variable.shape for variable in board.model.trainable_variables])

    @tf.function(reduce_retracing=True)
    def step(images: tf.Tensor, labels: tf.Tensor) -> Logs:
        logs, gradient = board.backward(images, labels)
        board.apply(reduced(gradient))
        return logs

    return board.train(lambda number, images, labels: step(images, labels))


class GradientMean:
    """The mean of the boards' gradients."""

    def __init__(self, session: Session, shapes: List[tf.TensorShape]) -> None:
        self._strategy = session.strategy
        self._dtype = tf.as_dtype(session.config.sync.gradient_dtype)
        # the gradient of the last layers is ready first: it leaves first
        self._buckets = _buckets(shapes, session.config.sync.bucket_bytes)
        self._flats = [Flat([shapes[place] for place in bucket]) for bucket in self._buckets]
        # the largest element of the last step's mean, which all boards know alike
        self._largest = [tf.Variable(1.0, trainable=False) for _ in self._buckets]

    def __call__(self, gradient: List[tf.Tensor]) -> List[tf.Tensor]:
        """A tensor for each trainable variable. In a tf.function."""
        means: List[tf.Tensor] = [tf.constant(0.0)] * len(gradient)
        for bucket, flat, largest in zip(self._buckets, self._flats, self._largest):
            vector = flat.pack([gradient[place] for place in bucket])
            for place, part in zip(bucket, flat.unpack(self._mean(vector, largest))):
                means[place] = part
        return means

    def _mean(self, vector: tf.Tensor, largest: tf.Variable) -> tf.Tensor:
        if self._dtype == tf.float32:
            return mean_over_boards(self._strategy, vector)
        # scaled by a power of two so that the last mean's largest element would be 2^4: far from both ends of
        # float16's range (2^-24 to 2^16). What is 2^10 times as large all at once is cut off, once, and stays finite
        scale = tf.pow(2.0, 4.0 - tf.math.ceil(tf.math.log(largest) / tf.math.log(2.0)))
        limit = 32768.0 / self._strategy.num_replicas_in_sync
        small = tf.cast(tf.clip_by_value(vector * scale, -limit, limit), self._dtype)
        mean = tf.cast(mean_over_boards(self._strategy, small), tf.float32) / scale
        largest.assign(tf.maximum(tf.reduce_max(tf.abs(mean)), 1e-30))
        return mean


def _buckets(shapes: List[tf.TensorShape], limit_bytes: int) -> List[List[int]]:
    """Places of the variables in each bucket, from the last layer to the first; 0: all in one."""
    buckets: List[List[int]] = [[]]
    size = 0
    for place in reversed(range(len(shapes))):
        count = 4 * shapes[place].num_elements()
        if limit_bytes and buckets[-1] and size + count > limit_bytes:
            buckets.append([])
            size = 0
        buckets[-1].append(place)
        size += count
    return buckets
