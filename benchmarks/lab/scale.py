"""Measured and predicted images/s of 2, 4 and 8 boards at the paper's ratio, with each method.

Boards take turns on one core, so that eight of them have a ninth of it each, and a link that is as much slower:
communication over computation stays what it was. Each number of boards is one run of the task `predict`, which times
all methods in turn beside one board alone that has as much of a core; efficiency is relative to that. What is predicted
for 4 and 8 boards stands on the run of 2.
"""

from __future__ import annotations

import json
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from analysis.prediction.allreduce import Network
from analysis.prediction.predict import Plan, measured_in, predict
from analysis.runs.columns import records
from analysis.runs.manifest import read_manifest
from benchmarks.docs import labels
from benchmarks.lab.benchmark_run import BenchmarkRun
from benchmarks.lab.sync import compared, trial_rows
from trainer.contract.events import ONE_BOARD
from trainer.contract.layout import MANIFEST, RUN, entries, run_folders
from trainer.contract.run import load_run

BOARDS = (2, 4, 8)
_START_LIMIT_S = 3600  # eight boards trace all methods with a ninth of a core each


def measure(numbers: Sequence[int]) -> Path:
    """A lab and a run for each of these numbers of boards; of others the latest are kept. Returns the file written."""
    for boards in numbers:
        with BenchmarkRun("scale", boards=boards, turns=True) as bench:
            data = {"sharding": "sharded", "train_images": 64 * 16 * boards, "validation_images": 64 * boards}
            override = {"epochs": 1, "data": data}
            bench.run(boards, override, run_config_task="predict", train_start_limit_s=_START_LIMIT_S)
        print(table(json.loads(_summed_up().read_text(encoding="utf-8"))), flush=True)
    return _summed_up()


def _summed_up() -> Path:
    """Write the file from the runs that are there."""
    bench = BenchmarkRun("scale", turns=True)
    folders = [folder for count in BOARDS if (folder := _latest(bench.runs, count))]
    bench.rows = [row for folder in folders for row in _rows(folder)]
    return bench.write(calibration=bench.calibration(), summary=summary(bench.rows, predicted(folders[0])))


def _latest(runs: Path, boards: int) -> Path | None:
    """The latest run of so many boards that succeeded."""
    made = reversed(run_folders(entries(runs, f"*-predict-w{boards}-*")))
    return next((folder for folder in made if (read_manifest(folder)[0] or {}).get("status") == "succeeded"), None)


def _rows(folder: Path) -> list[dict[str, Any]]:
    run = load_run(folder / RUN)  # the file's own commit and times are those of summing up
    more = {"run_id": run.run_id, "git_commit": run.git_commit, "of": run.workers}
    more["link_rate_bit_per_s"] = _link_rate(folder)
    return [{**row, **more} for row in compared(trial_rows(folder))]


def _link_rate(folder: Path) -> int:
    """The rate of the boards' links."""
    manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    return int(manifest["boards"][0]["facts"]["link_rate_bit_per_s"])


def predicted(two: Path) -> dict[tuple[str, int], float]:
    """Efficiency by method and number of boards, from what the run of two boards measured."""
    measured = measured_in([two])
    table = predict(measured, Plan(BOARDS, Network(measured.link_bit_per_s)))
    return {(row["sync"], row["workers"]): row["efficiency"] for row in records(table)}


def summary(rows: list[dict[str, Any]], expected: dict[tuple[str, int], float]) -> list[dict[str, Any]]:
    """A row per method and number of boards: efficiency, median, least and greatest over the cycles; predicted; and the
    share of what boards reach that exchange nothing."""
    table = pd.DataFrame([row for row in rows if row["sync"] != ONE_BOARD])
    found = []
    key: Any  # method and number of boards
    for key, cycles in table.groupby(["sync", "boards"], sort=False):
        sync, boards = key
        efficiency = cycles["speedup"] / boards
        found.append(
            {
                "sync": sync,
                "boards": int(boards),
                "images_per_s": float(cycles["images_per_s"].median()),
                "efficiency": float(efficiency.median()),
                "efficiency_min": float(efficiency.min()),
                "efficiency_max": float(efficiency.max()),
                "of_no_sync": float(cycles["of_no_sync"].median()),
                "predicted_efficiency": expected.get((sync, int(boards))),
            }
        )
    return found


def table(result: dict[str, Any]) -> str:
    """The summary as a table in Markdown."""
    lines = [
        "| method | boards | images/s | s per 50,000 images | efficiency (least to greatest) | predicted | "
        "of no synchronising |",
        "|---|--:|--:|--:|--:|--:|--:|",
    ]
    most = max(row["boards"] for row in result["summary"])
    last = {row["sync"]: row["efficiency"] for row in result["summary"] if row["boards"] == most}
    for row in sorted(result["summary"], key=lambda row: (last[row["sync"]], row["boards"])):
        told = row["predicted_efficiency"]
        lines.append(
            f"| {labels.of_method(row)} | {row['boards']} | {row['images_per_s']:.1f} | "
            f"{50_000 / row['images_per_s']:.0f} | {row['efficiency']:.2f} "
            f"({row['efficiency_min']:.2f} to {row['efficiency_max']:.2f}) | {'' if told is None else f'{told:.2f}'} | "
            f"{row['of_no_sync']:.0%} |"
        )
    links = {row["of"]: row["link_rate_bit_per_s"] / 1e6 for row in result["rows"]}
    alone = {
        count: [row["images_per_s"] for row in result["rows"] if row["sync"] == ONE_BOARD and row["of"] == count]
        for count in links
    }
    lines += [
        "",
        "| boards in the run | link [Mbit/s] | one of them alone [images/s] | cycles (n) |",
        "|--:|--:|--:|--:|",
    ]
    lines += [
        f"| {count} | {rate:.0f} | {statistics.median(alone[count]):.1f} | {len(alone[count])} |"
        for count, rate in links.items()
    ]
    return "\n".join(lines)
