"""The cost of a board at half speed: equal parts of the images, parts in proportion to speed, and measured steps.

Two boards take turns on one core, with as much of it each. The second waits after every step for as long as one board
takes to compute one: it is half as fast, and a smaller batch saves it only a part of that. Ideal is what the faster one
takes alone, over 1.5.
"""

from __future__ import annotations

import json
import statistics
from pathlib import Path
from typing import Any

from analysis.runs.loading import load
from benchmarks.lab.benchmark_run import PROJECT, BenchmarkRun

_ON_BOARD = "/srv/slow"
_LAB: dict[str, Any] = {"lab_link_rate": "1gbit", "lab_core_share": 0.45}
_SLOW = {
    "relative_speed": 0.5,
    "train_environment": {"PYTHONPATH": _ON_BOARD, "LAB_STEP_COST_S": "{{ step_cost_s | string }}"},
}
_STEPS = 48  # of one board in an epoch
_COMMON: dict[str, Any] = {
    "epochs": 3,
    "steps_per_call": 1,  # the slow board's cost is one of each step
    "data": {"train_images": 64 * _STEPS, "validation_images": 192},
    "sync": {"method": "local_sgd", "period": 8},
}
_ARMS = {
    "one board": (1, "sharded"),
    "equal parts": (2, "sharded"),
    "in proportion": (2, "proportional"),
    "measured": (2, "measured"),
}


def measure(repeats: int) -> Path:
    """Interleaved runs; returns the file written."""
    step_cost_s = 0.0  # the first run is the faster board's, which has none
    with BenchmarkRun("straggler", hosts={"board-1": {}, "board-2": _SLOW}, turns=True, **_LAB) as bench:
        bench.playbook("benchmarks/lab/standin/install.yml", source=str(PROJECT / "benchmarks/lab/slow"), to=_ON_BOARD)
        for repeat in range(1, repeats + 1):
            for arm, (workers, sharding) in _ARMS.items():
                override = {**_COMMON, "data": {**_COMMON["data"], "sharding": sharding}}
                epochs = load([bench.run(workers, override, seed=repeat, step_cost_s=step_cost_s)]).epochs
                steady = epochs[~epochs["begins"]]
                step_cost_s = step_cost_s or float(steady["train_s"].mean()) / _STEPS
                seconds = steady.groupby("board")["epoch_s"].mean()
                bench.rows.append(
                    {"arm": arm, "repeat": repeat, "epoch_s": float(seconds.max()), "step_cost_s": step_cost_s}
                )
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
