"""Which host breaks ties between halves of a run's boards, and whether it can."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from trainer.contract.config import Config


def host(config: Config, request: Mapping[str, Any]) -> str:
    """The inventory name of the host; empty where the run needs none. `request` is that of controller.resolve."""
    needed = config.on_board_loss == "continue" and config.tie_break == "witness"
    return str(request.get("witness") or "") if needed else ""


def problems(config: Config, boards: Sequence[str], request: Mapping[str, Any]) -> Iterator[str]:
    """A sentence for what is wrong with the host, for a run on these boards."""
    if config.on_board_loss != "continue" or config.tie_break != "witness":
        return
    name = host(config, request)
    if not name:
        yield (
            "tie_break is witness, but elastic_witness names no host: give the inventory name of one outside the run, "
            "such as -e elastic_witness=nas, or set tie_break to controller"
        )
    elif name in boards:
        yield f"elastic_witness is {name}, a board of the run, which cannot decide about itself: give another host"
    elif name not in (request.get("hosts") or ()):
        yield f"elastic_witness is {name}, which is not in the inventory: add it there, outside the group 'boards'"
