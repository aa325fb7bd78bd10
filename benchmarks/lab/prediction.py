"""Predicted and actual times of runs: 1, 2 and 4 boards, three methods of synchronising, two links.

For each link the task `predict` measures 2 and 4 boards once; the prediction is the one printed when a run starts.
Boards have equal fractions of the cores, and links are slower in proportion.
"""

from __future__ import annotations

import json
import os
import statistics
from pathlib import Path
from typing import Any

from analysis.comparison.metrics import measure as measured
from analysis.runs.loading import load
from benchmarks.docs import labels
from benchmarks.lab.benchmark_run import BenchmarkRun
from controller.foretell import expected
from trainer.contract.layout import RUN
from trainer.contract.run import load_run

_BOARDS = 4
_USED = 0.88  # of the machine's cores, so that the controller does not take the boards' time
_STEPS = 20  # of a board in an epoch: an average of local SGD in each, and none at its end, where no step hides it
_METHODS: dict[str, dict[str, Any]] = {
    "keras": {"method": "keras"},
    "allreduce, float16": {"method": "allreduce", "gradient_dtype": "float16"},
    "local_sgd, period 16": {"method": "local_sgd", "period": 16},
}


def measure() -> Path:
    """Predictions and runs; returns the file written."""
    share = round(min(1.0, _USED * len(os.sched_getaffinity(0)) / _BOARDS), 2)
    with BenchmarkRun("prediction", boards=_BOARDS, lab_core_share=share) as bench:
        known = bench.calibration()
        links = {"paper's ratio": known["link_rate_bit_per_s"] / known["core_share"], "1 Gbit/s": 1e9}
        for link, rate in links.items():
            bench.link(f"{int(rate * share)}bit")
            for boards in (2, 4):
                bench.run(boards, _override(boards, "keras") | {"epochs": 1}, run_config_task="predict")
            for boards, method in [(1, "keras"), *((boards, method) for boards in (2, 4) for method in _METHODS)]:
                bench.rows.append(
                    {"link": link, "link_rate_bit_per_s": int(rate * share), **_row(bench, boards, method)}
                )
                path = bench.write(core_share=share, calibration=known)
                print(table(json.loads(path.read_text(encoding="utf-8"))), flush=True)
    return path


def _override(boards: int, method: str) -> dict[str, Any]:
    data = {"train_images": 64 * _STEPS * boards, "validation_images": 64 * boards, "sharding": "sharded"}
    # the average after the last step, which nothing hides, is one epoch's only
    epochs = 5 if method.startswith("local_sgd") else 3
    return {"epochs": epochs, "window_steps": 4, "data": data, "sync": _METHODS[method]}


def _row(bench: BenchmarkRun, boards: int, method: str) -> dict[str, Any]:
    folder = bench.run(boards, _override(boards, method))
    run, loaded = load_run(folder / RUN), load([folder])
    told = expected(run.config, run.workers, run.boards, [bench.runs])
    took_s = float(measured(loaded.runs, loaded.boards, loaded.epochs, loaded.windows)["pass_s"].iloc[0])
    return {
        "boards": boards,
        "sync": "none" if boards == 1 else method,
        "expected_epoch_s": None if told is None else told.epoch_s,
        "expected_low_s": None if told is None else told.epoch_low_s,
        "expected_high_s": None if told is None else told.epoch_high_s,
        "epoch_s": took_s,
        "error": None if told is None else told.epoch_s / took_s - 1,
    }


def summary(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """rows: how many; with_interval: of them; inside: how many took a time within their 90 % interval;
    median_half_width: half of an interval over what the run took; null where no row has an interval."""
    known = [row for row in rows if row.get("expected_low_s") is not None and row["expected_high_s"] is not None]
    widths = [(row["expected_high_s"] - row["expected_low_s"]) / 2 / row["epoch_s"] for row in known]
    return {
        "rows": len(rows),
        "with_interval": len(known),
        "inside": sum(row["expected_low_s"] <= row["epoch_s"] <= row["expected_high_s"] for row in known),
        "median_half_width": statistics.median(widths) if widths else None,
    }


def table(result: dict[str, Any]) -> str:
    """The rows as a table in Markdown."""
    lines = [
        "| link | boards | method | images per epoch | expected [s per epoch] | 90 % interval | took [s per epoch] | "
        "error |",
        "|---|--:|---|--:|--:|--:|--:|--:|",
    ]
    for row in result["rows"]:
        told = "-" if row["expected_epoch_s"] is None else f"{row['expected_epoch_s']:.1f}"
        ends = [row.get(f"expected_{end}_s") for end in ("low", "high")]
        interval = "-" if None in ends else "{:.1f} to {:.1f}".format(*ends)
        error = "-" if row["error"] is None else f"{row['error']:+.1%}"
        lines.append(
            f"| {labels.of_link(row['link'], row['link_rate_bit_per_s'])} | {row['boards']} | "
            f"{labels.of_method(row)} | {64 * _STEPS * row['boards']:,} | {told} | {interval} | "
            f"{row['epoch_s']:.1f} | {error} |"
        )
    found = summary(result["rows"])
    told = "These rows are older than intervals of predictions: none was recorded."
    if found["median_half_width"] is not None:
        told = (
            f"{found['inside']} of {found['rows']} runs took a time inside their 90 % interval, whose half is "
            f"{found['median_half_width']:.1%} of that time in the median."
        )
    return "\n".join([*lines, "", told])
