"""The filter l4t: the release of Jetson Linux in what a board says, read by the trainer's facts, which own that."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[3]))  # the checkout

from trainer.contract.releases import l4t


class FilterModule:
    def filters(self) -> dict[str, Callable[..., Any]]:
        return {"l4t": l4t}
