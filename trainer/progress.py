"""A line for people per epoch, from the chief's records as they come. On the controller; standard library only."""

from __future__ import annotations

import statistics
from typing import Any, List, Mapping, Optional


class Progress:
    """How a run is getting on, and how long it still takes."""

    def __init__(self, epochs: int) -> None:
        """`epochs` in all, of the configuration."""
        self._epochs = epochs
        self._workers = 1
        self._done = 0
        # seconds of this attempt's epochs: the first one traces and warms up, so it counts for nothing once there is
        # another
        self._epoch_s: List[float] = []
        self._first_windows: List[Mapping[str, Any]] = []
        self._steps_per_epoch: Optional[int] = None
        self._inside_s = 0.0  # of the steps that were made of the epoch that goes on

    def take(self, record: Mapping[str, Any]) -> Optional[str]:
        """Note a record; what there is to say of it, if anything."""
        kind = record["event"]
        if kind == "start":
            self._workers, self._steps_per_epoch = record["workers"], record["steps_per_epoch"]
            return (
                f"{record['workers']} board(s), {record['steps_per_epoch']} steps of {record['board_batch']} images "
                f"an epoch on each; {record['gradient_bytes'] / 1e6:.1f} MB of gradient a step"
            )
        if kind == "resume":  # what went before was another attempt's
            self._done, self._epoch_s, self._first_windows, self._inside_s = record["epoch"], [], [], 0.0
        if kind == "window":
            self._inside_s += record["elapsed_s"]
            if not self._epoch_s:
                self._first_windows.append(record)
        if kind != "epoch":
            return None
        self._done, self._inside_s = record["epoch"], 0.0
        self._epoch_s.append(self._usual(record) if not self._epoch_s else record["epoch_s"])
        agreeing_s = record["communication_s"] + (record["waiting_s"] or 0.0)
        parts = [
            f"epoch {record['epoch']:>3}/{self._epochs}",
            f"loss {record['loss']:.3f}",
            f"val_accuracy {record['val_accuracy']:.3f}",
            f"{self._workers * record['images'] / record['train_s']:,.0f} images/s",
            f"{agreeing_s / record['train_s']:.0%} agreeing",
            f"{record['epoch_s']:.1f} s",
            f"{duration(self.left_s() or 0.0)} left",
        ]
        return "  ".join(parts)

    def left_s(self) -> Optional[float]:
        """Seconds until the last epoch is over, as far as one can tell; null until the second window.

        Within the first epoch its windows but the first tell, and the validations are not counted.
        """
        if self._epoch_s:
            epoch_s = float(statistics.mean(self._epoch_s[1:] or self._epoch_s))
            return max(0.0, (self._epochs - self._done) * epoch_s - min(self._inside_s, epoch_s))
        step_s = self._step_s()
        if step_s is None or self._steps_per_epoch is None:
            return None
        steps = sum(window["steps"] for window in self._first_windows)
        return float(max(0.0, ((self._epochs - self._done) * self._steps_per_epoch - steps) * step_s))

    def _usual(self, first: Mapping[str, Any]) -> float:
        """What the first epoch would have taken without what only it does: its windows but the first tell."""
        step_s = self._step_s()
        if step_s is None:
            return float(first["epoch_s"])
        return float(first["steps"] * step_s + first["epoch_s"] - first["train_s"])

    def _step_s(self) -> Optional[float]:
        """Seconds of a step in the first epoch's windows but the first; null without any."""
        later = self._first_windows[1:]
        if not later:
            return None
        return float(sum(window["elapsed_s"] for window in later) / sum(window["steps"] for window in later))


def duration(seconds: float) -> str:
    """Such as 45 s, 12 min, 3 h 05 min."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 100 else f"{minutes // 60} h {minutes % 60:02} min"
