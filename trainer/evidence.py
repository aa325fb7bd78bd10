"""Which collective really ran, from TensorFlow's own log. Standard library only.

What was asked for proves nothing: where a build has no NCCL, TensorFlow silently runs its ring over gRPC. With
TF_CPP_VMODULE=collective_param_resolver_local=1 it logs the implementation it takes for each collective.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Optional

_TAKEN = re.compile(r"AssignCollectiveType (\w*Reduce)\b")


def collective_used(log: Path) -> Optional[str]:
    """Such as RingReduce or NcclReduce, or both; null where the log names none."""
    try:
        taken = _TAKEN.findall(log.read_text(encoding="utf-8", errors="replace"))
    except OSError:
        return None
    return ", ".join(sorted(set(taken))) or None
