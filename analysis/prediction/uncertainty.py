"""How well a prediction is known: standard errors of the model's parameters, and intervals of its times.

Every measurement has a relative standard error (`repeats.Error`) from its repeats. Each one in turn is moved by its
error, all that follows from it is calculated anew, and the squares of the changes are summed: the delta method, with
differences for derivatives. A run to come also differs from its prediction because boards and machine are not as they
were in the minutes of measuring, and because a model is not the world. How much was measured: ANOTHER_RUN, the root
mean square of the 14 errors of `make bench-prediction` (docs/data/bench-prediction.json, emulated boards). The two are
added, and Student's t is taken with the degrees of freedom of the sum (Satterthwaite, "An approximate distribution of
estimates of variance components", 1946).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from analysis.prediction.measured import Measured, Timed
from analysis.prediction.repeats import Error

CONFIDENCE = 0.9
ANOTHER_RUN = Error(0.045, 14)  # of a run to come
_TIMES = ("step_s", "communication_s", "waiting_s", "average_s")  # of `Timed`, which one turn measured together
Floats = npt.NDArray[np.float64]


def standard_errors(measured: Measured, parameters: Callable[[Measured], Floats]) -> Floats:
    """The standard error of each of the parameters that follow from what was measured; NaN if no error is known."""
    variances = [variance for variance, _ in _variances(measured, parameters)]
    return np.sqrt(np.sum(variances, axis=0)) if variances else np.full_like(parameters(measured), np.nan)


def intervals(measured: Measured, times: Callable[[Measured], Floats]) -> tuple[Floats, Floats]:
    """The ends of the 90 % interval of each time that a run will take; NaN if no error is known."""
    from scipy import special  # imported late: takes a second

    found = list(_variances(measured, lambda it: np.log(times(it))))
    value = times(measured)
    if not found:
        return np.full_like(value, np.nan), np.full_like(value, np.nan)
    parts = [*found, (np.full_like(value, ANOTHER_RUN.share**2), ANOTHER_RUN.df)]
    total = np.sum([variance for variance, _ in parts], axis=0)
    freedom = total**2 / np.sum([variance**2 / df for variance, df in parts], axis=0)
    half = special.stdtrit(freedom, (1 + CONFIDENCE) / 2) * np.sqrt(total)
    return value * np.exp(-half), value * np.exp(half)


def _variances(measured: Measured, values: Callable[[Measured], Floats]) -> Iterator[tuple[Floats, int]]:
    """The variance of the values by source of error, and its degrees of freedom."""
    base = values(measured)
    by_error: dict[Error, Floats] = {}
    for error, moved in _moved(measured):
        by_error[error] = by_error.get(error, np.zeros_like(base)) + (values(moved) - base) ** 2
    yield from ((variance, error.df) for error, variance in by_error.items())


def _moved(measured: Measured) -> Iterator[tuple[Error, Measured]]:
    """What was measured with one thing longer by its standard error, for each thing."""
    for name in ("step", "together_step"):
        error = getattr(measured, f"{name}_error")
        if error is not None:
            longer = tuple(seconds * (1 + error.share) for seconds in getattr(measured, f"{name}_s"))
            moved: dict[str, Any] = {f"{name}_s": longer}
            yield error, dataclasses.replace(measured, **moved)
    for place, timed in enumerate(measured.timed):
        if timed.error is not None:
            changed = (*measured.timed[:place], _longer(timed, timed.error), *measured.timed[place + 1 :])
            yield timed.error, dataclasses.replace(measured, timed=changed)
    for place, point in enumerate(measured.points):
        if point.error is not None:
            longer_point = dataclasses.replace(point, seconds=point.seconds * (1 + point.error.share))
            points = (*measured.points[:place], longer_point, *measured.points[place + 1 :])
            yield point.error, dataclasses.replace(measured, points=points)


def _longer(timed: Timed, error: Error) -> Timed:
    known: dict[str, float] = {name: value for name in _TIMES if (value := getattr(timed, name)) is not None}
    longer: dict[str, Any] = {name: value * (1 + error.share) for name, value in known.items()}
    return dataclasses.replace(timed, **longer)
