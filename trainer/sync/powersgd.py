"""Synchronous training with a low-rank approximation of the gradient and error feedback.

PowerSGD (Vogels, Karimireddy, Jaggi, "PowerSGD: practical low-rank gradient compression for distributed
optimization", NeurIPS 2019, algorithms 1 and 2): each board adds the error of its last approximation (error feedback),
boards average P = M Q, make its columns orthonormal, average Q = M^T P, and use P Q^T as the gradient. Q is kept for
the next step, its columns scaled to a length of 1: P then has the size of the gradient, not of its square. One message
has all P and the tensors too small to compress, another has all Q. In float16 each tensor has its own scale.

A mean that is not finite (an overflow of mixed precision, which skips the step) is handed on, and leaves error and Q as
they were.
"""

from __future__ import annotations

from typing import List, Sequence

import tensorflow as tf

from trainer.contract.lowrank import as_matrix
from trainer.sync.allreduce import GradientMean
from trainer.sync.collective import Flat, ScaledMean
from trainer.sync.delayed import synchronous
from trainer.sync.stepping import SynchronousSteps, Worker


def method(worker: Worker) -> SynchronousSteps:
    """Low-rank gradients after `warm_up_steps` steps with the whole gradient."""
    return synchronous(worker, LowRankMean, warm_up=GradientMean)


class LowRankMean(tf.Module):
    """gradient: list of [*shape_i] float32 -> low-rank approximation of the mean over workers, same shapes."""

    def __init__(self, worker: Worker) -> None:
        super().__init__()
        config, self._timer = worker.context.config.sync, worker.context.timer
        self._shapes = [variable.shape for variable in worker.model.trainable_variables]
        self._matrices = [as_matrix(shape.as_list(), config.rank) for shape in self._shapes]
        self._low = [place for place, matrix in enumerate(self._matrices) if matrix]
        self._whole = [place for place, matrix in enumerate(self._matrices) if not matrix]
        self._errors, self._q = [], []
        for place in self._low:
            rows, columns, rank = self._matrices[place]  # type: ignore[misc]
            self._errors.append(tf.Variable(tf.zeros([rows, columns]), trainable=False))
            # Q, [columns, rank], is the same on all boards
            start = tf.random.stateless_normal([columns, rank], seed=[worker.context.seed, place])
            self._q.append(tf.Variable(start, trainable=False))
        ranks = [q.shape[1] for q in self._q]
        self._p_flat = Flat([tf.TensorShape([error.shape[0], rank]) for error, rank in zip(self._errors, ranks)])
        self._whole_flat = Flat([self._shapes[place] for place in self._whole])
        self._q_flat = Flat([q.shape for q in self._q])
        self._first = ScaledMean(worker.strategy, config.gradient_dtype, [*self._p_flat.sizes, *self._whole_flat.sizes])
        self._second = ScaledMean(worker.strategy, config.gradient_dtype, self._q_flat.sizes)
        self.payload_bytes = self._first.payload_bytes + self._second.payload_bytes  # per call

    def __call__(self, gradient: List[tf.Tensor]) -> List[tf.Tensor]:
        """gradient: list of [*shape_i] float32 -> approximate mean, same shapes. Call it in a tf.function."""
        owed = [tf.reshape(gradient[place], e.shape) + e for place, e in zip(self._low, self._errors)]
        mine = [matrix @ q for matrix, q in zip(owed, self._q)] + [gradient[place] for place in self._whole]
        first = self._first.timed(self._p_flat.pack(mine), self._timer)
        p_vector, whole_vector = tf.split(first, [self._p_flat.size, self._whole_flat.size])
        means = dict(zip(self._whole, self._whole_flat.unpack(whole_vector)))
        if self._low:
            bases = orthonormal(self._p_flat.unpack(p_vector))
            back = [tf.matmul(matrix, basis, transpose_a=True) for matrix, basis in zip(owed, bases)]
            second = self._second.timed(self._q_flat.pack(back), self._timer, met=True)
            finite = tf.reduce_all(tf.math.is_finite(first)) & tf.reduce_all(tf.math.is_finite(second))
            shared = self._q_flat.unpack(second)
            sent = [tf.matmul(basis, q, transpose_b=True) for basis, q in zip(bases, shared)]
            means.update((place, tf.reshape(part, self._shapes[place])) for place, part in zip(self._low, sent))
            lacking = [matrix - part for matrix, part in zip(owed, sent)]
            directions = [tf.transpose(_unit(tf.transpose(q))) for q in shared]

            def keep() -> tf.Operation:
                kept = zip([*self._errors, *self._q], [*lacking, *directions])
                return tf.group(*[variable.assign(value) for variable, value in kept])

            tf.cond(finite, keep, tf.no_op)  # a mean that is not finite leaves no trace
        return [means[place] for place in range(len(gradient))]


def orthonormal(matrices: Sequence[tf.Tensor]) -> List[tf.Tensor]:
    """matrices: list of [rows_i, rank_i] -> orthonormal bases of their columns, same shapes.

    Gram-Schmidt, all matrices at once. Columns are normalised, so that none is too small to count, and projected twice
    ("twice is enough": Giraud et al., "Rounding error analysis of the classical Gram-Schmidt orthogonalization
    process", 2005). A column of zeros is replaced by a unit vector, since P would stay zero otherwise; one that depends
    on the columns before it becomes zero.
    """
    stacked = _unit(_stacked(matrices))
    rank, rows = stacked.shape[1:]
    basis: List[tf.Tensor] = []  # [matrices, rows] each
    for place in range(rank):
        column = stacked[:, place]
        zero = tf.reduce_all(tf.equal(column, 0.0), axis=-1, keepdims=True)
        column = tf.where(zero, tf.one_hot([place], rows), column)
        column = _apart(_unit(_apart(column, basis)), basis)
        within = tf.norm(column, axis=-1, keepdims=True) < 0.5  # what was left of it was rounding
        basis.append(tf.where(within, 0.0, _unit(column)))
    found = tf.unstack(tf.stack(basis, axis=1))
    return [tf.transpose(part[: like.shape[1], : like.shape[0]]) for part, like in zip(found, matrices)]


def _stacked(matrices: Sequence[tf.Tensor]) -> tf.Tensor:
    """matrices: list of [n_i, k_i] -> [matrices, greatest k, greatest n], filled up with zeros."""
    n, k = (max(matrix.shape[axis] for matrix in matrices) for axis in (0, 1))
    flat = [tf.pad(tf.transpose(it), [[0, k - it.shape[1]], [0, n - it.shape[0]]]) for it in matrices]
    return tf.stack(flat)


def _apart(vectors: tf.Tensor, basis: Sequence[tf.Tensor]) -> tf.Tensor:
    """vectors: [m, n] -> less their projections onto each of `basis`, [m, n]; same shape."""
    overlaps = [tf.reduce_sum(vectors * other, axis=-1, keepdims=True) for other in basis]
    for overlap, other in zip(overlaps, basis):
        vectors -= overlap * other
    return vectors


def _unit(vectors: tf.Tensor) -> tf.Tensor:
    """vectors: [..., n] -> with a length of 1, those of zeros as they are; same shape."""
    # first by the largest element: squares of float32 underflow below 1e-19
    near_one = tf.math.divide_no_nan(vectors, tf.reduce_max(tf.abs(vectors), axis=-1, keepdims=True))
    return tf.math.divide_no_nan(near_one, tf.norm(near_one, axis=-1, keepdims=True))
