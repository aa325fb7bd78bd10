"""Which collective really ran, from TensorFlow's own log. Standard library only.

What was asked for proves nothing: where a build has no NCCL, TensorFlow silently runs its ring over gRPC. With
TF_CPP_VMODULE=collective_param_resolver_local=1 it logs the implementation it takes for each collective.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Dict, Optional

_MODULE = b"collective_param_resolver_local.cc"
_KEPT = 100  # lines of a kind
_TAKEN = re.compile(r"AssignCollectiveType (\w*Reduce)\b")
_ASKED = {"ring": ("the ring", "RingReduce"), "nccl": ("NCCL", "NcclReduce")}  # its name, and what runs then


def collective_used(log: Path) -> Optional[str]:
    """Such as RingReduce or NcclReduce, or both; null where the log names none."""
    try:
        return collectives_in(log.read_text(encoding="utf-8", errors="replace"))
    except OSError:
        return None


def collectives_in(text: str) -> Optional[str]:
    """The same, from the text of a log."""
    return ", ".join(sorted(set(_TAKEN.findall(text)))) or None


def other_than_asked(asked: Optional[str], used: Optional[str]) -> Optional[str]:
    """Such as "asked for NCCL, RingReduce ran"; null where what was asked for ran too, or nobody knows what did."""
    name, collective = _ASKED.get(asked or "", ("", ""))
    return f"asked for {name}, {used} ran" if used and name and collective not in used.split(", ") else None


class Excerpt:
    """What of the trainer's log is kept: all of it, but of the lines about collectives the first of each kind.

    Keras' `fit` makes TensorFlow write some forty of them in every step, which is gigabytes in a long run.
    """

    def __init__(self) -> None:
        self._seen: Dict[bytes, int] = {}

    def keeps(self, line: bytes) -> bool:
        """Whether this line is to be kept."""
        _, found, text = line.partition(_MODULE)
        if not found:
            return True
        kind = b" ".join(text.split()[1:3] if b"AssignCollectiveType" in text else text.split()[1:2])
        self._seen[kind] = self._seen.get(kind, 0) + 1
        return self._seen[kind] <= _KEPT
