"""Turns steps, validations and epochs into records, whatever engine makes them."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from typing import Any, Callable, List, Mapping, Optional, Protocol, Sequence, Tuple

from trainer.contract.checkpoints import START, Place
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
        self._begins: Place = START
        self._earlier: List[Mapping[str, Any]] = []  # windows of earlier attempts in the epoch that this one begins in

    def go_on(self, records: Sequence[Mapping[str, Any]], begins: Place) -> None:
        """Count what the records of earlier attempts have; this one begins at a place."""
        before = [record for record in records if record["event"] == Epoch.KIND]
        self.epochs_completed = len(before)
        self.train_s = sum(record["train_s"] for record in before)
        self._begins = begins
        self._earlier = [window for window in _unfinished(records) if window["epoch"] == begins.epoch + 1]

    def begin_epoch(self, epoch: int) -> None:
        """An epoch (from 0) begins, or goes on where an earlier attempt was."""
        goes_on = epoch == self._begins.epoch
        self._epoch, self._earlier = epoch + 1, self._earlier if goes_on else []
        self._steps, self._batch = self._pace.steps(epoch), self._pace.batch
        self._images = self._pace.images(epoch, self._begins.images if goes_on else 0)  # from here on
        # steps of this epoch in windows already written, and before this attempt
        self._done = self._begun = self._pace.begun(self._begins) if goes_on else 0
        # other boards may have made more steps for as many images: no two windows have the same place
        ends = [window["first_step"] + window["steps"] for window in self._earlier]
        self._ahead = max(0, max(ends, default=0) - self._begun)
        self._epoch_mark = self._window_mark = self._now()
        self._validation_s = 0.0

    def end_step(self, steps: int, read: Callable[[], Tuple[float, float]], cut: bool = False) -> None:
        """`steps` of the epoch have been made; `read` waits for the device, and returns loss and accuracy so far.

        `cut`: the window ends here, before a checkpoint.
        """
        self._log.progress()
        if steps // self._window_steps == self._done // self._window_steps and steps < self._steps and not cut:
            return
        loss, accuracy = read()
        now = self._now()
        spent = now.since(self._window_mark)
        self._log.write(
            Window(
                epoch=self._epoch,
                first_step=self._ahead + self._done,
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
        return computed / (self._done - self._begun)

    @property
    def epoch_train_s(self) -> float:
        """Seconds of the epoch's steps in windows already written, earlier attempts' too."""
        return self._before("elapsed_s") + self._window_mark.since(self._epoch_mark).seconds

    def _before(self, name: str) -> float:
        """The sum of a window's field over the windows of earlier attempts in this epoch."""
        return math.fsum(window[name] for window in self._earlier)

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
            steps=self._done - self._begun + sum(window["steps"] for window in self._earlier),
            images=self._images_in(self._done) + sum(window["images"] for window in self._earlier),
            train_s=self.epoch_train_s,
            validation_s=self._validation_s,
            epoch_s=time.monotonic() - self._epoch_mark.time_s + self._before("elapsed_s"),
            loss=loss,
            accuracy=accuracy,
            val_loss=val_loss,
            val_accuracy=val_accuracy,
            learning_rate=self._rate.after(self._epoch - 1, self._done - 1),
            communication_s=self._with_earlier("communication_s", steps.split.communication_s),
            waiting_s=self._with_earlier("waiting_s", steps.split.waiting_s),
            sent_bytes=self._with_earlier("sent_bytes", steps.sent),
            received_bytes=self._with_earlier("received_bytes", steps.received),
            payload_bytes=steps.split.payload_bytes + sum(window["payload_bytes"] for window in self._earlier),
            staleness=None if steps.stale_updates is None else steps.stale_updates / self._done,
        )
        self._log.write(record)
        self.epochs_completed += 1
        self.train_s += record.train_s
        return record

    def _now(self) -> _Mark:
        return _Mark(self._interface, self._timer, self.stale_updates)

    def _images_in(self, steps: int) -> int:
        return min((steps - self._begun) * self._batch, self._images)

    def _with_earlier(self, name: str, measured: Any) -> Any:
        """A sum of this attempt with that of earlier ones in the epoch; null where either was not measured."""
        values = [measured, *(window[name] for window in self._earlier)]
        return None if None in values else sum(values)


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
    within = math.fsum(window["elapsed_s"] for window in _unfinished(records))
    return within + math.fsum(record.get("startup_s", 0.0) + record.get("epoch_s", 0.0) for record in records)


def _unfinished(records: Sequence[Mapping[str, Any]]) -> List[Mapping[str, Any]]:
    """The windows after the last finished epoch."""
    ends = [number for number, record in enumerate(records, 1) if record["event"] == Epoch.KIND]
    return [record for record in records[ends[-1] if ends else 0 :] if record["event"] == Window.KIND]
