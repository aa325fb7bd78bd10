"""How much of their time boards trained to which faults happened, and how much they would with rarer faults."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from trainer.contract.events import Checkpoint, Epoch, NewGeneration, Window

Interval = tuple[float, float]  # of Unix time


def outcome(
    records: Mapping[str, Sequence[Mapping[str, Any]]],
    down: Mapping[str, Sequence[Interval]],
    begin_s: float,
    end_s: float,
) -> dict[str, Any]:
    """lasts_s; living_s: of boards together, in which they could train; trained_s: in which they made what counts;
    goodput; checkpoints_share: of the steps' time, for which checkpoints stalled them, on the board that waited least
    for others and so set the pace; generations: how many began."""
    lasts_s = end_s - begin_s
    living_s = trained_s = 0.0
    for board, away in down.items():
        apart_s = covered(away, begin_s, end_s)
        living_s += lasts_s - apart_s
        trained_s += covered([*away, *training(records.get(board, ()))], begin_s, end_s) - apart_s
    numbers = [it["number"] for own in records.values() for it in own if it["event"] == NewGeneration.KIND]
    return {
        "lasts_s": lasts_s,
        "living_s": living_s,
        "trained_s": trained_s,
        "goodput": trained_s / living_s,
        "checkpoints_share": min(map(stalled, records.values()), default=0.0),
        "generations": max(numbers, default=1) - 1,
    }


def training(records: Iterable[Mapping[str, Any]]) -> list[Interval]:
    """When a board made steps and validated, by its records that count."""
    found = []
    for record in records:
        at_s = record["time_s"]
        if record["event"] == Window.KIND:
            found.append((at_s - record["elapsed_s"], at_s))
        elif record["event"] == Epoch.KIND:
            found.append((at_s - (record["epoch_s"] - record["train_s"]), at_s))
    return found


def stalled(records: Sequence[Mapping[str, Any]]) -> float:
    """The part of a board's steps' time for which checkpoints stalled them."""
    stall_s = sum(it["stall_s"] for it in records if it["event"] == Checkpoint.KIND)
    steps_s = sum(it["elapsed_s"] for it in records if it["event"] == Window.KIND)
    return float(stall_s / steps_s) if steps_s else 0.0


def covered(intervals: Iterable[Interval], begin_s: float, end_s: float) -> float:
    """Seconds between two moments that are in any of the intervals."""
    total, reached = 0.0, begin_s
    for begin, end in sorted(intervals):
        begin, end = max(begin, reached), min(end, end_s)
        if end > begin:
            total += end - begin
            reached = end
    return total


def cost_s(rows: Sequence[Mapping[str, Any]]) -> float:
    """Seconds of a living board's training that a fault costs, over all runs: the inverse of `modelled`."""
    lost: float = sum(row["lasts_s"] * (1 / row["goodput"] - 1) for row in rows)
    faults: int = sum(row["faults"] for row in rows)
    return lost / faults


def modelled(mean_s: float, cost: float) -> float:
    """Goodput if faults are `mean_s` seconds of training apart on average, and each costs `cost` seconds."""
    return mean_s / (mean_s + cost)
