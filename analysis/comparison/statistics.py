"""Statistics of few runs: intervals, ratios, equivalence and power. Pure functions of arrays.

An arm's runs are along the last axis; earlier axes (such as simulations) are kept. Everything rests on the t tests of
scipy.stats. From three runs a bootstrap can draw ten different resamples: 95 % intervals of the percentile method and
of BCa then cover in about 75 % of experiments, those of pairs studentised in less than 90 %. The t interval of
logarithms covers in 94 to 97 %, for normal and for log-normal noise. docs/statistics.md has the table, and the command
that made it.
Sources:

- one arm, and pairs: Student, "The probable error of a mean", Biometrika 1908
- two arms with different spreads: Welch, "The generalization of 'Student's' problem when several different
  population variances are involved", Biometrika 1947, with Satterthwaite's degrees of freedom
- ratios: the difference of logarithms, since noise of times is relative, and means of ratios have no preferred arm
  (Fleming and Wallace, "How not to lie with statistics: the correct way to summarize benchmark results", 1986)
- not worse: one half of Schuirmann's two one-sided tests, "A comparison of the two one-sided tests procedure and the
  power approach", 1987
"""

from __future__ import annotations

import warnings
from typing import Any, Literal, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt
from scipy import special, stats

CONFIDENCE = 0.95
POWER = 0.8  # for a detectable difference
FEW = 5  # number of runs from which MLPerf drops the fastest and the slowest

Floats: TypeAlias = npt.NDArray[np.float64]


class Estimate(NamedTuple):
    """A value and its 95 % interval; `low` and `high` are NaN if an arm has only one run."""

    value: Floats
    low: Floats
    high: Floats


def mean(values: npt.ArrayLike) -> Estimate:
    """The mean of an arm's runs."""
    return difference(values, np.zeros_like(values), paired=True)


def difference(values: npt.ArrayLike, base: npt.ArrayLike, *, paired: bool) -> Estimate:
    """The mean of an arm less that of the base.

    `paired`: the i-th run of both was made under the same conditions, so that these cancel out.
    """
    ours, theirs = _known(values), _known(base)
    value = np.asarray(ours.mean(axis=-1) - theirs.mean(axis=-1))
    return Estimate(value, *_test(ours, theirs, paired).confidence_interval(CONFIDENCE))


def ratio(values: npt.ArrayLike, base: npt.ArrayLike, *, paired: bool) -> Estimate:
    """The ratio of an arm's geometric mean to the base's, for positive values; else NaN."""
    return Estimate(*map(np.exp, difference(_log(values), _log(base), paired=paired)))


def not_worse(values: npt.ArrayLike, base: npt.ArrayLike, margin: float, *, paired: bool) -> Floats:
    """The probability (p) of such means if the arm's true mean is lower than the base's by `margin` or more.

    Below 0.05 the arm is not worse by more than the margin. NaN if an arm has only one run.
    """
    return np.asarray(_test(_known(values) + margin, _known(base), paired, "greater").pvalue)


def detectable(values: npt.ArrayLike, base: npt.ArrayLike, *, paired: bool) -> Floats:
    """The least true difference of two means that a test (two-sided, 5 %) of so many runs, with the spread that these
    have, would find in four cases of five. NaN where an arm has one run only.

    The power of the t test is a probability of the noncentral t distribution (Cohen, "Statistical power analysis for
    the behavioral sciences", 1988, section 2); here its noncentrality is wanted, times the standard error.
    """
    found = _test(_known(values), _known(base), paired)
    low, high = found.confidence_interval(CONFIDENCE)
    quantile = special.stdtrit(found.df, (1 + CONFIDENCE) / 2)
    error = (high - low) / 2 / quantile
    return np.asarray(special.nctdtrinc(found.df, 1 - POWER, quantile) * error)


def detectable_ratio(values: npt.ArrayLike, base: npt.ArrayLike, *, paired: bool) -> Floats:
    """The detectable difference of a ratio from 1, such as 0.05 for 5 %."""
    return np.asarray(np.expm1(detectable(_log(values), _log(base), paired=paired)))


def kept(times: npt.ArrayLike) -> npt.NDArray[np.bool_]:
    """The runs of an arm that MLPerf averages: all but the fastest and the slowest if there are 5 or more.

    A run that never converged (NaN) is the slowest; a second one stays, so that the average is not known. MLPerf
    Training Rules, "Benchmark Results": 5 or 10 runs, by benchmark.
    """
    seconds = np.asarray(times, dtype=float)
    keep = np.ones(len(seconds), dtype=bool)
    if len(seconds) >= FEW:
        order = np.argsort(seconds, kind="stable")  # NaN last
        keep[order[[0, -1]]] = False
    return keep


def _test(ours: Floats, theirs: Floats, paired: bool, tail: Literal["two-sided", "greater"] = "two-sided") -> Any:
    """scipy's result of the paired t test or of Welch's."""
    with np.errstate(divide="ignore", invalid="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # one run, or equal runs
        if paired:
            return stats.ttest_rel(ours, theirs, axis=-1, alternative=tail)
        return stats.ttest_ind(ours, theirs, axis=-1, alternative=tail, equal_var=False)


def _known(values: npt.ArrayLike) -> Floats:
    """The values with NaN for infinite ones: a diverged loss has no mean."""
    runs = np.asarray(values, dtype=float)
    return np.where(np.isfinite(runs), runs, np.nan)


def _log(values: npt.ArrayLike) -> Floats:
    runs = _known(values)
    return np.log(np.where(runs > 0, runs, np.nan))
