"""Synchronous training with a low-rank approximation of the gradient and error feedback.

PowerSGD (Vogels, Karimireddy, Jaggi, "PowerSGD: practical low-rank gradient compression for distributed
optimization", NeurIPS 2019, algorithms 1 and 2): each board adds the error of its last approximation (error feedback),
boards average P = M Q, make its columns orthonormal, average Q = M^T P, and use P Q^T as the gradient. Q is kept for
the next step. One message has all P and the tensors too small to compress, another has all Q.
"""

from __future__ import annotations

from typing import List

import tensorflow as tf

from trainer.contract.lowrank import as_matrix
from trainer.sync.allreduce import GradientMean
from trainer.sync.collective import Flat, ScaledMean
from trainer.sync.stepping import SynchronousSteps, Worker


def method(worker: Worker) -> SynchronousSteps:
    """Low-rank gradients after `warm_up_steps` steps with the whole gradient."""
    return SynchronousSteps(worker, LowRankMean(worker), warm_up=GradientMean(worker))


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
        sizes = [size for size in (self._p_flat.size, self._whole_flat.size) if size]
        self._first = ScaledMean(worker.strategy, config.gradient_dtype, sizes)
        self._second = ScaledMean(worker.strategy, config.gradient_dtype, [self._q_flat.size])
        self.payload_bytes = self._first.payload_bytes + self._second.payload_bytes  # per call

    def __call__(self, gradient: List[tf.Tensor]) -> List[tf.Tensor]:
        """gradient: list of [*shape_i] float32 -> approximate mean, same shapes. Call it in a tf.function."""
        owed = [tf.reshape(gradient[place], e.shape) + e for place, e in zip(self._low, self._errors)]
        mine = [matrix @ q for matrix, q in zip(owed, self._q)] + [gradient[place] for place in self._whole]
        first = self._first.timed(self._p_flat.pack(mine), self._timer)
        p_vector, whole_vector = tf.split(first, [self._p_flat.size, self._whole_flat.size])
        means = dict(zip(self._whole, self._whole_flat.unpack(whole_vector)))
        if self._low:
            bases = [tf.linalg.qr(p)[0] for p in self._p_flat.unpack(p_vector)]
            back = [tf.matmul(matrix, basis, transpose_a=True) for matrix, basis in zip(owed, bases)]
            shared = self._q_flat.unpack(self._second.timed(self._q_flat.pack(back), self._timer))
            for place, matrix, basis, q, kept, error in zip(self._low, owed, bases, shared, self._q, self._errors):
                sent = tf.matmul(basis, q, transpose_b=True)
                error.assign(matrix - sent)
                kept.assign(q)
                means[place] = tf.reshape(sent, self._shapes[place])
        return [means[place] for place in range(len(gradient))]
