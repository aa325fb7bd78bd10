"""Differences between what somebody claims and what follows from records: two JSON values."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

TOLERANCE = 1e-9  # relative: another order of sums, another processor
_NOTHING = 1e-12  # smaller figures are rounding errors
NONE = object()  # in place of a value that one of them lacks


def differences(claimed: Any, recomputed: Any, path: str = "") -> Iterator[tuple[str, Any, Any]]:
    """The leaves in which they differ: path, such as arms[1].speedup, and both values, NONE for one that is missing.

    Lists of different lengths are one leaf, and their common entries others.
    """
    if isinstance(claimed, dict) and isinstance(recomputed, dict):
        for name in [*claimed, *(name for name in recomputed if name not in claimed)]:
            below = f"{path}.{name}" if path else name
            yield from differences(claimed.get(name, NONE), recomputed.get(name, NONE), below)
    elif isinstance(claimed, list) and isinstance(recomputed, list):
        if len(claimed) != len(recomputed):
            yield path, claimed, recomputed
        for place, (one, other) in enumerate(zip(claimed, recomputed, strict=False)):
            yield from differences(one, other, f"{path}[{place}]")
    elif not _same(claimed, recomputed):
        yield path, claimed, recomputed


def _same(one: Any, other: Any) -> bool:
    if is_figure(one) and is_figure(other):
        return math.isclose(one, other, rel_tol=TOLERANCE, abs_tol=_NOTHING)
    return type(one) is type(other) and bool(one == other)


def is_figure(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
