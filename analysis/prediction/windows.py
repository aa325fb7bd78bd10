"""A board's steady epochs and windows, and what they tell of a step."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from analysis.runs.eventlog import first_epochs
from trainer.contract.events import Epoch, Window


def steady_epochs(of_board: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    return [it for it in of_board if it["event"] == Epoch.KIND and it["epoch"] not in first_epochs(of_board)]


def steady_windows(of_board: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Windows of all steady epochs; without a steady epoch, all but the first window of each epoch."""
    windows = [record for record in of_board if record["event"] == Window.KIND]
    later = [window for window in windows if window["epoch"] not in first_epochs(of_board)]
    return later or [window for window in windows if window["first_step"] != 0]


def sums(windows: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """Seconds and bytes per step; NaN if they were not measured."""
    steps = sum(window["steps"] for window in windows)
    names = ("elapsed_s", "compute_s", "communication_s", "waiting_s", "payload_bytes")
    return {
        name: sum(math.nan if window[name] is None else window[name] for window in windows) / steps for name in names
    }


def step_s(window: Mapping[str, Any]) -> float:
    return float(window["elapsed_s"] / window["steps"])


def spread(windows: Sequence[Mapping[str, Any]]) -> float | None:
    """Standard deviation of a step from windows' means, if steps vary independently; null below three windows."""
    means = [step_s(window) for window in windows]
    if len(means) < 3:
        return None
    return statistics.stdev(means) * math.sqrt(statistics.fmean(float(window["steps"]) for window in windows))
