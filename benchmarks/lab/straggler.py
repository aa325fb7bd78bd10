"""The cost of a board at half speed, with equal parts of the images and with parts in proportion to speed.

Two boards that take turns on one core, the second with half as much of it: the faster one alone, both with equal parts
of the images, and both with parts in proportion to their speed. Ideal is what the faster one takes alone, over 1.5.
"""

from __future__ import annotations

import json
import statistics
from pathlib import Path
from typing import Any

from analysis.runs.loading import load
from benchmarks.lab.benchmark_run import BenchmarkRun

_HOSTS = {"board-1": {"lab_core_share": 0.6}, "board-2": {"lab_core_share": 0.3, "relative_speed": 0.5}}
_COMMON: dict[str, Any] = {
    "epochs": 3,
    "data": {"train_images": 64 * 24, "validation_images": 192},
    "sync": {"method": "local_sgd", "period": 8},
}
_ARMS = {"one board": (1, "sharded"), "equal parts": (2, "sharded"), "in proportion": (2, "proportional")}


def measure(repeats: int) -> Path:
    """Interleaved runs; returns the file written."""
    with BenchmarkRun("straggler", hosts=_HOSTS, turns=True, lab_link_rate="1gbit") as bench:
        for repeat in range(1, repeats + 1):
            for arm, (workers, sharding) in _ARMS.items():
                data = {**_COMMON["data"], "sharding": sharding}
                epochs = load([bench.run(workers, {**_COMMON, "data": data}, seed=repeat)]).epochs
                steady = epochs[~epochs["begins"]]
                seconds = steady.groupby("board")["epoch_s"].mean()
                bench.rows.append({"arm": arm, "repeat": repeat, "epoch_s": float(seconds.max())})
            path = bench.write()
            print(table(json.loads(path.read_text(encoding="utf-8"))), flush=True)
    return path


def table(result: dict[str, Any]) -> str:
    """The rows as a table in Markdown: medians."""
    by_arm: dict[str, list[float]] = {}
    for row in result["rows"]:
        by_arm.setdefault(row["arm"], []).append(row["epoch_s"])
    ideal = statistics.median(by_arm["one board"]) / 1.5
    lines = ["| | runs (n) | s per epoch (least to greatest) | over the ideal |", "|---|--:|--:|--:|"]
    for arm, seconds in by_arm.items():
        middle = statistics.median(seconds)
        spread = f"{min(seconds):.2f} to {max(seconds):.2f}"
        lines.append(f"| {arm} | {len(seconds)} | {middle:.2f} ({spread}) | {middle / ideal:.2f} |")
    return "\n".join([*lines, "", f"Ideal: {ideal:.2f} s, the median of one board divided by 1.5."])
