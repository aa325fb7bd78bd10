"""Energy and temperature of each board and of the cluster, from samples.

A board's power is that of its module's rails; power supplies, fans and the switch come on top. The switch may be given
as a constant, and the total as a wall meter's file. numpy is imported at its use: most runs have nothing to integrate
when their manifest is written.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trainer.contract.reading import is_number
from trainer.contract.tegrastats import hottest_c, summed_rails

if TYPE_CHECKING:
    import numpy.typing as npt

_SUMS = ("energy_j", "energy_above_idle_j", "mean_power_mw", "idle_power_mw")


def of_board(samples: Sequence[Mapping[str, Any]], records: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Energy of a board's training: from its first step to the end of its last epoch.

    `samples` are those of telemetry.jsonl, `records` those of events.jsonl. rails: those that were summed; energy_j and
    mean_power_mw: null where the board has no such sensor, or where the run was resumed (what the attempts before took
    is not in these samples); idle_power_mw: the mean before the trainer began; energy_above_idle_j: what training took
    on top of that; images: that this board trained on; temperature_max_c: of the hottest sensor that measures heat.
    """
    start, end = training(records) or (0.0, 0.0)
    first, last = _recorded(records) or (0.0, 0.0)
    inside = [sample for sample in samples if first <= sample["time_s"] <= last]
    hottest = [celsius for it in inside if (celsius := hottest_c(_numbers(it["temperature_c"]))) is not None]
    powered = [(it, power) for it, power in zip(samples, module_power_w(samples), strict=True) if power is not None]
    idle = [power for sample, power in powered if sample["idle"]]
    idle_w = statistics.fmean(idle) if idle else None
    times, watts = [sample["time_s"] for sample, _ in powered], [power for _, power in powered]
    # without sensors there is nothing to integrate
    joules = integral(times, watts, start, end) if powered else None
    return {
        "rails": _rails(samples),
        "energy_j": joules,
        "mean_power_mw": None if joules is None else 1000 * joules / (end - start),
        "idle_power_mw": None if idle_w is None else 1000 * idle_w,
        "energy_above_idle_j": None if joules is None or idle_w is None else joules - idle_w * (end - start),
        "images": _sum([record["images"] for record in records if record["event"] == "epoch"] or [0]),
        "temperature_max_c": max(hottest, default=None),
    }


def module_power_w(samples: Sequence[Mapping[str, Any]]) -> list[float | None]:
    """Power of a board's module at each sample, the sum of its rails; null if the sample lacks one."""
    rails = _rails(samples)
    powers = [_numbers(sample["power_mw"]) for sample in samples]
    return [
        float(sum(power[rail] for rail in rails)) / 1000 if rails and set(rails) <= power.keys() else None
        for power in powers
    ]


def of_cluster(
    costs: Sequence[Mapping[str, Any]], interval: tuple[float, float] | None, switch_w: float | None, meter: Path | None
) -> dict[str, Any]:
    """The sum of the boards' costs; null if one of them is. `interval` (s, the controller's clock) is the training's.

    switch_energy_j: the switch's constant power over the interval; wall_energy_j: the integral of the wall meter's
    file. Raises ConfigError if that file cannot be read or does not cover the interval.
    """
    start, end = interval or (0.0, 0.0)
    at_the_wall = None
    if meter and interval:
        from analysis.runs.wallmeter import readings  # imported late: pandas takes a second

        at_the_wall = integral(*readings(meter, start, end), start, end)
    together = {name: _sum([cost[name] for cost in costs]) for name in _SUMS}
    images = _sum([cost["images"] for cost in costs])
    joules = together["energy_j"]
    return {
        **together,
        "energy_j_per_image": joules / images if joules is not None and images else None,
        "switch_energy_j": switch_w * (end - start) if switch_w is not None and interval else None,
        "wall_energy_j": at_the_wall,
    }


def integral(times: npt.ArrayLike, watts: npt.ArrayLike, start: float, end: float) -> float | None:
    """Joules between two moments, of power (W) sampled at `times` (s, in any order and at any distance).

    Power is interpolated linearly between samples. None with fewer than two samples, or if the samples start later or
    end earlier than the interval by more than a tenth of it.
    """
    import numpy as np

    seconds, power = np.asarray(times, dtype=float), np.asarray(watts, dtype=float)
    if len(seconds) < 2 or end <= start:
        return None
    order = np.argsort(seconds)
    seconds, power = seconds[order], power[order]
    slack = 0.1 * (end - start)
    if seconds[0] > start + slack or seconds[-1] < end - slack:
        return None
    inside = (seconds > start) & (seconds < end)
    at = np.concatenate([[start], seconds[inside], [end]])
    return float(np.trapezoid(np.interp(at, seconds, power), at))


def training(records: Sequence[Mapping[str, Any]]) -> tuple[float, float] | None:
    """From the first step to the end of the last epoch (s, the board's clock).

    None if no epoch ended, or if the run was resumed: the time between attempts is not training.
    """
    resumed = any(record["event"] == "resume" for record in records)
    return None if resumed else _recorded(records)


def _recorded(records: Sequence[Mapping[str, Any]]) -> tuple[float, float] | None:
    """The interval from the first step to the end of the last epoch, including time between attempts."""
    starts = [record["time_s"] for record in records if record["event"] == "start"]
    ends = [record["time_s"] for record in records if record["event"] == "epoch"]
    return (starts[0], ends[-1]) if starts and ends else None


def _rails(samples: Sequence[Mapping[str, Any]]) -> list[str]:
    # of all samples, since a line that is cut off lacks rails
    named = [sample["power_mw"] for sample in samples if isinstance(sample["power_mw"], Mapping)]
    return summed_rails({rail for power in named for rail in power})


def _numbers(sensors: Any) -> dict[str, float]:
    """The sensors with a number."""
    if not isinstance(sensors, Mapping):
        return {}
    return {name: it for name, it in sensors.items() if is_number(it)}


def _sum(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) if known and len(known) == len(values) else None
