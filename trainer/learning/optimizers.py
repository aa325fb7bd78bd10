"""The paper's learning rate: constant, then falling exponentially with the epochs."""

from __future__ import annotations

import math
from typing import Any

import tensorflow as tf

from trainer.contract.config import Config


class Rate(tf.keras.optimizers.schedules.LearningRateSchedule):
    """initial for `constant_epochs` epochs, then initial x exp(-decay x epochs since), constant within an epoch.

    A rate scaled for several boards is reached over the first `scale_warm_up_epochs`. It depends on the step alone, so
    that a resumed run continues with it.
    """

    def __init__(self, config: Config, workers: int, batches_per_epoch: int) -> None:
        self._config, self._batches = config, batches_per_epoch
        self._scale = config.sync.learning_rate_scale(workers)
        self._warm_up = config.sync.scale_warm_up_epochs * batches_per_epoch  # batches

    def __call__(self, step: Any) -> tf.Tensor:
        batch = tf.cast(step, tf.int64) * self._config.sync.accumulate_steps
        epoch = tf.cast(batch // self._batches, tf.float32)  # from 0
        decayed = tf.maximum(epoch - (self._config.schedule.constant_epochs - 1.0), 0.0)
        grown = tf.minimum(tf.cast(batch, tf.float32) / self._warm_up, 1.0) if self._warm_up else 1.0
        initial = self._config.optimizer.learning_rate * (1.0 + (self._scale - 1.0) * grown)
        return initial * tf.exp(-self._config.schedule.decay * decayed)

    def after(self, epoch: int, batch: int) -> float:
        """The rate for a batch of an epoch, both counted from 0."""
        grown = min((epoch * self._batches + batch) / self._warm_up, 1.0) if self._warm_up else 1.0
        initial = self._config.optimizer.learning_rate * (1.0 + (self._scale - 1.0) * grown)
        decayed = max(epoch - (self._config.schedule.constant_epochs - 1), 0)
        return initial * math.exp(-self._config.schedule.decay * decayed)


def optimizer(config: Config, rate: Rate) -> tf.keras.optimizers.Optimizer:
    """The configured Keras optimizer under the schedule."""
    if config.optimizer.name == "sgd":
        return tf.keras.optimizers.SGD(rate, momentum=config.optimizer.momentum)
    return Adam(rate)


class Adam(tf.keras.optimizers.Adam):
    """Keras' Adam in TensorFlow's fused kernel: one operation per variable instead of a dozen."""

    def update_step(self, gradient: tf.Tensor, variable: tf.Variable) -> None:
        """One update of a variable from its gradient, of the same shape, in place."""
        place = self._index_dict[self._var_key(variable)]
        rate, step, first, second, epsilon = (
            tf.cast(value, variable.dtype)
            for value in (self.learning_rate, self.iterations + 1, self.beta_1, self.beta_2, self.epsilon)
        )
        tf.raw_ops.ResourceApplyAdam(
            var=variable.handle,
            m=self._momentums[place].handle,
            v=self._velocities[place].handle,
            beta1_power=tf.pow(first, step),
            beta2_power=tf.pow(second, step),
            lr=rate,
            beta1=first,
            beta2=second,
            epsilon=epsilon,
            grad=gradient,
        )
