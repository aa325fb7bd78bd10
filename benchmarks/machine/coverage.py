"""How often 95 % intervals of a speed-up cover the true one, from few runs: the kit's and the usual bootstraps.

Two arms with noise of their own, normal and log-normal; in pairs, with a drift of 10 % that both arms of a
repeat share.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np
from scipy import stats

from analysis.comparison import statistics
from analysis.comparison.statistics import Floats

RUNS = (3, 5, 10)
SPREADS = ((0.01, 0.01), (0.1, 0.1), (0.01, 0.1))  # of the two arms, relative
NOISES = ("normal", "log-normal")
_TRUE = 1.8
_SIMULATIONS = 2_000
_RESAMPLES = 999
Bounds = tuple[Floats, Floats]


def noisy(generator: np.random.Generator, noise: str, spread: float, runs: int) -> Floats:
    """Measurements of 1 with a relative spread: simulations x runs."""
    z = generator.standard_normal((_SIMULATIONS, runs))
    return 1 + spread * z if noise == "normal" else np.exp(spread * z - spread**2 / 2)


def kit(two: Floats, one: Floats, paired: bool, generator: np.random.Generator) -> Bounds:
    """Student's t (pairs) or Welch's (else) of the logarithms."""
    found = statistics.ratio(two, one, paired=paired)
    return found.low, found.high


def bootstrap(two: Floats, one: Floats, paired: bool, generator: np.random.Generator, *, method: str) -> Bounds:
    """scipy's bootstrap of the same logarithms: method percentile or BCa."""

    def statistic(*logs: Floats, axis: int) -> Any:
        means = [log.mean(axis=axis) for log in logs]
        return means[0] - means[1] if len(means) > 1 else means[0]

    logs = np.log(two), np.log(one)
    resample: Any = stats.bootstrap
    found = resample(
        (logs[0] - logs[1],) if paired else logs,
        statistic,
        n_resamples=_RESAMPLES,
        batch=50,
        method=method,
        axis=-1,
        rng=generator,
    ).confidence_interval
    return np.exp(found.low), np.exp(found.high)


def studentised(two: Floats, one: Floats, paired: bool, generator: np.random.Generator) -> Bounds:
    """Bootstrap-t (Efron and Tibshirani, "An introduction to the bootstrap", 1993, section 12.5)."""
    logs = [np.log(two) - np.log(one)] if paired else [np.log(two), np.log(one)]
    value, error = _studied(logs)
    t = np.empty((_RESAMPLES, _SIMULATIONS))
    for resample in range(_RESAMPLES):
        drawn = [np.take_along_axis(log, generator.integers(log.shape[-1], size=log.shape), axis=-1) for log in logs]
        again, its_error = _studied(drawn)
        # a resample of one run over and over has no error, and no t
        with np.errstate(divide="ignore", invalid="ignore"):
            t[resample] = (again - value) / its_error
    low, high = np.nanquantile(np.where(np.isfinite(t), t, np.nan), [0.025, 0.975], axis=0)
    with np.errstate(over="ignore"):  # three runs that are close together
        return np.exp(value - high * error), np.exp(value - low * error)


def _studied(logs: list[Floats]) -> Bounds:
    value = logs[0].mean(axis=-1) - (logs[1].mean(axis=-1) if len(logs) > 1 else 0.0)
    return value, np.sqrt(sum(log.var(axis=-1, ddof=1) / log.shape[-1] for log in logs))


METHODS: dict[str, Callable[[Floats, Floats, bool, np.random.Generator], Bounds]] = {
    "t of logarithms": kit,
    "percentile bootstrap": partial(bootstrap, method="percentile"),
    "BCa bootstrap": partial(bootstrap, method="BCa"),
    "bootstrap-t": studentised,
}


def coverages(runs: int, paired: bool) -> dict[str, list[float]]:
    """By method, the fraction of simulations whose interval covers the true value, for each of SPREADS x NOISES."""
    found: dict[str, list[float]] = {name: [] for name in METHODS}
    generator = np.random.default_rng([runs, paired])
    for spreads in SPREADS:
        for noise in NOISES:
            two, one = (noisy(generator, noise, spread, runs) for spread in spreads)
            if paired:
                drift = np.exp(0.1 * generator.standard_normal((_SIMULATIONS, runs)))
                two, one = two * drift, one * drift
            for name, method in METHODS.items():
                low, high = method(_TRUE * two, one, paired, generator)
                found[name].append(float(np.mean((low <= _TRUE) & (high >= _TRUE))))
    return found


def table() -> str:
    """Least and greatest coverage in Markdown, a row per design."""
    return "\n".join(_rows())


def _rows() -> Iterator[str]:
    yield f"| runs an arm | {' | '.join(METHODS)} |"
    yield f"|---|{'--:|' * len(METHODS)}"
    for paired in (True, False):
        for runs in RUNS:
            found = coverages(runs, paired)
            cells = (f"{100 * min(shares):.1f} to {100 * max(shares):.1f}" for shares in found.values())
            yield f"| {runs}, {'in pairs' if paired else 'not paired'} | {' | '.join(cells)} |"
