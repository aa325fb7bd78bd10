"""Collectives that ran, beside what was asked for. Standard library only."""

from __future__ import annotations

import re
from typing import Optional

_TAKEN = re.compile(r"AssignCollectiveType (\w*Reduce)\b")
_ASKED = {"ring": ("the ring", "RingReduce"), "nccl": ("NCCL", "NcclReduce")}  # its name, and what runs then


def collectives_in(text: str) -> Optional[str]:
    """Such as RingReduce or NcclReduce, or both, from the text of a log; null where it names none."""
    return ", ".join(sorted(set(_TAKEN.findall(text)))) or None


def other_than_asked(asked: Optional[str], used: Optional[str]) -> Optional[str]:
    """Such as "asked for NCCL, RingReduce ran"; null where what was asked for ran too, or nobody knows what did."""
    name, collective = _ASKED.get(asked or "", ("", ""))
    return f"asked for {name}, {used} ran" if used and name and collective not in used.split(", ") else None
