"""Compares the collective that ran with the one asked for. Standard library only."""

from __future__ import annotations

import re
from typing import Optional

_TAKEN = re.compile(r"AssignCollectiveType (\w*Reduce)\b|^torch[.]distributed runs (\w+)$", re.MULTILINE)
# display name; the names of what TensorFlow and PyTorch then run
_ASKED = {"ring": ("the ring", ("RingReduce", "gloo")), "nccl": ("NCCL", ("NcclReduce", "nccl"))}


def announced(backend: str) -> str:
    """The line of PyTorch's trainer about its backend, gloo or nccl, in its log."""
    return f"torch.distributed runs {backend}"


def collectives_in(text: str) -> Optional[str]:
    """The collectives in a log's text, such as RingReduce or NcclReduce, gloo or nccl; null without any."""
    return ", ".join(sorted({own or torch for own, torch in _TAKEN.findall(text)})) or None


def other_than_asked(asked: Optional[str], used: Optional[str]) -> Optional[str]:
    """A sentence such as "asked for NCCL, RingReduce ran"; null if the one asked for ran, or if unknown."""
    name, collectives = _ASKED.get(asked or "", ("", ()))
    return f"asked for {name}, {used} ran" if used and name and not {*collectives} & {*used.split(", ")} else None
