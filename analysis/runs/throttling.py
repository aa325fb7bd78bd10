"""What lowered a board's clocks while it trained, in sentences. Leniently: nobody may trust the values."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping

# NVIDIA's guide on the power of Orin: what the alarms of soctherm_oc watch at the module's input
_ALARMS = {"oc1": "low voltage", "oc2": "mean power", "oc3": "peak power"}
_SUPPLY = "oc1"


def sentences(board: str, told: Mapping[str, object]) -> Iterator[str]:
    """What a board's facts, or a sample of its, say; nothing where nothing lowered its clocks, or nobody counted."""
    events = _counts(told.get("over_current_events"))
    if events:
        parts = ", ".join(f"{_ALARMS.get(name, name)} {n:.0f}" for name, n in events)
        times = sum(n for _, n in events)
        remedy = "try another supply" if _SUPPLY in dict(events) else "a lower power mode stays below these limits"
        yield f"{board} lowered its clocks for a moment, {times:.0f} times ({parts}): {remedy}"
    for name, seconds in _counts(told.get("throttled_s")):
        yield f"{board} was throttled by heat for {seconds:.0f} s ({name}): look at its fan and at where it stands"
    pinned = told.get("clocks_pinned")
    if isinstance(pinned, Mapping) and pinned.get("start") is True and pinned.get("end") is False:
        yield f"{board}'s clocks were pinned when its run began, and not any more when it ended"


def _counts(value: object) -> list[tuple[str, float]]:
    counts = value.items() if isinstance(value, Mapping) else ()
    return [
        (str(name), float(n))
        for name, n in counts
        if isinstance(n, int | float) and not isinstance(n, bool) and 0 < n < math.inf and n < 1e15
    ]
