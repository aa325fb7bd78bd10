"""Keras' optimizers under the paper's learning rate."""

from __future__ import annotations

from typing import Any, List, Optional

import numpy as np
import tensorflow as tf

from trainer.contract.causes import NotLearningError
from trainer.contract.config import Config
from trainer.loop import rate as loop_rate

# in a row, after which a run has failed: Keras' loss scale falls from 2^15 to 1 in 15
SKIPPED_STEPS = 50


class Rate(loop_rate.Rate, tf.keras.optimizers.schedules.LearningRateSchedule):
    """The kit's schedule as one of Keras, which asks for the rate of a step."""

    def __init__(self, config: Config, workers: int, batches_per_epoch: int, measured_in: Optional[int] = None) -> None:
        """`measured_in`: the epoch (from 0) after which epochs have as many batches as `follow` says; null: none."""
        super().__init__(config, workers, batches_per_epoch)
        self._equal_epochs = None if measured_in is None else measured_in + 1
        if measured_in is not None:
            self._later = tf.Variable(batches_per_epoch, dtype=tf.int64, trainable=False)

    def __call__(self, step: Any) -> tf.Tensor:
        batch = tf.cast(step, tf.int64) * self.config.sync.accumulate_steps
        epoch = batch // self.batches  # from 0
        if self._equal_epochs is not None:
            rest = batch - self._equal_epochs * self.batches
            epoch = tf.where(rest < 0, epoch, self._equal_epochs + rest // self._later)
        epoch = tf.cast(epoch, tf.float32)
        decayed = tf.maximum(epoch - (self.config.schedule.constant_epochs - 1.0), 0.0)
        grown = tf.minimum(tf.cast(batch, tf.float32) / self.warm_up, 1.0) if self.warm_up else 1.0
        initial = self.config.optimizer.learning_rate * (1.0 + (self.scale - 1.0) * grown)
        return initial * tf.exp(-self.config.schedule.decay * decayed)

    def follow(self, batches_per_epoch: int) -> None:
        """The later epochs have this many batches."""
        self._later.assign(batches_per_epoch)


def optimizer(config: Config, rate: Rate) -> tf.keras.optimizers.Optimizer:
    """The configured Keras optimizer under the schedule."""
    # on a GPU Keras would compile the update of each variable with XLA, of which there are 158
    if config.optimizer.name == "sgd":
        return tf.keras.optimizers.SGD(rate, momentum=config.optimizer.momentum, jit_compile=False)
    chosen = config.optimizer
    return Adam(rate, beta_1=chosen.beta_1, beta_2=chosen.beta_2, jit_compile=False)


def state(built: tf.keras.optimizers.Optimizer) -> List[tf.Variable]:
    """The variables of an optimizer; with mixed precision also the loss scale, and its number of finite steps."""
    if not isinstance(built, tf.keras.mixed_precision.LossScaleOptimizer):
        return list(built.variables)
    # Keras offers the counter, but the scale only as a number
    return [*built.variables, built._loss_scale._current_loss_scale, built.dynamic_counter]


class AppliedSteps:
    """Finds out whether the optimizer applies steps: with mixed precision it skips those whose gradient overflows."""

    def __init__(self, built: tf.keras.optimizers.Optimizer, weight: tf.Variable, batches_per_step: int) -> None:
        """`weight`: one that every step changes."""
        self._optimizer = built if isinstance(built, tf.keras.mixed_precision.LossScaleOptimizer) else None
        self._weight, self._patience = weight, SKIPPED_STEPS * batches_per_step
        self._begun = self._latest = None if self._optimizer is None else weight.numpy()
        self._at: Optional[int] = None  # batches of the run after which a step was last seen

    def check(self, made: int) -> None:
        """Raise NotLearningError if no step was applied for long; `made`: batches of the run so far."""
        if self._optimizer is None:  # gradients that are not finite give a loss that is not
            return
        now = self._weight.numpy()
        if self._at is None or int(self._optimizer.dynamic_counter) or not np.array_equal(now, self._latest):
            self._at, self._latest = made, now
        elif made - self._at >= self._patience:
            raise NotLearningError(self._told(f"in the {made - self._at} batches before batch {made}"))

    def finish(self) -> None:
        """Raise NotLearningError if no step was applied at all."""
        if self._optimizer is not None and self._at is not None and np.array_equal(self._weight.numpy(), self._begun):
            raise NotLearningError(self._told("in the whole run"))

    def _told(self, when: str) -> str:
        scale = float(self._optimizer.loss_scale)  # type: ignore[union-attr]
        return f"the optimizer applied no step {when}: all gradients overflowed, the last at a loss scale of {scale:g}"


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
