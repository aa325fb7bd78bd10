"""Turns steps, validations and epochs into records, whatever engine makes them."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from typing import Any, Callable, Mapping, Optional, Protocol, Sequence, Tuple

from trainer.contract.events import Epoch, Window
from trainer.contract.interface import counters
from trainer.contract.records import EventLog
from trainer.loop.pace import Pace
from trainer.loop.rate import Rate
from trainer.loop.step_times import StepTimes, Timer


class AppliedSteps(Protocol):
    """Finds out whether the optimizer applies steps."""

    def check(self, made: int) -> None:
        """Raise NotLearningError if no step was applied for long; `made`: batches of the run so far."""


class Recorder:
    """Writes a window record every `window_steps` steps, and an epoch record after each validation."""

    def __init__(
        self, log: EventLog, interface: Optional[str], pace: Pace, window_steps: int, rate: Rate, timer: Timer
    ) -> None:
        super().__init__()
        self._log, self._interface, self._pace = log, interface, pace
        self._window_steps, self._rate, self._timer = window_steps, rate, timer
        self.epochs_completed = 0  # including earlier attempts
        self.train_s = 0.0  # including earlier attempts
        self.applied: Optional[AppliedSteps] = None  # set once there is an optimizer
        # updates by others between reading the model and updating it, summed over the steps; null without servers
        self.stale_updates: Optional[int] = None

    def go_on(self, records: Sequence[Mapping[str, Any]]) -> None:
        """Count what the records of earlier attempts have."""
        before = [record for record in records if record["event"] == Epoch.KIND]
        self.epochs_completed = len(before)
        self.train_s = sum(record["train_s"] for record in before)

    def begin_epoch(self, epoch: int) -> None:
        """An epoch (from 0) begins."""
        self._epoch = epoch + 1
        self._steps, self._images, self._batch = self._pace.steps(epoch), self._pace.images(epoch), self._pace.batch
        self._done = 0  # steps of this epoch in windows already written
        self._epoch_mark = self._window_mark = self._now()
        self._validation_s = 0.0

    def end_step(self, steps: int, read: Callable[[], Tuple[float, float]]) -> None:
        """`steps` of the epoch have been made; `read` waits for the device, and returns loss and accuracy so far."""
        self._log.progress()
        if steps - self._done < self._window_steps and steps < self._steps:
            return
        loss, accuracy = read()
        now = self._now()
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
                staleness=None if spent.stale_updates is None else spent.stale_updates / (steps - self._done),
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

    def end_validation_step(self) -> None:
        """A batch has been validated."""
        self._log.progress()

    def begin_validation(self) -> None:
        self._validation_from = time.monotonic()

    def end_validation(self) -> None:
        self._validation_s = time.monotonic() - self._validation_from

    def end_epoch(self, loss: float, accuracy: float, val_loss: float, val_accuracy: float) -> Epoch:
        """Write and return the record of the epoch."""
        steps = self._window_mark.since(self._epoch_mark)  # the last window ended with the last step
        record = Epoch(
            epoch=self._epoch,
            steps=self._done,
            images=self._images_in(self._done),
            train_s=steps.seconds,
            validation_s=self._validation_s,
            epoch_s=time.monotonic() - self._epoch_mark.time_s,
            loss=loss,
            accuracy=accuracy,
            val_loss=val_loss,
            val_accuracy=val_accuracy,
            learning_rate=self._rate.after(self._epoch - 1, self._done - 1),
            communication_s=steps.split.communication_s,
            waiting_s=steps.split.waiting_s,
            sent_bytes=steps.sent,
            received_bytes=steps.received,
            payload_bytes=steps.split.payload_bytes,
            staleness=None if steps.stale_updates is None else steps.stale_updates / self._done,
        )
        self._log.write(record)
        self.epochs_completed += 1
        self.train_s += steps.seconds
        return record

    def _now(self) -> _Mark:
        return _Mark(self._interface, self._timer, self.stale_updates)

    def _images_in(self, steps: int) -> int:
        return min(steps * self._batch, self._images)


@dataclass(frozen=True)
class _Spent:
    """The time, bytes and stale updates between two moments; null: not measured."""

    seconds: float
    split: StepTimes
    sent: Optional[int]  # bytes
    received: Optional[int]
    stale_updates: Optional[int]


class _Mark:
    """A moment: the clock, the timer, the interface's counters and the stale updates."""

    def __init__(self, interface: Optional[str], timer: Timer, stale_updates: Optional[int]) -> None:
        self.time_s = time.monotonic()
        self._split = timer.read()
        self._bytes = counters(interface)
        self._stale_updates = stale_updates

    def since(self, before: _Mark) -> _Spent:
        seconds, split = self.time_s - before.time_s, self._split.since(before._split)
        sent = received = stale = None
        if self._bytes is not None and before._bytes is not None:
            sent, received = self._bytes.sent - before._bytes.sent, self._bytes.received - before._bytes.received
        if self._stale_updates is not None:
            stale = self._stale_updates - (before._stale_updates or 0)
        return _Spent(seconds, split, sent, received, stale)


def spent_s(records: Sequence[Mapping[str, Any]]) -> float:
    """Seconds that earlier attempts took up to the checkpoint."""
    return math.fsum(record.get("startup_s", 0.0) + record.get("epoch_s", 0.0) for record in records)
