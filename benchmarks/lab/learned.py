"""The preset's runs on emulated boards, beside the rows of workers that take turns (benchmarks/machine/learning.py).

One run each of one board with its best rate and of 2, 4 and 8 boards with the preset, at the paper's ratio of
communication to computation: whether accuracy lies within the spread of the rows, and what start-up and each pass take.
Boards take turns on one core, each with its share of it and a link that is as much slower.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from analysis.comparison.metrics import measure as measures
from analysis.runs.loading import load
from benchmarks.lab.benchmark_run import PROJECT, BenchmarkRun
from benchmarks.machine import learning
from trainer.contract.config import to_dict

NUMBERS = (1, 2, 4, 8)
_SEED = 1
_PROBE_RATE = 450_000_000  # bit/s; near the paper's ratio with images of 32x32
_CALIBRATION = ".cache/lab_calibration_turns_32.json"  # the ratio depends on the image size


def measure(task: learning.Task, rows: list[dict[str, Any]], numbers: tuple[int, ...] = NUMBERS) -> Path:
    """A lab and a run for each number of boards; `rows` are those of `learning.measure`. Returns the file written."""
    jobs = {job.boards: job for job in learning.plan(task, rows) if job.seed == _SEED and job.arm in learning.ARMS}
    made: list[dict[str, Any]] = []
    for boards in numbers:
        override = to_dict(jobs[boards].config)
        override["sync"]["step_times"] = True
        size = {"model": {"image_size": override["model"]["image_size"]}}
        with BenchmarkRun(
            "learned",
            max(boards, 2),
            turns=True,
            lab_calibration_file=str(PROJECT / _CALIBRATION),
            lab_probe_rate=_PROBE_RATE,
            override=size,
        ) as bench:
            bench.rows = made
            folder = bench.run(boards, override, seed=_SEED, train_start_limit_s=3600)
            sync = jobs[boards].config.sync
            # whether the first pass is made in synchronous steps
            together = boards > 1 and sync.warm_up_period == 1 and bool(sync.warm_up_epochs or sync.warm_up_steps)
            made.append({"boards": boards, "core_share": bench.core_share, "together": together, **_outcome(folder)})
            rate = override["optimizer"]["learning_rate"]
            path = bench.write(calibration=bench.calibration(), rate=rate, task=task.name)
        told = " ".join(f"{value:.4f}" for value in made[-1]["val_accuracy"])
        print(f"{boards} boards: {told}", flush=True)
    return path


def _outcome(folder: Path) -> dict[str, Any]:
    """After each pass: val_accuracy, and seconds since the start; train_s of each; startup_s of the slowest board."""
    loaded = load([folder])
    epochs, chief = loaded.epochs, loaded.epochs[loaded.epochs["rank"] == 0].sort_values("epoch")
    return {
        "val_accuracy": chief["val_accuracy"].tolist(),
        "elapsed_s": epochs.groupby("epoch")["elapsed_s"].max().tolist(),
        "train_s": epochs.groupby("epoch")["train_s"].max().tolist(),
        "startup_s": float(measures(loaded.runs, loaded.boards, epochs, loaded.windows)["startup_s"].iloc[0]),
    }
