"""How well a measurement is known from its repeats."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from typing import NamedTuple

import pandas as pd


class Error(NamedTuple):
    """A relative standard error, and the degrees of freedom with which it is known."""

    share: float
    df: int


def error_of_turns(rows: pd.DataFrame) -> Error | None:
    """The error of a median over the cycles; cycles are few, so that the methods' relative spreads are pooled."""
    steps = rows.groupby("sync")["step_s"]
    off = rows["step_s"] / steps.transform("mean") - 1
    cycles, df = int(steps.size().min()), len(rows) - steps.ngroups
    return None if df < 1 or cycles < 2 else Error(_of_median(cycles) * math.sqrt(float((off**2).sum()) / df), df)


def error_of(values: Sequence[float]) -> Error | None:
    """The relative standard error of the median of repeated values; null of fewer than two."""
    if len(values) < 2:
        return None
    return Error(_of_median(len(values)) * statistics.stdev(values) / statistics.fmean(values), len(values) - 1)


def _of_median(count: int) -> float:
    """The standard error of a median over the standard deviation: of many values that of a mean times sqrt(pi / 2)."""
    return (1.0 if count < 3 else math.sqrt(math.pi / 2)) / math.sqrt(count)
