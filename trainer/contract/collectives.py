"""Compares the collective that ran with the one asked for. Standard library only."""

from __future__ import annotations

import re
from typing import Optional

_TAKEN = re.compile(r"AssignCollectiveType (\w*Reduce)\b")
_ASKED = {"ring": ("the ring", "RingReduce"), "nccl": ("NCCL", "NcclReduce")}  # display name, TensorFlow's name


def collectives_in(text: str) -> Optional[str]:
    """The collectives in a log's text, such as RingReduce or NcclReduce; null without any."""
    return ", ".join(sorted(set(_TAKEN.findall(text)))) or None


def other_than_asked(asked: Optional[str], used: Optional[str]) -> Optional[str]:
    """A sentence such as "asked for NCCL, RingReduce ran"; null if the one asked for ran, or if unknown."""
    name, collective = _ASKED.get(asked or "", ("", ""))
    return f"asked for {name}, {used} ran" if used and name and collective not in used.split(", ") else None
