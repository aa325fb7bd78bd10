"""Collects boards' records into a table per kind; windows, most lines of a long run, only on request."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from trainer.contract.checkpoints import Place
from trainer.contract.events import Checkpoint, Epoch, NewGeneration, Resume, Start, Window, fields_of
from trainer.contract.reading import opened
from trainer.contract.records import lines_of, parse_records

KEYS = ["run_id", "board", "rank"]
_STEPPED, _STEPPED_S = 0.1, 2.0  # of the clock: more time than this between epochs is not training's
_WINDOW = f'{{"event": "{Window.KIND}"'.encode()  # as EventLog writes it; other lines are parsed


def read_but_windows(path: Path) -> tuple[list[dict[str, Any]], list[str]]:
    """The result of `trainer.contract.records.read_records` without complete windows; cut ones are still reported."""
    with opened(path) as file:
        lines = (
            (number, line)
            for number, line in enumerate(lines_of(file), 1)
            if not (line.startswith(_WINDOW) and line.endswith(b"}\n"))
        )
        return parse_records(path, lines)


def first_epochs(records: Iterable[Mapping[str, Any]]) -> set[int]:
    """The epochs of a board that are not steady: the first one of each attempt traces, warms up and fills caches."""
    return {1} | {record["epoch"] + 1 for record in records if record["event"] == Resume.KIND}


def elapsed_s(records: Iterable[Mapping[str, Any]]) -> dict[int, float]:
    """By epoch of a board: seconds from the start of its process to the epoch's end, tracing and validation included.

    A resumed run has its earlier attempts' time up to the epoch that it was resumed after, and not the time between
    attempts; one that went on without a lost board has all of its time. The moments are those of the board's clock; an
    epoch is left out where that differs so much from the durations, which come from another clock, that it must have
    been set meanwhile.
    """
    found: dict[int, float] = {}
    began_s = lasted_s = math.nan
    within: dict[Place, float] = {}  # seconds of an unfinished epoch up to a checkpoint
    goes_on = False  # whether the next trainer belongs to the same attempt
    for record in records:
        epoch = record.get("epoch", 0)
        if not isinstance(epoch, int):
            continue
        if record["event"] in (Start.KIND, Resume.KIND):
            found = {earlier: at for earlier, at in found.items() if earlier <= epoch}
            within_s = within.get(Place(epoch, record.get("images") or 0), 0.0)  # which the epoch's record has, too
            if goes_on and not math.isnan(began_s):
                goes_on, lasted_s = False, record["time_s"] - began_s - within_s
                continue
            before_s = found.get(epoch, math.nan) if epoch else 0.0
            lasted_s = before_s + _seconds(record["startup_s"])
            began_s = record["time_s"] - lasted_s - within_s
        elif record["event"] == Checkpoint.KIND:
            within[Place(epoch, record["images"] or 0)] = _seconds(record["train_s"])
        elif record["event"] == NewGeneration.KIND:
            goes_on = True
        elif record["event"] == Epoch.KIND:
            at_s = record["time_s"] - began_s
            lasted_s += _seconds(record["epoch_s"])
            if abs(at_s - lasted_s) <= _STEPPED * at_s + _STEPPED_S:
                found[epoch] = at_s
    return found


def _seconds(value: Any) -> float:
    return float(value) if isinstance(value, int | float) and abs(value) < 1e9 else math.nan


class Columns:
    """Collects records of one kind column by column: a DataFrame per file would be slow."""

    def __init__(self, kind: type[Epoch | Window], more: Sequence[str] = ()) -> None:
        """`more`: names of columns beside the keys and the record's fields."""
        self.kind = kind.KIND
        self._values: dict[str, list[Any]] = {name: [] for name in [*KEYS, *more, "time_s", *fields_of(kind)]}

    def extend(self, keys: Mapping[str, Any], records: Sequence[Mapping[str, Any]]) -> None:
        for name, values in self._values.items():
            if name in keys:
                values.extend([keys[name]] * len(records))
            else:
                values.extend([record.get(name) for record in records])

    def frame(self, order: list[str], problems: list[str]) -> pd.DataFrame:
        """The records; only the latest of those with the same `order` on a board."""
        frame = pd.DataFrame(self._values)
        for name in frame.columns.drop(["run_id", "board"]):
            if frame[name].dtype.kind not in "if":
                frame[name] = frame[name].astype("float64")
        frame = frame.astype(dict.fromkeys(order, "int64"))
        again = frame.duplicated(["run_id", "rank", *order], keep="last")
        counts = frame[again].groupby(["run_id", "board"]).size().reset_index(name="count")
        problems += [
            f"{run_id}: {board} recorded {count} {self.kind}s more than once; the latest is used"
            for run_id, board, count in counts.itertuples(index=False)
        ]
        return frame[~again].reset_index(drop=True)
