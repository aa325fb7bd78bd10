"""Chooses the method of synchronising from measured times. Standard library only.

The methods from the least lossy to the most: the whole gradient in float32, in float16, in float16 and buckets, a
low-rank approximation of it, and local SGD with longer and longer periods, up to one with which boards still learn.
"""

from __future__ import annotations

import itertools
import math
from typing import Iterator, Mapping, Optional, Tuple

from trainer.contract.events import Choice
from trainer.contract.sections import sync_of

# what auto times, in the order of loss: see sections.sync_of
FLOAT32, FLOAT16 = "allreduce, float32", "allreduce, float16"
TIMED = (FLOAT32, FLOAT16, "allreduce, float16, bucket_bytes 2000000", "powersgd, rank 4")
RARER = "local_sgd"  # its fallback


def choose(compute_s: float, extra_s: Mapping[str, float], efficiency: float, longest_period: int) -> Choice:
    """The least lossy method that computes for at least `efficiency` of a step's time.

    `compute_s`: seconds of a step on one board; `extra_s`: by name in TIMED, the seconds that synchronising adds to it,
    those of compression included; NaN or absent: not known, and not chosen. For local SGD it assumes that no average
    overlaps with computing; overlap makes it better. Periods are powers of two up to `longest_period` [steps], and that
    one. If no method reaches `efficiency`, it chooses the most efficient one, and the reason says so.
    """
    candidates = list(_candidates(extra_s, longest_period))
    name, period, added_s = next(
        (candidate for candidate in candidates if _share(compute_s, candidate[2]) >= efficiency),
        max(candidates, key=lambda candidate: _share(compute_s, candidate[2])),
    )
    expected = _share(compute_s, added_s)
    reached = (
        f"is the least lossy method that reaches {efficiency:.0%}"
        if expected >= efficiency
        else f"is the most efficient method, though it does not reach {efficiency:.0%}"
    )
    sync = sync_of(name)
    times = [f"{1000 * extra_s[it]:.0f} ms with {it}" for it in TIMED if _known(extra_s, it)]
    return Choice(
        method=sync.method,
        gradient_dtype=sync.gradient_dtype,
        period=period,
        wanted_efficiency=efficiency,
        expected_efficiency=expected,
        compute_s=compute_s,
        float32_all_reduce_s=extra_s[FLOAT32],
        float16_all_reduce_s=extra_s[FLOAT16],
        reason=(
            f"a step computes for {1000 * compute_s:.0f} ms, and synchronising adds {', '.join(times)}: "
            f"{name} {reached}, with {expected:.0%} expected"
        ),
        chosen=name,
        extra_s=dict(extra_s),
    )


def _share(compute_s: float, added_s: float) -> float:
    return compute_s / (compute_s + added_s)


def _known(extra_s: Mapping[str, float], name: str) -> bool:
    return not math.isnan(extra_s.get(name, math.nan))


def _candidates(extra_s: Mapping[str, float], longest_period: int) -> Iterator[Tuple[str, Optional[int], float]]:
    """(name, period, seconds added to a step), the least lossy first."""
    for name in TIMED:
        if _known(extra_s, name):
            yield name, None, extra_s[name]
    powers = itertools.takewhile(lambda period: period < longest_period, (2**power for power in itertools.count(1)))
    for period in (*powers, longest_period):
        yield f"{RARER}, float16, period {period}", period, extra_s[FLOAT16] / period
