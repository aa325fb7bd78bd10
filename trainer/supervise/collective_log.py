"""Which collective really ran, from TensorFlow's own log. Standard library only.

What was asked for proves nothing: where a build has no NCCL, TensorFlow silently runs its ring over gRPC. With
TF_CPP_VMODULE=collective_param_resolver_local=1 it logs the implementation it takes for each collective.
"""

from __future__ import annotations

from pathlib import Path
from typing import Dict, Optional

from trainer.contract.collectives import collectives_in

_MODULE = b"collective_param_resolver_local.cc"
_KEPT = 100  # lines of a kind


def collective_used(log: Path) -> Optional[str]:
    """Such as RingReduce or NcclReduce, or both; null where the log names none."""
    try:
        return collectives_in(log.read_text(encoding="utf-8", errors="replace"))
    except OSError:
        return None


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
