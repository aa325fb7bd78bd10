"""What a run cost: energy and temperature of each board, from its samples.

The power is that of the module's rails, not of the wall socket: supplies, fans and the switch come on top.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

# rails that all power of a module goes through; the others are parts of them
_INPUTS = ("VDD_IN", "POM_5V_IN", "VIN")


def of_board(samples: Sequence[Mapping[str, Any]], records: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Energy of a board's training: from its first step to the end of its last epoch.

    `samples` are those of telemetry.jsonl, `records` those of events.jsonl. rails: those that were summed; energy_j and
    mean_power_mw: null where the board has no such sensor, or where the run was resumed (what the attempts before took
    is not in these samples); temperature_max_c: of the hottest sensor.
    """
    start, end = _interval(records)
    inside = [sample for sample in samples if start <= sample["time_s"] <= end]
    hottest = [max(sample["temperature_c"].values()) for sample in inside if sample["temperature_c"]]
    rails = summed_rails(next((sample["power_mw"] for sample in samples if sample["power_mw"]), {}))
    powered = [sample for sample in samples if rails and set(rails) <= sample["power_mw"].keys()]
    resumed = any(record["event"] == "resume" for record in records)
    joules = None
    if not resumed:
        joules = integral(
            np.array([sample["time_s"] for sample in powered], dtype=float),
            np.array([sum(sample["power_mw"][rail] for rail in rails) / 1000 for sample in powered], dtype=float),
            start,
            end,
        )
    return {
        "rails": rails,
        "energy_j": joules,
        "mean_power_mw": None if joules is None else 1000 * joules / (end - start),
        "temperature_max_c": max(hottest, default=None),
    }


def integral(times: npt.NDArray[Any], watts: npt.NDArray[Any], start: float, end: float) -> float | None:
    """Joules between two moments, of power (W) sampled at `times` (s, in any order and at any distance).

    Between two samples power is taken to change steadily. None where there are no two samples, or where the samples
    begin later or end earlier than the interval by more than a tenth of it.
    """
    if len(times) < 2 or end <= start:
        return None
    order = np.argsort(times)
    times, watts = times[order], watts[order]
    slack = 0.1 * (end - start)
    if times[0] > start + slack or times[-1] < end - slack:
        return None
    inside = (times > start) & (times < end)
    at = np.concatenate([[start], times[inside], [end]])
    return float(np.trapezoid(np.interp(at, times, watts), at))


def summed_rails(rails: Collection[str]) -> list[str]:
    """The rails whose sum is the module's power: the one at its input where there is one, else all of them."""
    inputs = [rail for rail in _INPUTS if rail in rails]
    return inputs[:1] or sorted(rails)


def _interval(records: Sequence[Mapping[str, Any]]) -> tuple[float, float]:
    """From the first step to the end of the last epoch; (0, 0) where there was none."""
    starts = [record["time_s"] for record in records if record["event"] == "start"]
    ends = [record["time_s"] for record in records if record["event"] == "epoch"]
    return (starts[0], ends[-1]) if starts and ends else (0.0, 0.0)
