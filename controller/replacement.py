"""Boards that replace lost ones when a run is resumed: each takes over a lost one's rank and records.

It has the lost board's checkpoint if that was collected, else another board's, like a board that rejoins a run.
"""

from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

from trainer.contract.checkpoints import Place
from trainer.contract.events import Checkpoint, Start
from trainer.contract.reading import is_name, parse


def read(given: Any, run_boards: Sequence[str], problems: list[str]) -> dict[str, str]:
    """The new board by the name of the lost one; what is wrong with them is added to the problems."""
    if not isinstance(given, Mapping) or not all(isinstance(name, str) for pair in given.items() for name in pair):
        problems.append(
            f"replace is {given!r}, but it names a board for each lost one: give for example "
            """-e '{"replace": {"orin-2": "orin-5"}}'"""
        )
        return {}
    for lost, other in given.items():
        if lost not in run_boards:
            problems.append(f"replace has {lost}, but the run is on {', '.join(run_boards)}: name one of these")
        if not is_name(other) or other in run_boards or list(given.values()).count(other) > 1:
            problems.append(
                f"replace has {other} instead of {lost}: give another board of the inventory, once, that is not in the "
                "run already"
            )
    if given and set(given) >= set(run_boards):
        problems.append("replace has all boards of the run, so that no checkpoint is left: start a new run")
    return dict(given)


def taken_over(text: str, board: str, rank: int, others: str, begins: Place) -> str:
    """A lost board's records, a line each, as those of the board that replaces it and begins at a place.

    What they lack is added: another board's start, and that the board has a checkpoint of that place.
    """
    lines = text.splitlines()
    if not any(_start(line) for line in lines):
        lines = [line for line in others.splitlines() if _start(line)][:1] + lines
    has = Checkpoint(*begins, train_s=0.0, stall_s=0.0, size_bytes=0)
    lines.append(json.dumps({"event": has.KIND, "time_s": time.time(), **dataclasses.asdict(has)}))
    return "".join(f"{_named(line, board, rank)}\n" for line in lines)


def _named(line: str, board: str, rank: int) -> str:
    start = _start(line)
    return json.dumps({**start, "board": board, "rank": rank}) if start else line


def _start(line: str) -> dict[str, Any] | None:
    """The start record in a line; None for other lines."""
    with suppress(ValueError, KeyError, TypeError):
        record = parse(line)
        if record["event"] == Start.KIND:
            return dict(record)
    return None
