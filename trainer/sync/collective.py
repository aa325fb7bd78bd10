"""Means over all boards of one flat vector, through the collectives of the session's strategy."""

from __future__ import annotations

from typing import List, Sequence

import tensorflow as tf


class Flat:
    """Packs some variables' tensors into one vector and back: one large message instead of many small ones."""

    def __init__(self, shapes: Sequence[tf.TensorShape]) -> None:
        self._shapes = list(shapes)
        self._sizes = [shape.num_elements() for shape in self._shapes]
        self.size = sum(self._sizes)  # elements

    def pack(self, tensors: Sequence[tf.Tensor]) -> tf.Tensor:
        """One vector of all tensors, in their order."""
        return tf.concat([tf.reshape(tensor, [-1]) for tensor in tensors], axis=0)

    def unpack(self, vector: tf.Tensor) -> List[tf.Tensor]:
        """The tensors that `pack` was given."""
        parts = tf.split(vector, self._sizes)
        return [tf.reshape(part, shape) for part, shape in zip(parts, self._shapes)]


def mean_over_boards(strategy: tf.distribute.Strategy, vector: tf.Tensor) -> tf.Tensor:
    """The elementwise mean of every board's vector, the same on all. Call it inside a tf.function."""
    if strategy.num_replicas_in_sync == 1:
        return vector

    def on_each(mine: tf.Tensor) -> tf.Tensor:
        return tf.distribute.get_replica_context().all_reduce(tf.distribute.ReduceOp.MEAN, tf.identity(mine))

    return strategy.experimental_local_results(strategy.run(on_each, args=(vector,)))[0]
