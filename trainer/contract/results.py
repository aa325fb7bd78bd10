"""result.json: how a board's worker ended. Standard library only, Python 3.8 syntax."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any, Dict, List, Optional, Tuple

from trainer.contract.layout import SCHEMA
from trainer.contract.reading import fit
from trainer.contract.records import is_moment

ENDED = ("succeeded", "failed", "interrupted")  # how a worker or a run ends


@dataclass(frozen=True)
class Result:
    """The content of result.json: how a board's worker ended. Written last, and atomically."""

    status: str  # succeeded, failed or interrupted
    cause: Optional[str]  # of a failure, one sentence
    exit_code: Optional[int]
    started_s: float  # Unix time
    ended_s: float
    epochs_completed: int
    facts: Dict[str, Any]  # of the board: see facts.py
    cause_kind: Optional[str] = None  # one of causes.REMEDIES
    remedy: Optional[str] = None
    schema: int = SCHEMA


@dataclass(frozen=True)
class BoardFacts:
    """The facts in a result that are compared and shown; see facts.py. What a board does not know is null."""

    hostname: Optional[str]
    machine: Optional[str]
    cores: Optional[int]
    memory_bytes: Optional[int]
    python: Optional[str]
    tensorflow: Optional[str]
    packages_sha256: Optional[str]
    jetpack: Optional[str]
    module: Optional[str]
    interface: Optional[str]
    emulated: Optional[bool]
    link_rate_bit_per_s: Optional[float]
    collective_used: Optional[str]
    pytorch: Optional[str] = None  # null in results of older versions


def as_result(value: Any) -> Tuple[Dict[str, Any], List[str]]:
    """A board's result with values of the declared types, or null; and the names of those that were of another.

    Raises ValueError for a value that is no result: it must say how and when it ended.
    """
    if not isinstance(value, dict):
        raise ValueError("is not a JSON object")
    missing = [item.name for item in dataclasses.fields(Result) if item.default is dataclasses.MISSING]
    missing = [name for name in missing if name not in value]
    if missing:
        raise ValueError(f"lacks {', '.join(missing)}")
    odd = fit(Result, value)
    if value["status"] not in ENDED:
        raise ValueError(f"has a status that is none of {', '.join(ENDED)}")
    if not is_moment(value["started_s"]) or not is_moment(value["ended_s"]):
        raise ValueError("has a started_s or ended_s that is not a time")
    value["facts"] = value["facts"] or {}
    odd += [f"facts.{name}" for name in fit(BoardFacts, value["facts"])]
    return value, odd
