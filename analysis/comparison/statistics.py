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
- not worse: the lower end of a one-sided interval. It lies above the margin where one half of Schuirmann's two
  one-sided tests rejects, "A comparison of the two one-sided tests procedure and the power approach", 1987
- the best of several arms: Bonferroni's intervals, each at 1 - 5 % / k, which hold for all k arms together in 95 % of
  experiments, so also for the one that is picked afterwards; for that one they decide as the first step of Holm's test
  does, "A simple sequentially rejective multiple test procedure", 1979. Dunnett's are a little narrower, but need
  arms with equal spreads
"""

from __future__ import annotations

import warnings
from typing import Any, NamedTuple, TypeAlias

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


def difference(values: npt.ArrayLike, base: npt.ArrayLike, *, paired: bool, confidence: float = CONFIDENCE) -> Estimate:
    """The mean of an arm less that of the base.

    `paired`: the i-th run of both was made under the same conditions, so that these cancel out. `confidence`: of the
    interval, see `together`.
    """
    ours, theirs = _known(values), _known(base)
    value = np.asarray(ours.mean(axis=-1) - theirs.mean(axis=-1))
    return Estimate(value, *_test(ours, theirs, paired).confidence_interval(confidence))


def ratio(values: npt.ArrayLike, base: npt.ArrayLike, *, paired: bool, confidence: float = CONFIDENCE) -> Estimate:
    """The ratio of an arm's geometric mean to the base's, for positive values; else NaN."""
    return Estimate(*map(np.exp, difference(_log(values), _log(base), paired=paired, confidence=confidence)))


def together(comparisons: int) -> float:
    """The confidence that each interval needs so that all together have at least 95 % (Bonferroni)."""
    return 1 - (1 - CONFIDENCE) / max(comparisons, 1)


def at_least(values: npt.ArrayLike, base: npt.ArrayLike, *, paired: bool, confidence: float = CONFIDENCE) -> Floats:
    """The lower end of the one-sided interval of an arm's mean less that of the base.

    Above -margin, the arm is not worse by more than the margin. NaN if an arm has only one run.
    """
    return np.asarray(_test(_known(values), _known(base), paired).confidence_interval(2 * confidence - 1).low)


def detectable(values: npt.ArrayLike, base: npt.ArrayLike, *, paired: bool, confidence: float = CONFIDENCE) -> Estimate:
    """The smallest true difference of two means that a two-sided test finds with a power of 80 %.

    Its interval, 95 %, says how well that is known: the spread of a few runs is a poor estimate of the true one (chi
    squared, with the test's degrees of freedom). NaN where an arm has one run only.

    The power of the t test is a probability of the noncentral t distribution (Cohen, "Statistical power analysis for
    the behavioral sciences", 1988, section 2); here its noncentrality is wanted, times the standard error.
    """
    found = _test(_known(values), _known(base), paired)
    low, high = found.confidence_interval(confidence)
    quantile = special.stdtrit(found.df, (1 + confidence) / 2)
    error = (high - low) / 2 / quantile
    value = np.asarray(special.nctdtrinc(found.df, 1 - POWER, quantile) * error)
    ends = (np.sqrt(found.df / stats.chi2.ppf((1 + side * CONFIDENCE) / 2, found.df)) for side in (1, -1))
    return Estimate(value, *(value * end for end in ends))


def detectable_ratio(
    values: npt.ArrayLike, base: npt.ArrayLike, *, paired: bool, confidence: float = CONFIDENCE
) -> Estimate:
    """The detectable difference of a ratio from 1, such as 0.05 for 5 %."""
    return Estimate(*map(np.expm1, detectable(_log(values), _log(base), paired=paired, confidence=confidence)))


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


def _test(ours: Floats, theirs: Floats, paired: bool) -> Any:
    """scipy's result of the paired t test or of Welch's."""
    with np.errstate(divide="ignore", invalid="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # one run, or equal runs
        if paired:
            return stats.ttest_rel(ours, theirs, axis=-1)
        return stats.ttest_ind(ours, theirs, axis=-1, equal_var=False)


def _known(values: npt.ArrayLike) -> Floats:
    """The values with NaN for infinite ones: a diverged loss has no mean."""
    runs = np.asarray(values, dtype=float)
    return np.where(np.isfinite(runs), runs, np.nan)


def _log(values: npt.ArrayLike) -> Floats:
    runs = _known(values)
    return np.log(np.where(runs > 0, runs, np.nan))
