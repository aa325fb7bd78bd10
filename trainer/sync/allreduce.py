"""Synchronous training with an all-reduce of the gradient per step, in a few large messages.

Keras' `fit` under the strategy exchanges the same gradient in float32; here it can be sent in half the bytes, and in
buckets during the backward pass.
"""

from __future__ import annotations

from typing import List, Optional

import tensorflow as tf

from trainer.learning.step_timer import moment, ready
from trainer.sync.collective import Flat, ScaledMean, mean_over_boards
from trainer.sync.delayed import synchronous
from trainer.sync.stepping import SynchronousSteps, Worker


def method(worker: Worker) -> SynchronousSteps:
    """One all-reduce of the gradient per step, or per `accumulate_steps` steps."""
    return synchronous(worker, GradientMean)


class GradientMean(tf.Module):
    """gradient: list of [*shape_i] float32, one per trainable variable -> mean over workers, same shapes."""

    def __init__(self, worker: Worker, dtype: Optional[str] = None) -> None:
        super().__init__()
        config = worker.context.config.sync
        self._strategy, self._timer = worker.strategy, worker.context.timer
        shapes = [variable.shape for variable in worker.model.trainable_variables]
        # the gradient of the last layers is ready first: send it first
        self._buckets = _buckets(shapes, config.bucket_bytes)
        self._flats = [Flat([shapes[place] for place in bucket]) for bucket in self._buckets]
        self._means = [ScaledMean(self._strategy, dtype or config.gradient_dtype, [flat.size]) for flat in self._flats]
        self.payload_bytes = sum(mean.payload_bytes for mean in self._means)  # of one call

    def __call__(self, gradient: List[tf.Tensor]) -> List[tf.Tensor]:
        """gradient: list of [*shape_i] float32 -> mean over workers, same shapes. Call it in a tf.function."""
        vectors = [flat.pack([gradient[place] for place in bucket]) for bucket, flat in zip(self._buckets, self._flats)]
        means: List[tf.Tensor] = [tf.constant(0.0)] * len(gradient)
        for bucket, flat, mean in zip(self._buckets, self._flats, self._exchanged(vectors)):
            for place, part in zip(bucket, flat.unpack(mean)):
                means[place] = part
        return means

    def _exchanged(self, vectors: List[tf.Tensor]) -> List[tf.Tensor]:
        if len(vectors) == 1:
            return [self._means[0].timed(vectors[0], self._timer)]
        if not self._timer.on:
            with tf.control_dependencies([self._timer.add(payload_bytes=self.payload_bytes)]):
                return [mean(vector) for mean, vector in zip(self._means, vectors)]
        # buckets overlap with the backward pass; the step stalls only for what arrives after it
        small = [mean.scaled(vector) for mean, vector in zip(self._means, vectors)]
        left = [moment(vector) for vector in small]
        here = ready(small)
        came = [mean_over_boards(self._strategy, vector) for vector in small]
        back = [moment(vector) for vector in came]
        stall_s = tf.maximum(ready(came) - here, 0.0)
        # a collective begins when the previous one has ended
        begun = [left[0], *[tf.maximum(own, before) for own, before in zip(left[1:], back)]]
        hidden_s = tf.add_n([tf.maximum(tf.minimum(end, here) - begin, 0.0) for begin, end in zip(begun, back)])
        noted = self._timer.add(stall_s, None, hidden_s, payload_bytes=self.payload_bytes)
        with tf.control_dependencies([noted]):
            return [mean.unscaled(vector) for mean, vector in zip(self._means, came)]


def _buckets(shapes: List[tf.TensorShape], limit_bytes: int) -> List[List[int]]:
    """Indices of the variables in each bucket, from the last layer to the first; limit 0: one bucket."""
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
