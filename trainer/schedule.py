"""The paper's learning rate: constant, then falling exponentially with the epochs."""

from __future__ import annotations

import math
from typing import Any, Dict

import tensorflow as tf

from trainer.config import Optimizer, Schedule


class ConstantThenDecay(tf.keras.optimizers.schedules.LearningRateSchedule):
    """initial for `constant_epochs` epochs, then initial x exp(-decay x epochs since), the same all epoch long.

    It depends on the step alone, so that a resumed run goes on where it was.
    """

    def __init__(self, initial: float, steps_per_epoch: int, schedule: Schedule) -> None:
        self.initial, self.steps_per_epoch, self.schedule = initial, steps_per_epoch, schedule

    def __call__(self, step: Any) -> tf.Tensor:
        epoch = tf.cast(tf.cast(step, tf.int64) // self.steps_per_epoch, tf.float32)  # from 0
        decayed = tf.maximum(epoch - (self.schedule.constant_epochs - 1.0), 0.0)
        return self.initial * tf.exp(-self.schedule.decay * decayed)

    def at_epoch(self, epoch: int) -> float:
        """The rate in an epoch, counted from 0."""
        return self.initial * math.exp(-self.schedule.decay * max(epoch - (self.schedule.constant_epochs - 1), 0))

    def get_config(self) -> Dict[str, Any]:
        return {
            "initial": self.initial,
            "steps_per_epoch": self.steps_per_epoch,
            "schedule": self.schedule,
        }


def optimizer(config: Optimizer, rate: ConstantThenDecay) -> tf.keras.optimizers.Optimizer:
    """The configured Keras optimizer under the schedule."""
    if config.name == "sgd":
        return tf.keras.optimizers.SGD(rate, momentum=config.momentum)
    return tf.keras.optimizers.Adam(rate)
