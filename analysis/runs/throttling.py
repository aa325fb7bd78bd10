"""Sentences on what throttled a board's clocks during training. Lenient, since the values are not trusted."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping

# NVIDIA's guide on Orin's power: meaning of soctherm_oc's alarms at the module's input
_ALARMS = {"oc1": "low voltage", "oc2": "mean power", "oc3": "peak power"}
_SUPPLY = "oc1"


def sentences(board: str, told: Mapping[str, object]) -> Iterator[str]:
    """Sentences from a board's facts or sample; none if its clocks were not throttled, or if it was not counted."""
    events = _counts(told.get("over_current_events"))
    if events:
        parts = ", ".join(f"{_ALARMS.get(name, name)} {n:.0f}" for name, n in events)
        times = sum(n for _, n in events)
        remedy = "try another power supply" if _SUPPLY in dict(events) else "set a lower power mode"
        yield f"{board} throttled its clocks {times:.0f} times ({parts}): {remedy}"
    for name, seconds in _counts(told.get("throttled_s")):
        yield f"{board} was throttled by heat for {seconds:.0f} s ({name}): check its fan and its place"
    pinned = told.get("clocks_pinned")
    if isinstance(pinned, Mapping) and pinned.get("start") is True and pinned.get("end") is False:
        yield f"{board}'s clocks were pinned at the run's start, but no longer at its end"


def _counts(value: object) -> list[tuple[str, float]]:
    counts = value.items() if isinstance(value, Mapping) else ()
    return [
        (str(name), float(n))
        for name, n in counts
        if isinstance(n, int | float) and not isinstance(n, bool) and 0 < n < math.inf and n < 1e15
    ]
