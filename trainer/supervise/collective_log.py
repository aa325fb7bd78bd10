"""Finds in TensorFlow's log which collective ran. Standard library only.

The configuration is no proof: a build without NCCL silently runs TensorFlow's ring over gRPC. With
TF_CPP_VMODULE=collective_param_resolver_local=1 it logs the implementation it takes for each collective.
"""

from __future__ import annotations

from pathlib import Path
from typing import Dict, Optional

from trainer.contract.collectives import collectives_in

_MODULE = b"collective_param_resolver_local.cc"
_KEPT = 100  # lines per kind


def collective_used(log: Path) -> Optional[str]:
    """The collectives that the log names, such as RingReduce or NcclReduce; null without any."""
    try:
        return collectives_in(log.read_text(encoding="utf-8", errors="replace"))
    except OSError:
        return None


class Excerpt:
    """Filters the trainer's log: keeps all lines but those about collectives, of which it keeps the first of each kind.

    In Keras' `fit`, TensorFlow writes about forty of these per step: gigabytes in a long run.
    """

    def __init__(self) -> None:
        self._seen: Dict[bytes, int] = {}

    def keeps(self, line: bytes) -> bool:
        """Whether to keep this line."""
        _, found, text = line.partition(_MODULE)
        if not found:
            return True
        kind = b" ".join(text.split()[1:3] if b"AssignCollectiveType" in text else text.split()[1:2])
        self._seen[kind] = self._seen.get(kind, 0) + 1
        return self._seen[kind] <= _KEPT
