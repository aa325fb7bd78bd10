"""A study's runs on emulated boards, at the paper's ratio of communication to computation: a row for each run.

The boards have the cores of the machine between them. What runs with parameter servers are predicted to reach stands on
one board's steps in the same study.
"""

from __future__ import annotations

import json
import math
import statistics
from pathlib import Path
from typing import Any

from analysis.comparison.metrics import measure as measures
from analysis.prediction import servers
from analysis.prediction.allreduce import wire_bytes
from analysis.runs.columns import records
from analysis.runs.loading import load
from benchmarks.lab.benchmark_run import PROJECT, BenchmarkRun
from controller.strict_yaml import read
from trainer.contract.layout import RUN, run_folders
from trainer.contract.run import load_run
from trainer.contract.strategies import PARAMETER_SERVER, STRATEGIES

_IMAGE_SIZE, _PROBE_RATE = 32, 450_000_000  # of the preset rehearsal; bit/s, near the paper's ratio with such images
_COLLECTIVE = {strategy.name for strategy in STRATEGIES if strategy.collectives}


def measure(name: str) -> Path:
    """Make the runs of studies/NAME.yml that are missing; returns the file written."""
    arms = read(PROJECT / f"studies/{name}.yml", f"studies/{name}.yml")["arms"]
    boards = max(2, *(arm["workers"] for arm in arms.values()))
    with BenchmarkRun(
        name,
        boards,
        lab_calibration_file=str(PROJECT / f".cache/lab_calibration_{_IMAGE_SIZE}_{boards}.json"),
        lab_probe_rate=_PROBE_RATE,
        override={"model": {"image_size": _IMAGE_SIZE}},
    ) as bench:
        bench.playbook(
            "playbooks/run_study.yml", study=name, study_runs_dir=str(bench.runs), study_measure=False, train_poll_s=5
        )
        found = bench.calibration()
        link = found["link_rate_bit_per_s"]
        bench.rows = [row for folder in run_folders(bench.runs.iterdir()) if (row := _row(folder, name))]
        bench.rows.sort(key=lambda row: (list(arms).index(row["arm"]), row["repeat"]))
        path = bench.write(calibration=found, predicted=_predicted(bench.rows, link))
    return path


def _row(folder: Path, study: str) -> dict[str, Any] | None:
    """A run's measures; none if it is of another study, or failed."""
    run = load_run(folder / RUN)
    loaded = load([folder])
    if not (run.study or "").startswith(f"{study}/") or loaded.runs["status"].iloc[0] != "succeeded":
        return None
    _, arm, repeat = str(run.study).split("/")
    (found,) = records(measures(loaded.runs, loaded.boards, loaded.epochs, loaded.windows))
    started = records(loaded.boards)[0]
    strategy = run.config.strategy_on(run.workers)
    row = {
        "arm": arm,
        "repeat": int(repeat),
        "engine": run.config.engine,
        "strategy": strategy,
        "method": run.config.sync.method,
        "boards": run.workers,
        "servers": run.config.servers,
        "computing": run.config.computing(run.workers),
        "step_s": found["step_s"],
        "images_per_s": found["images_per_s"],
        "pass_s": found["pass_s"],
        "val_accuracy": found["val_accuracy_final"],
        "parameters": started["total_parameters"],
        "sent_bytes": found["sent_bytes_per_step"],  # of a board, per step
        "expected_bytes": None,
    }
    if strategy == PARAMETER_SERVER:  # of the board that sends most, while every worker makes a step
        served = servers.measured_run(folder)
        row |= {"sent_bytes": served["busiest_bytes"], "expected_bytes": served["placed_bytes"]}
    elif strategy in _COLLECTIVE and run.config.sync.method in ("keras", "allreduce"):
        row["expected_bytes"] = wire_bytes(started["gradient_bytes"], run.workers)
    return row


def _predicted(rows: list[dict[str, Any]], link_bit_per_s: float) -> dict[str, list[float]]:
    """Least and greatest speed-up of each arm with parameter servers, from one board's steps."""
    alone = [row for row in rows if row["boards"] == 1 and row["strategy"] == "none"]
    if not alone:
        return {}
    step_s = statistics.median(row["step_s"] for row in alone)
    told = {}
    for row in rows:
        if row["strategy"] == PARAMETER_SERVER:
            limits = servers.bounds(step_s, 4 * row["parameters"], row["boards"], row["servers"], link_bit_per_s)
            told[row["arm"]] = [row["computing"] * step_s / it for it in (limits.slowest_s, limits.fastest_s)]
    return told


def table(result: dict[str, Any]) -> str:
    """An arm a row, in Markdown; over the one board of its engine in the same repeat."""
    rows, predicted = result["rows"], result["predicted"]
    alone = {(row["engine"], row["repeat"]): row for row in rows if row["boards"] == 1 and row["strategy"] == "none"}
    lines = [
        "| arm | boards | runs (n) | images/s | over one board (least to greatest) | "
        + ("predicted | " if predicted else "")
        + "s per pass | sent [MB per step] | theory | final accuracy (least to greatest) | points above one board |",
        "|---|--:|--:|--:|--:|" + ("--:|" if predicted else "") + "--:|--:|--:|--:|--:|",
    ]
    for arm in dict.fromkeys(row["arm"] for row in rows):
        own = [row for row in rows if row["arm"] == arm]
        base = [alone[row["engine"], row["repeat"]] for row in own]
        speedups = [row["images_per_s"] / it["images_per_s"] for row, it in zip(own, base, strict=True)]
        points = [100 * (row["val_accuracy"] - it["val_accuracy"]) for row, it in zip(own, base, strict=True)]
        accuracy = [row["val_accuracy"] for row in own]
        spread = f"{statistics.median(speedups):.2f} ({min(speedups):.2f} to {max(speedups):.2f})"
        bounds = " to ".join(f"{bound:.2f}" for bound in predicted.get(arm, []))
        cells = [
            arm.replace("_", " "),
            str(own[0]["boards"]),
            str(len(own)),
            f"{statistics.median(row['images_per_s'] for row in own):.0f}",
            spread,
            *([bounds] if predicted else []),
            f"{statistics.median(row['pass_s'] for row in own):.1f}",
            _megabytes([row["sent_bytes"] for row in own]),
            _megabytes([row["expected_bytes"] for row in own]),
            f"{statistics.mean(accuracy):.3f} ({min(accuracy):.3f} to {max(accuracy):.3f})",
            f"{statistics.mean(points):+.1f}" if own != base else "",
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _megabytes(values: list[float | None]) -> str:
    known = [value for value in values if value is not None and not math.isnan(value)]
    return f"{statistics.median(known) / 1e6:.2f}" if known else ""


def printed(path: Path) -> str:
    """The table of a file."""
    return table(json.loads(path.read_text(encoding="utf-8")))
