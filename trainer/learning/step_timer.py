"""Times steps: computing, communication, waiting for other boards; and counts payload bytes."""

from __future__ import annotations

import functools
import time
from typing import Any, Sequence

import numpy as np
import tensorflow as tf

from trainer.loop.step_times import StepTimes


class StepTimer:
    """Sums what methods of synchronising add, inside a tf.function or outside; the recorder reads it."""

    def __init__(self, on: bool = True) -> None:
        """`on`: whether methods time parts of a step; otherwise they only add bytes."""
        self.on = on
        self._waiting_apart = True
        with tf.device("CPU:0"):
            self._sums = tf.Variable(tf.zeros(4, tf.float64), trainable=False)

    def add(
        self, communication_s: Any = 0.0, waiting_s: Any = 0.0, overlapped_s: Any = 0.0, payload_bytes: int = 0
    ) -> tf.Operation:
        """Add seconds and bytes; `waiting_s` None: waiting is not known and included in communication."""
        if waiting_s is None:
            self._waiting_apart, waiting_s = False, 0.0
        values = (communication_s, waiting_s, overlapped_s, payload_bytes)
        return self._sums.assign_add(tf.stack([tf.cast(value, tf.float64) for value in values]))

    def read(self) -> StepTimes:
        communication_s, waiting_s, overlapped_s, payload_bytes = (float(value) for value in self._sums.numpy())
        if not self.on:
            return StepTimes(None, None, None, int(payload_bytes))
        return StepTimes(communication_s, waiting_s if self._waiting_apart else None, overlapped_s, int(payload_bytes))


def ready(tensors: Sequence[tf.Tensor]) -> tf.Tensor:
    """Seconds (float64) of the clock at which all these tensors have been computed. In a tf.function.

    Within a function, moments are taken in the order of the calls: ask for the earlier one first. Collectives do not
    wait for them.
    """
    # a device runs behind the graph, but in order: when an element of one tensor has been copied after all were begun,
    # all are there
    with tf.control_dependencies(list(tensors)):
        element = tf.reshape(tensors[0], [-1])[0]
    with tf.device("CPU:0"), tf.control_dependencies([tf.identity(element)]):
        if _timestamp_works():
            return tf.timestamp()
        return tf.ensure_shape(tf.numpy_function(lambda: np.float64(time.time()), [], tf.float64), [])


def moment(tensor: tf.Tensor) -> tf.Tensor:
    """Seconds (float64) at which one tensor is computed, unordered with other moments. Costs a call to Python."""
    element = tf.reshape(tensor, [-1])[0]
    with tf.device("CPU:0"):
        now = tf.numpy_function(lambda _: np.float64(time.time()), [element], tf.float64, stateful=False)
        return tf.ensure_shape(now, [])


@functools.lru_cache(maxsize=None)
def _timestamp_works() -> bool:
    """Whether TensorFlow's clock works, which is cheaper than Python's: deterministic runs refuse it."""
    with tf.init_scope():
        try:
            tf.timestamp()
        except tf.errors.FailedPreconditionError:
            return False
    return True
