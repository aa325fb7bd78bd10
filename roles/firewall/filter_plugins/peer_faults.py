"""The filter peer_faults: what is wrong with addresses, by the rules of the trainer's, which owns them."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[3]))  # the checkout

from controller.addresses import peer_faults


class FilterModule:
    def filters(self) -> dict[str, Callable[..., Any]]:
        return {"peer_faults": peer_faults}
