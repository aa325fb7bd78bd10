"""Chooses the method of synchronising from measured times. Standard library only.

The methods from the least lossy to the most: the whole gradient in float32, the same in float16, and local SGD with
longer and longer periods. PowerSGD is not among them: the cost of its compression would have to be measured too, and
for the same time on the wire local SGD computes less.
"""

from __future__ import annotations

from typing import Iterator, Tuple

from trainer.contract.events import Choice

LONGEST_PERIOD = 128  # steps
TIMED, RARER = "allreduce", "local_sgd"  # the method that auto times, and its fallback


def choose(compute_s: float, float32_s: float, float16_s: float, efficiency: float) -> Choice:
    """The least lossy method that computes for at least `efficiency` of a step's time.

    The times are seconds of a step on one board and of the gradient's all-reduce in either dtype. For local SGD it
    assumes that no average overlaps with computing; overlap makes it better. If no method reaches `efficiency`, it
    chooses the most efficient one, and the reason says so.
    """
    candidates = list(_candidates(float32_s, float16_s))
    method, dtype, period, stall_s = next(
        (candidate for candidate in candidates if _share(compute_s, candidate[3]) >= efficiency), candidates[-1]
    )
    expected = _share(compute_s, stall_s)
    reached = (
        f"is the least lossy method that reaches {efficiency:.0%}"
        if expected >= efficiency
        else f"is the most efficient method, though it does not reach {efficiency:.0%}"
    )
    name = f"{method} with a period of {period}" if method == RARER else f"{method} in {dtype}"
    return Choice(
        method=method,
        gradient_dtype=dtype,
        period=period if method == RARER else None,
        wanted_efficiency=efficiency,
        expected_efficiency=expected,
        compute_s=compute_s,
        float32_all_reduce_s=float32_s,
        float16_all_reduce_s=float16_s,
        reason=(
            f"a step computes for {1000 * compute_s:.0f} ms, the gradient travels for {1000 * float32_s:.0f} ms in "
            f"float32 and {1000 * float16_s:.0f} ms in float16: {name} {reached}, with {expected:.0%} expected"
        ),
    )


def _share(compute_s: float, stall_s: float) -> float:
    return compute_s / (compute_s + stall_s)


def _candidates(float32_s: float, float16_s: float) -> Iterator[Tuple[str, str, int, float]]:
    """(method, dtype, period, stall in seconds per step), the least lossy first."""
    yield TIMED, "float32", 1, float32_s
    yield TIMED, "float16", 1, float16_s
    period = 2
    while period <= LONGEST_PERIOD:
        yield RARER, "float16", period, float16_s / period
        period *= 2
