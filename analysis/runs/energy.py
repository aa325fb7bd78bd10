"""Energy and temperature of each board and of the cluster, from samples.

Nothing is integrated over what was not sampled: a board whose samples leave a gap of more than a tenth of its training,
or more than a tenth of it in gaps, has no energy, and says why. A board's power is that of its module's rails, settled
over its whole record; power supplies, fans and the switch come on top. The switch may be given as a constant, and the
total as a wall meter's file. numpy is imported at its use: most runs have nothing to integrate when their manifest is
written.
"""

from __future__ import annotations

import math
import statistics
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trainer.contract.reading import is_number
from trainer.contract.tegrastats import hottest_c, summed_rails

if TYPE_CHECKING:
    import numpy.typing as npt

LARGEST_GAP = 0.1  # of the interval: between two samples, or before the first and after the last
COVERAGE = 0.9  # of the interval that must lie between samples as close as most of them
_CLOSE = 5.0  # times the median distance of samples
_COLDER_C, _COOLED_C = 5.0, 1.0  # below the hottest of training, and the most that it may still cool while idle
_EPOCHS = ("epoch", "served")  # the records of an epoch: of a board that computes, and of a parameter server
_SUMS = ("energy_j", "energy_above_idle_j", "mean_power_mw", "idle_power_mw")


def of_board(samples: Sequence[Mapping[str, Any]], records: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Energy of a board's training: from its first step to the end of its last epoch.

    `samples` are those of telemetry.jsonl, `records` those of events.jsonl. rails: those that were summed; energy_j and
    mean_power_mw: null where the board has no such sensor, where the samples have gaps, or where the run was resumed
    (what the attempts before took is not in these samples); coverage, largest_gap_s, refused: how well the training was
    sampled, and why that does not suffice, see `Sampled`; energy_by_epoch_j: from the start of the board's process to
    the end of each epoch; idle_power_mw: the mean before the trainer began; idle_cold: whether the board was cold then,
    null if unknown; idle_temperature_c: how hot; energy_above_idle_j: what training took on top of idle power; images:
    that this board trained on; temperature_max_c: of the hottest sensor that measures heat.
    """
    start, end = training(records) or (0.0, 0.0)
    first, last = _recorded(records) or (0.0, 0.0)
    inside = [sample for sample in samples if first <= sample["time_s"] <= last]
    hottest, cold = _heat(inside), _heat([sample for sample in samples if sample["idle"]])
    powered = [(it, power) for it, power in zip(samples, module_power_w(samples), strict=True) if power is not None]
    idle = [power for sample, power in powered if sample["idle"]]
    idle_w = statistics.fmean(idle) if idle else None
    times, watts = [sample["time_s"] for sample, _ in powered], [power for _, power in powered]
    # without sensors there is nothing to integrate
    sampled = Sampled.of(times, start, end) if powered and end > start else None
    joules = integral(times, watts, start, end) if sampled and not sampled.refused else None
    epochs = [record for record in records if record["event"] in _EPOCHS]
    whole = all(record.get("epoch", number) == number for number, record in enumerate(epochs, 1))
    began = next((_began(record) for record in records if record["event"] == "start"), math.nan)
    return {
        "rails": _rails(samples),
        "energy_j": joules,
        "energy_by_epoch_j": (
            [integral(times, watts, began, record["time_s"]) for record in epochs] if joules and whole else None
        ),
        "coverage": sampled.coverage if sampled else None,
        "largest_gap_s": sampled.largest_gap_s if sampled else None,
        "refused": sampled.refused if sampled else None,
        "mean_power_mw": None if joules is None else 1000 * joules / (end - start),
        "idle_power_mw": None if idle_w is None else 1000 * idle_w,
        "energy_above_idle_j": None if joules is None or idle_w is None else joules - idle_w * (end - start),
        "idle_temperature_c": statistics.fmean(cold) if cold else None,
        "idle_cold": _is_cold(cold, hottest),
        "images": _sum([record["images"] for record in records if record["event"] == "epoch"] or [0]),
        "temperature_max_c": max(hottest, default=None),
    }


@dataclass(frozen=True)
class Sampled:
    """How well an interval was sampled."""

    coverage: float  # fraction of it that lies between samples as close as most of them
    largest_gap_s: float  # between two samples, or before the first and after the last
    refused: str | None  # why that does not suffice for an integral

    @classmethod
    def of(cls, times: Sequence[float], start: float, end: float) -> Sampled:
        inside = [start, *sorted(time for time in times if start < time < end), end]
        every = sorted(times)
        usual_s = statistics.median(late - soon for soon, late in pairwise(every)) if len(every) > 1 else math.inf
        gaps = [late - soon for soon, late in pairwise(inside)]
        close = [gap for gap in gaps if gap <= _CLOSE * usual_s]
        largest_s, coverage = max(gaps), sum(close) / (end - start)
        refused = None
        if len(every) < 2 or largest_s > LARGEST_GAP * (end - start):
            refused = (
                f"no sample for {largest_s:.0f} s of {end - start:.0f} s (at most {LARGEST_GAP:.0%} may be missing)"
            )
        elif coverage < COVERAGE:
            refused = (
                f"only {coverage:.0%} of {end - start:.0f} s were sampled without gaps ({COVERAGE:.0%} are needed)"
            )
        return cls(coverage, largest_s, refused)


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

    Power is interpolated linearly between samples, and constant before the first and after the last. None with fewer
    than two samples, or if the samples start later or end earlier than the interval by more than a tenth of it; for
    gaps in between see `Sampled`, for those of a wall meter `wallmeter.readings`.
    """
    import numpy as np

    seconds, power = np.asarray(times, dtype=float), np.asarray(watts, dtype=float)
    if len(seconds) < 2 or not end > start:
        return None
    order = np.argsort(seconds)
    seconds, power = seconds[order], power[order]
    slack = LARGEST_GAP * (end - start)
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
    ends = [record["time_s"] for record in records if record["event"] in _EPOCHS]
    return (starts[0], ends[-1]) if starts and ends else None


def _began(start: Mapping[str, Any]) -> float:
    """When the board's process began (s, its clock); NaN where its record does not tell."""
    time_s, startup_s = start.get("time_s"), start.get("startup_s")
    return time_s - startup_s if is_number(time_s) and is_number(startup_s) else math.nan


def _rails(samples: Sequence[Mapping[str, Any]]) -> list[str]:
    """The rails to sum, from those that most samples with power have: a line that is cut off lacks or garbles some."""
    named = [sample["power_mw"] for sample in samples if isinstance(sample["power_mw"], Mapping) and sample["power_mw"]]
    seen = Counter(rail for power in named for rail in power)
    return summed_rails({rail for rail, count in seen.items() if 2 * count > len(named)})


def _heat(samples: Sequence[Mapping[str, Any]]) -> list[float]:
    """The hottest sensor of each sample that has one, in °C."""
    found = (hottest_c(_numbers(sample["temperature_c"])) for sample in samples)
    return [celsius for celsius in found if celsius is not None]


def _is_cold(idle_c: Sequence[float], training_c: Sequence[float]) -> bool | None:
    """Whether an idle board was cold: well below what training heats it to, and not still cooling from before."""
    if not idle_c or not training_c:
        return None
    return max(training_c) - statistics.fmean(idle_c) >= _COLDER_C and idle_c[0] - idle_c[-1] <= _COOLED_C


def _numbers(sensors: Any) -> dict[str, float]:
    """The sensors with a number."""
    if not isinstance(sensors, Mapping):
        return {}
    return {name: it for name, it in sensors.items() if is_number(it)}


def _sum(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) if known and len(known) == len(values) else None
