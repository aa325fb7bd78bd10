"""Turns what Keras does into records."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Dict, Mapping, Optional

import tensorflow as tf

from trainer.contract.events import Epoch, Window
from trainer.contract.interface import counters
from trainer.contract.records import EventLog
from trainer.learning.optimizers import AppliedSteps, Rate
from trainer.learning.pace import Pace
from trainer.learning.step_timer import StepTimer, StepTimes


class Recorder(tf.keras.callbacks.Callback):
    """Writes a window record every `window_steps` steps, and an epoch record after each validation."""

    # Keras then passes tensors and does not wait for the device at every step
    _supports_tf_logs = True

    def __init__(
        self,
        log: EventLog,
        interface: Optional[str],
        pace: Pace,
        window_steps: int,
        rate: Rate,
        timer: StepTimer,
        scalars: Optional[Path],
    ) -> None:
        """`scalars`: folder for TensorBoard's scalars; None if another board writes them."""
        super().__init__()
        self._scalars = None if scalars is None else tf.summary.create_file_writer(str(scalars))
        self._log, self._interface, self._pace = log, interface, pace
        self._window_steps, self._rate, self._timer = window_steps, rate, timer
        self.epochs_completed = 0  # including earlier attempts
        self.train_s = 0.0  # including earlier attempts
        self.applied: Optional[AppliedSteps] = None  # set once there is an optimizer

    def on_epoch_begin(self, epoch: int, logs: Optional[Dict[str, Any]] = None) -> None:
        self._epoch = epoch + 1
        self._steps, self._images, self._batch = self._pace.steps(epoch), self._pace.images(epoch), self._pace.batch
        self._done = 0  # steps of this epoch in windows already written
        self._epoch_mark = self._window_mark = _Mark(self._interface, self._timer)
        self._validation_s = 0.0

    def on_train_batch_end(self, batch: int, logs: Optional[Dict[str, Any]] = None) -> None:
        self._log.progress()
        steps = batch + 1
        if steps - self._done < self._window_steps and steps < self._steps:
            return
        # under a strategy Keras sums these over the boards, unless metrics are reduced once an epoch. Reading them
        # waits until the device has finished
        own = self.model.distribute_reduction_method == "first"
        boards = 1 if own else self.model.distribute_strategy.num_replicas_in_sync
        loss, accuracy = (float(logs[name]) / boards for name in ("loss", "accuracy"))  # type: ignore[index]
        now = _Mark(self._interface, self._timer)
        spent = now.since(self._window_mark)
        self._log.write(
            Window(
                epoch=self._epoch,
                first_step=self._done,
                steps=steps - self._done,
                images=self._images_in(steps) - self._images_in(self._done),
                elapsed_s=spent.seconds,
                loss=loss,
                accuracy=accuracy,
                learning_rate=self._rate.after(self._epoch - 1, steps - 1),
                compute_s=spent.split.of(spent.seconds),
                communication_s=spent.split.communication_s,
                waiting_s=spent.split.waiting_s,
                overlapped_s=spent.split.overlapped_s,
                sent_bytes=spent.sent,
                received_bytes=spent.received,
                payload_bytes=spent.split.payload_bytes,
            )
        )
        self._done, self._window_mark = steps, now
        if not math.isfinite(loss):
            raise FloatingPointError(f"the loss is {loss} in epoch {self._epoch}, step {steps}")
        if self.applied is not None:
            self.applied.check(self._pace.before(self._epoch - 1) + steps)

    def computed_step_s(self) -> float:
        """Seconds of computing for a step, in the epoch's steps. Raises ValueError where times are not measured."""
        spent = self._window_mark.since(self._epoch_mark)
        computed = spent.split.of(spent.seconds)
        if computed is None:
            raise ValueError("the times of steps are not measured")
        return computed / self._done

    def on_test_batch_end(self, batch: int, logs: Optional[Dict[str, Any]] = None) -> None:
        self._log.progress()

    def on_test_begin(self, logs: Optional[Dict[str, Any]] = None) -> None:
        self._validation_from = time.monotonic()

    def on_test_end(self, logs: Optional[Dict[str, Any]] = None) -> None:
        self._validation_s = time.monotonic() - self._validation_from

    def on_epoch_end(self, epoch: int, logs: Optional[Dict[str, Any]] = None) -> None:
        values = {name: float(value) for name, value in (logs or {}).items()}
        steps = self._window_mark.since(self._epoch_mark)  # the last window ended with the last step
        self._log.write(
            Epoch(
                epoch=self._epoch,
                steps=self._done,
                images=self._images_in(self._done),
                train_s=steps.seconds,
                validation_s=self._validation_s,
                epoch_s=time.monotonic() - self._epoch_mark.time_s,
                loss=values["loss"],
                accuracy=values["accuracy"],
                val_loss=values["val_loss"],
                val_accuracy=values["val_accuracy"],
                learning_rate=self._rate.after(epoch, self._done - 1),
                communication_s=steps.split.communication_s,
                waiting_s=steps.split.waiting_s,
                sent_bytes=steps.sent,
                received_bytes=steps.received,
                payload_bytes=steps.split.payload_bytes,
            )
        )
        rate, epoch_s = self._rate.after(epoch, self._done - 1), time.monotonic() - self._epoch_mark.time_s
        self.complete(epoch, steps.seconds, {**values, "learning_rate": rate, "epoch_s": epoch_s})

    def complete(self, epoch: int, train_s: float, values: Mapping[str, float]) -> None:
        """Count an epoch (from 0), and write its scalars for TensorBoard."""
        self.epochs_completed += 1
        self.train_s += train_s
        if self._scalars is not None:
            with self._scalars.as_default(step=epoch + 1):
                for name, value in values.items():
                    tf.summary.scalar(name, value)
            self._scalars.flush()

    def _images_in(self, steps: int) -> int:
        return min(steps * self._batch, self._images)


@dataclass(frozen=True)
class _Spent:
    """The time and bytes between two moments."""

    seconds: float
    split: StepTimes
    sent: Optional[int]  # bytes
    received: Optional[int]


class _Mark:
    """A moment: the clock, the timer and the interface's counters."""

    def __init__(self, interface: Optional[str], timer: StepTimer) -> None:
        self.time_s = time.monotonic()
        self._split = timer.read()
        self._bytes = counters(interface)

    def since(self, before: _Mark) -> _Spent:
        seconds, split = self.time_s - before.time_s, self._split.since(before._split)
        if self._bytes is None or before._bytes is None:
            return _Spent(seconds, split, None, None)
        return _Spent(
            seconds,
            split,
            self._bytes.sent - before._bytes.sent,
            self._bytes.received - before._bytes.received,
        )
