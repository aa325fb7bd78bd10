"""A line of progress per epoch, from the chief's records. On the controller; standard library only."""

from __future__ import annotations

import statistics
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from trainer.contract.reading import is_number
from trainer.contract.records import begins_at, is_complete
from trainer.contract.tegrastats import summed_rails

# errors from a record with a value of a wrong type, since records are not trusted
ODD = (ValueError, TypeError, KeyError, AttributeError, ArithmeticError)


class Progress:
    """A run's progress and remaining time."""

    def __init__(self, epochs: int, workers: int = 1, chief: str | None = None) -> None:
        """`epochs`: of the configuration; `workers`: number of boards; `chief`: the name of the first one."""
        self._epochs, self._workers, self.chief = epochs, workers, chief
        self._done = 0
        # seconds of this attempt's epochs; the first one traces and warms up, and is ignored once there is another
        self._epoch_s: list[float] = []
        self._first_windows: list[Mapping[str, Any]] = []
        self._steps_per_epoch: int | None = None
        self._inside_s = 0.0  # seconds of the current epoch's steps so far

    def take(self, record: Mapping[str, Any], samples: Mapping[str, Any] | None = None) -> str | None:
        """Add a record; returns the line to print, if any. `samples`: each board's latest sample by name."""
        if not is_complete(record):
            return None
        kind = record["event"]
        if kind == "start":
            self._steps_per_epoch = record["steps_per_epoch"]
            boards = "1 board" if self._workers == 1 else f"{self._workers} boards"
            return (
                f"{boards}, {record['steps_per_epoch']} steps of {record['board_batch']} images per epoch "
                f"and board; {record['gradient_bytes'] / 1e6:.1f} MB of gradient per step"
            )
        if kind == "resume":  # earlier records are another attempt's
            self._done, self._epoch_s, self._first_windows, self._inside_s = record["epoch"], [], [], 0.0
        if kind == "generation" and record["boards"]:
            self._workers, self.chief = len(record["boards"]), record["boards"][0]
            lost = f", without {', '.join(record['lost'])}" if record["lost"] else ""
            who = f"generation {record['number']}: {', '.join(record['boards'])}"
            return f"{who} go on from {begins_at(record)}{lost} ({record['cause']})"
        if kind == "window":
            self._inside_s += record["elapsed_s"]
            if not self._epoch_s:
                self._first_windows.append(record)
        if kind != "epoch":
            return None
        self._done, self._inside_s = record["epoch"], 0.0
        self._epoch_s.append(self._usual(record) if not self._epoch_s else record["epoch_s"])
        stalled = "stalls not timed"
        if record["communication_s"] is not None:
            stall_s = record["communication_s"] + (record["waiting_s"] or 0.0)
            stalled = f"{stall_s / record['train_s']:.0%} stalled"
        parts = [
            f"epoch {record['epoch']:>3}/{self._epochs}",
            f"loss {record['loss']:.3f}",
            f"val_accuracy {record['val_accuracy']:.3f}",
            f"{self._workers * record['images'] / record['train_s']:,.0f} images/s",
            stalled,
            f"{record['epoch_s']:.1f} s",
            *_state(samples or {}),
            f"{duration(self.left_s() or 0.0)} left",
        ]
        return "  ".join(parts)

    def left_s(self) -> float | None:
        """Estimated seconds until the end of the last epoch; null until the second window.

        In the first epoch, it is estimated from the windows after the first, without validation.
        """
        with suppress(*ODD):
            left_s = self._left_s()
            return left_s if is_number(left_s) else None
        return None

    def _left_s(self) -> float | None:
        if self._epoch_s:
            epoch_s = float(statistics.mean(self._epoch_s[1:] or self._epoch_s))
            return max(0.0, (self._epochs - self._done) * epoch_s - min(self._inside_s, epoch_s))
        step_s = self._step_s()
        if step_s is None or self._steps_per_epoch is None:
            return None
        steps = sum(window["steps"] for window in self._first_windows)
        return float(max(0.0, ((self._epochs - self._done) * self._steps_per_epoch - steps) * step_s))

    def _usual(self, first: Mapping[str, Any]) -> float:
        """The first epoch's time without tracing and warm-up, estimated from the windows after the first."""
        step_s = self._step_s()
        if step_s is None:
            return float(first["epoch_s"])
        return float(first["steps"] * step_s + first["epoch_s"] - first["train_s"])

    def _step_s(self) -> float | None:
        """Seconds per step in the first epoch's windows after the first; null without any."""
        later = self._first_windows[1:]
        if not later:
            return None
        return float(sum(window["elapsed_s"] for window in later) / sum(window["steps"] for window in later))


def _state(samples: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """The hottest board and the total power, from boards with such sensors."""
    hottest = max(
        (
            (max(sample["temperature_c"].values()), board)
            for board, sample in samples.items()
            if sample["temperature_c"]
        ),
        default=None,
    )
    powers = [sample["power_mw"] for sample in samples.values()]
    watts = sum(power[rail] for power in powers for rail in summed_rails(power)) / 1000
    return [
        *([f"{hottest[1]} {hottest[0]:.0f} °C"] if hottest else []),
        *([f"{watts:.0f} W"] if powers and all(powers) else []),
    ]


def duration(seconds: float) -> str:
    """Such as 45 s, 12 min, 3 h 05 min."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 100 else f"{minutes // 60} h {minutes % 60:02} min"
