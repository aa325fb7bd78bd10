"""Means of flat vectors over all boards, by the strategy's collectives."""

from __future__ import annotations

import contextlib
from typing import List, Sequence, Tuple

import numpy as np
import tensorflow as tf
from tensorflow.python.framework import kernels

from trainer.learning.step_timer import StepTimer, ready

_FEW = 4  # parts of a message


class Flat:
    """Packs tensors into one vector and back: one large message instead of many small ones."""

    def __init__(self, shapes: Sequence[tf.TensorShape]) -> None:
        self._shapes = list(shapes)
        self.sizes = [shape.num_elements() for shape in self._shapes]  # elements
        self.size = sum(self.sizes)

    def pack(self, tensors: Sequence[tf.Tensor]) -> tf.Tensor:
        """tensors: list of [*shape_i] -> [size] of the same dtype, in order."""
        return tf.concat([tf.reshape(tensor, [-1]) for tensor in tensors], axis=0)

    def unpack(self, vector: tf.Tensor) -> List[tf.Tensor]:
        """vector: [size] -> list of [*shape_i] of the same dtype: the inverse of `pack`."""
        parts = tf.split(vector, self.sizes)
        return [tf.reshape(part, shape) for part, shape in zip(parts, self._shapes)]


def mean_over_boards(strategy: tf.distribute.Strategy, vector: tf.Tensor) -> tf.Tensor:
    """vector: [n] -> elementwise mean over boards, same shape and dtype. Call it in a tf.function."""
    if strategy.num_replicas_in_sync == 1:
        return vector

    mean = tf.distribute.ReduceOp.MEAN

    def on_each(mine: tf.Tensor) -> tf.Tensor:
        return tf.distribute.get_replica_context().all_reduce(mean, tf.identity(mine))

    def on_host(mine: tf.Tensor) -> tf.Tensor:
        # TensorFlow's own collectives between hosts, which it keeps for values that are on no device
        collectives, options = strategy.extended._host_cross_device_ops, strategy.extended._communication_options
        with tf.device("CPU:0"):
            return collectives._all_reduce(mean, tf.identity(mine), 0, options)

    reduce = on_host if reduces_on_host(strategy) else on_each
    return strategy.experimental_local_results(strategy.run(reduce, args=(vector,)))[0]


def reduces_on_host(strategy: tf.distribute.Strategy) -> bool:
    """Whether vectors are copied from the device to host memory, once, and reduced there.

    TensorFlow's ring sends from host memory: of a vector on a GPU it would copy each part at each of its 2 (N - 1)
    messages. Only NCCL, where it is asked for and built in, reduces on the device.
    """
    if "GPU" not in strategy.extended.worker_devices[0]:
        return False
    asked = strategy.extended._communication_options.implementation
    nccl = tf.distribute.experimental.CommunicationImplementation.NCCL
    return asked != nccl or not kernels.get_registered_kernels_for_op("NcclAllReduce").kernel


def after_all(strategy: tf.distribute.Strategy, vector: tf.Tensor) -> Tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """vector: [n] -> (vector once all boards have theirs, when ready here, when ready everywhere: [] float64 s).

    A four-byte all-reduce shows when all are ready, which separates waiting for a slower board from communication.
    """
    # a value in host memory is there when it is computed: what follows needs no mark on the device
    with tf.device("CPU:0") if reduces_on_host(strategy) else contextlib.nullcontext():
        vector = tf.identity(vector)
        here = ready([vector])
        with tf.control_dependencies([here]):
            token = tf.zeros([1])
        token = mean_over_boards(strategy, token)
        everywhere = ready([token])
        with tf.control_dependencies([everywhere]):
            return tf.identity(vector), here, everywhere


class ScaledMean(tf.Module):
    """vector: [n] float32 -> mean over boards, [n] float32; sent as `dtype`.

    Except for float32, elements are scaled by a power of two so that the largest element of the last sum over boards
    would be 2^5, for any number of boards: float16 reaches from 2^-24 to 2^16, and boards are added up in it. Of N
    boards that have nothing in common, each has elements of up to 2^5 / sqrt(N). They are clipped at 2^15 / N, so that
    no sum overflows: elements may suddenly grow by 2^10 / sqrt(N), which is 724 with two boards and 32 with 1,024, and
    beyond that are clipped once. Each part of the vector (`sizes` in elements) has its own scale.
    """

    def __init__(self, strategy: tf.distribute.Strategy, dtype: str, sizes: Sequence[int]) -> None:
        super().__init__()
        self._strategy, self._dtype, self._sizes = strategy, tf.as_dtype(dtype), list(sizes)
        self._boards = strategy.num_replicas_in_sync
        # largest element of each part of the last mean, the same on all boards
        self._largest = tf.Variable(tf.ones(len(sizes)), trainable=False)
        # of many small parts, the part that each element belongs to; a few large ones are cut out, which is faster
        many = len(sizes) > _FEW
        self._part = tf.constant(np.repeat(np.arange(len(sizes), dtype=np.int32), sizes)) if many else None
        self.payload_bytes = 0 if self._boards == 1 else sum(sizes) * self._dtype.size  # per mean

    def __call__(self, vector: tf.Tensor) -> tf.Tensor:
        return self.unscaled(mean_over_boards(self._strategy, self.scaled(vector)))

    def timed(self, vector: tf.Tensor, timer: StepTimer, met: bool = False) -> tf.Tensor:
        """vector: [n] float32 -> mean over boards, [n] float32; adds waiting and communication to `timer`.

        `met`: the boards have just exchanged something, so that all is taken as communication, without another number
        that goes round.
        """
        if not timer.on:
            with tf.control_dependencies([timer.add(payload_bytes=self.payload_bytes)]):
                return self(vector)
        if self._boards == 1:  # the mark that several boards make, so that steps of both cost the same
            with tf.control_dependencies([ready([vector])]):
                return self(tf.identity(vector))
        small = self.scaled(vector)
        if met:
            small = tf.identity(small)
            here = everywhere = ready([small])
            with tf.control_dependencies([everywhere]):
                small = tf.identity(small)
        else:
            small, here, everywhere = after_all(self._strategy, small)
        mean = mean_over_boards(self._strategy, small)
        arrived = ready([mean])
        noted = timer.add(arrived - everywhere, everywhere - here, payload_bytes=self.payload_bytes)
        with tf.control_dependencies([noted]):
            return self.unscaled(mean)

    def scaled(self, vector: tf.Tensor) -> tf.Tensor:
        """vector: [n] float32 -> the message, [n] `dtype`."""
        if self._dtype == tf.float32:
            return vector
        return tf.concat([self._small(*pair) for pair in zip(self._cut(vector), self._scales())], axis=0)

    def _small(self, part: tf.Tensor, scale: tf.Tensor) -> tf.Tensor:
        """part: [n] float32 -> its part of the message, [n] `dtype`."""
        limit, scaled = 2.0**15 / self._boards, part * scale

        def clipped() -> tf.Tensor:
            # what is not finite stays so: a diverged board must not look healthy
            return tf.where(tf.math.is_finite(part), tf.clip_by_value(scaled, -limit, limit), part)

        # no element is longer than the vector: one pass tells that there is nothing to clip
        within = 2.0 * tf.nn.l2_loss(scaled) <= limit**2
        return tf.cast(tf.cond(within, lambda: scaled, clipped), self._dtype)

    def unscaled(self, mean: tf.Tensor) -> tf.Tensor:
        """mean: [n] `dtype` -> [n] float32 at its true scale; updates the scales."""
        if self._dtype == tf.float32:
            return mean
        true = [tf.cast(part, tf.float32) / scale for part, scale in zip(self._cut(mean), self._scales())]
        if self._part is None:
            largest = tf.stack([tf.reduce_max(tf.abs(part)) for part in true])
        else:
            largest = tf.math.segment_max(tf.abs(true[0]), self._part)
        # all zero: there is no gradient, or it was too small for this scale
        largest = tf.where(tf.equal(largest, 0.0), self._largest / 1024.0, largest)
        self._largest.assign(tf.where(tf.math.is_finite(largest), tf.maximum(largest, 1e-12), self._largest))
        return tf.concat(true, axis=0)

    def _cut(self, vector: tf.Tensor) -> List[tf.Tensor]:
        """vector: [n] -> its parts, or the whole where there are many."""
        return tf.split(vector, self._sizes) if self._part is None else [vector]

    def _scales(self) -> List[tf.Tensor]:
        """By how much each of the parts that `_cut` gives is multiplied: [] float32, or [n] of the whole."""
        exponents = 5.0 - tf.math.ceil(tf.math.log(self._boards * self._largest) / tf.math.log(2.0))
        scales = tf.pow(2.0, exponents)
        return tf.unstack(scales) if self._part is None else [tf.gather(scales, self._part)]
