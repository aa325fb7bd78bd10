"""What a few runs can tell: intervals, ratios, equivalence and power. Pure functions of arrays.

Runs of an arm lie along the last axis; axes before it (simulations, say) are kept. Everything rests on Student's t.
From three runs a bootstrap can draw ten different resamples: 95 % intervals of the percentile method and of BCa then
cover in about 75 % of experiments, those of pairs studentised in less than 90 %. The t interval of logarithms covers
in 94 to 97 %, for normal and for log-normal noise. docs/statistics.md has the table, and the command that made it.
Sources:

- one arm, and pairs: Student, "The probable error of a mean", Biometrika 1908
- two arms with spreads of their own: Welch, "The generalization of 'Student's' problem when several different
  population variances are involved", Biometrika 1947, with Satterthwaite's degrees of freedom
- ratios: the difference of logarithms, since noise of times is relative, and means of ratios have no preferred arm
  (Fleming and Wallace, "How not to lie with statistics: the correct way to summarize benchmark results", 1986)
- not worse: one half of Schuirmann's two one-sided tests, "A comparison of the two one-sided tests procedure and the
  power approach", 1987
"""

from __future__ import annotations

from typing import Any, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt
from scipy import special

CONFIDENCE = 0.95
POWER = 0.8  # with which a difference is said to be detectable
FEW = 5  # runs from which MLPerf drops the fastest and the slowest one

Floats: TypeAlias = npt.NDArray[np.float64]


class Estimate(NamedTuple):
    """A value and its 95 % interval; `low` and `high` are NaN where an arm has one run only."""

    value: Floats
    low: Floats
    high: Floats


class _Difference(NamedTuple):
    """Of two means: its value, its standard error, and the degrees of freedom of that."""

    value: Floats
    error: Floats
    freedom: Floats


def mean(values: npt.ArrayLike) -> Estimate:
    """The mean of an arm's runs."""
    return _interval(_paired(_known(values)))


def difference(values: npt.ArrayLike, base: npt.ArrayLike, *, paired: bool) -> Estimate:
    """The mean of an arm less that of the base.

    `paired`: the i-th run of both was made under the same conditions, so that these cancel out.
    """
    return _interval(_difference(values, base, paired))


def ratio(values: npt.ArrayLike, base: npt.ArrayLike, *, paired: bool) -> Estimate:
    """The geometric mean of an arm over that of the base, for values above zero; NaN where one is not."""
    logs = _interval(_difference(_log(values), _log(base), paired))
    return Estimate(*map(np.exp, logs))


def not_worse(values: npt.ArrayLike, base: npt.ArrayLike, margin: float, *, paired: bool) -> Floats:
    """How likely means like these are (p) if the arm's true mean is lower than the base's by `margin` or more.

    Below 0.05 the arm is not worse by more than the margin. NaN where an arm has one run only.
    """
    found = _difference(values, base, paired)
    with np.errstate(divide="ignore", invalid="ignore"):  # runs that are all the same have no error
        t = (found.value + margin) / found.error
    return np.asarray(special.stdtr(found.freedom, -t))


def detectable(values: npt.ArrayLike, base: npt.ArrayLike, *, paired: bool) -> Floats:
    """The least true difference of two means that a test (two-sided, 5 %) of so many runs, with the spread that these
    have, would find in four cases of five. NaN where an arm has one run only.

    The power of the t test is a probability of the noncentral t distribution (Cohen, "Statistical power analysis for
    the behavioral sciences", 1988, section 2); here its noncentrality is wanted, times the standard error.
    """
    found = _difference(values, base, paired)
    return np.asarray(special.nctdtrinc(found.freedom, 1 - POWER, _quantile(found.freedom)) * found.error)


def detectable_ratio(values: npt.ArrayLike, base: npt.ArrayLike, *, paired: bool) -> Floats:
    """The same of a ratio: how far from 1 it must be, such as 0.05 for 5 %."""
    return np.asarray(np.expm1(detectable(_log(values), _log(base), paired=paired)))


def kept(times: npt.ArrayLike) -> npt.NDArray[np.bool_]:
    """Which runs of one arm MLPerf averages: all but the fastest and the slowest, where there are 5 or more.

    A run that never converged (NaN) is the slowest; a second one stays, so that the average is not known. MLPerf
    Training Rules, "Benchmark Results": 5 or 10 runs, by benchmark.
    """
    seconds = np.asarray(times, dtype=float)
    keep = np.ones(len(seconds), dtype=bool)
    if len(seconds) >= FEW:
        order = np.argsort(seconds, kind="stable")  # NaN last
        keep[order[[0, -1]]] = False
    return keep


def _difference(values: npt.ArrayLike, base: npt.ArrayLike, paired: bool) -> _Difference:
    ours, theirs = _known(values), _known(base)
    return _paired(ours - theirs) if paired else _welch(ours, theirs)


def _paired(runs: Floats) -> _Difference:
    count = runs.shape[-1]
    value = runs.mean(axis=-1)
    return _Difference(value, np.sqrt(_variance(runs) / count), np.full_like(value, count - 1))


def _welch(ours: Floats, theirs: Floats) -> _Difference:
    parts = [(_variance(runs) / runs.shape[-1], runs.shape[-1] - 1) for runs in (ours, theirs)]
    variance = parts[0][0] + parts[1][0]
    with np.errstate(divide="ignore", invalid="ignore"):  # both arms without any spread
        freedom = variance**2 / sum(part**2 / count for part, count in parts)
    freedom = np.where(variance == 0, sum(count for _, count in parts), freedom)
    return _Difference(ours.mean(axis=-1) - theirs.mean(axis=-1), np.sqrt(variance), freedom)


def _variance(runs: Floats) -> Floats:
    if runs.shape[-1] < 2:
        return np.full(runs.shape[:-1], np.nan)
    return np.asarray(runs.var(axis=-1, ddof=1))


def _interval(of: _Difference) -> Estimate:
    half = _quantile(of.freedom) * of.error
    return Estimate(of.value, of.value - half, of.value + half)


def _quantile(freedom: Floats) -> Any:
    with np.errstate(invalid="ignore"):
        return special.stdtrit(freedom, (1 + CONFIDENCE) / 2)


def _known(values: npt.ArrayLike) -> Floats:
    """The values, with NaN for those that are infinite: a loss that left the numbers has no mean."""
    runs = np.asarray(values, dtype=float)
    return np.where(np.isfinite(runs), runs, np.nan)


def _log(values: npt.ArrayLike) -> Floats:
    runs = _known(values)
    return np.log(np.where(runs > 0, runs, np.nan))
