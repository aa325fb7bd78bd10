"""How much 1 to 16 boards learn: workers that take turns in one process, with real images and pretrained weights.

Learning does not depend on the link, so there is none (turns/). One board's learning rate is chosen first, on seeds of
its own, from a grid; all else is reported on other seeds, paired with the best one board. Every run is a row, keyed by
its configuration and a checksum of the code that decides what is learned: a repeated call goes on where the last one
ended.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import json
import os
import statistics
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from analysis.comparison.statistics import at_least
from benchmarks.lab.benchmark_run import PROJECT, BenchmarkError, BenchmarkRun
from controller import synthetic
from controller.presets import configuration, merged
from trainer.contract.config import Config, parse, to_dict
from trainer.contract.events import Epoch
from trainer.contract.layout import BOARDS, EVENTS, RUN, write_json
from trainer.contract.records import read_records
from trainer.contract.run import Run
from trainer.formats.archives import sha256

GRID = (3e-4, 6e-4, 1.2e-3, 2.4e-3)  # of Adam, for one board
TUNING_SEEDS, SEEDS = (11, 12), (1, 2, 3, 4, 5)
NUMBERS = (2, 4, 8, 16)  # of boards with the preset
PRESET = "fast"
BASE = "one board"
ARMS = (BASE, "preset")
# what decides which numbers a run gives
_CODE = ("trainer/learning", "trainer/sync", "trainer/formats", "benchmarks/machine/turns")
_NOT = ("trainer/sync/auto.py",)  # chooses by time, which workers in turn do not have
_PASSES = 10
_NOISE = 100.0  # of the generated images: standard deviation, of 255


@dataclass(frozen=True)
class Task:
    """Images, weights, and how many of the images."""

    name: str
    images: Path
    weights: Path
    train_images: int
    validation_images: int

    def checksums(self) -> dict[str, str]:
        return {"images_sha256": sha256(self.images), "weights_sha256": sha256(self.weights)}


@dataclass(frozen=True)
class Job:
    """A run to make: an arm on a task with a seed."""

    task: Task
    arm: str
    boards: int
    seed: int
    config: Config


def given(images: Path, weights: Path, train_images: int, validation_images: int) -> Task:
    """The task of the user's images."""
    return Task(images.stem, images, weights, train_images, validation_images)


def generated(weights: Path, train_images: int, validation_images: int) -> Task:
    """A task with images of 100 classes that are made here, the same ones at every call, hidden in noise."""
    path = PROJECT / f".cache/generated-{train_images}-{validation_images}.npz"
    if not path.is_file():
        rng = np.random.default_rng(0)
        arrays: dict[str, Any] = {}
        for split, count in (("train", train_images), ("test", validation_images)):
            labels = rng.permutation(np.arange(count) % synthetic.CLASSES)
            arrays[f"x_{split}"] = synthetic.patterns(labels, rng, _NOISE)
            arrays[f"y_{split}"] = labels.astype(np.int32)
        draft = path.with_suffix(".part.npz")
        np.savez(draft, **arrays)
        draft.replace(path)
    return Task(f"generated images, noise {_NOISE:g}", path, weights, train_images, validation_images)


def common(task: Task) -> dict[str, Any]:
    """The configuration that all arms share."""
    return {
        "epochs": _PASSES,
        "window_steps": 16,
        "checkpoint_epochs": 0,
        "data": {
            "source": "npz",
            "path": str(task.images),
            "train_images": task.train_images,
            "validation_images": task.validation_images,
            "sharding": "sharded",
        },
        # 0.999 needs more steps to settle than there are
        "model": {"image_size": 32, "weights": str(task.weights), "batch_norm_momentum": 0.9},
        "schedule": {"constant_epochs": _PASSES // 2, "decay": 0.5},
        "sync": {"step_times": False},
    }


def preset(boards: int) -> dict[str, Any]:
    """The fields that the preset sets on this number of boards. Raises BenchmarkError if it cannot be read."""
    problems: list[str] = []
    found = configuration({"experiment": PRESET, "override": {}}, PROJECT, problems, boards)
    if problems:
        raise BenchmarkError("; ".join(problems))
    return found


def layered(*layers: dict[str, Any]) -> dict[str, Any]:
    """Nested dictionaries, the later ones over the earlier ones."""
    return functools.reduce(merged, layers)


def rate_of(rate: float) -> dict[str, Any]:
    return {"optimizer": {"learning_rate": rate}}


def candidates(rows: list[dict[str, Any]], task: str) -> list[dict[str, Any]]:
    """Fields of the optimizer to try for one board: the rates of the grid, and once the best of these is known the same
    with what else the preset changes of the optimizer.

    Raises BenchmarkError where the best rate is the greatest of the grid: a greater one could be better.
    """
    rates = [rate_of(rate) for rate in GRID]
    best = _best(rows, task, rates)
    if best is None:
        return rates
    if best == rates[-1]:
        raise BenchmarkError(f"{task}: the best rate of one board is the greatest of the grid, {GRID[-1]:g}: add more")
    # what the preset gains by them must not count as its own
    other = layered(best, {"optimizer": preset(max(NUMBERS)).get("optimizer", {})})
    return rates if other in rates else [*rates, other]


def best_of(rows: list[dict[str, Any]], task: str) -> dict[str, Any] | None:
    """The candidate with which one board ends highest, in the mean over the tuning seeds; null until all are there."""
    return _best(rows, task, candidates(rows, task))


def _best(rows: list[dict[str, Any]], task: str, tried: list[dict[str, Any]]) -> dict[str, Any] | None:
    means = [_tuned(rows, task, fields) for fields in tried]
    if None in means:
        return None
    return tried[means.index(max(mean for mean in means if mean is not None))]


def _tuned(rows: list[dict[str, Any]], task: str, fields: dict[str, Any]) -> float | None:
    """Mean accuracy at the end over the tuning seeds; null if one is missing."""
    own = {row["seed"]: row for row in rows if row["task"] == task and row["arm"] == tuning(fields)}
    if not set(TUNING_SEEDS) <= set(own):
        return None
    return statistics.mean(_last(own[seed]) for seed in TUNING_SEEDS)


def tuning(fields: dict[str, Any]) -> str:
    """The arm of one board with these fields of the optimizer."""
    told = dict(fields["optimizer"])
    rate = told.pop("learning_rate")
    return ", ".join([f"{BASE}, rate {rate:g}", *(f"{name} {value:g}" for name, value in told.items())])


def plan(task: Task, rows: list[dict[str, Any]]) -> Iterator[Job]:
    """The runs of a task: those of the grid, and once their best is known those of the table."""
    for seed in TUNING_SEEDS:
        for fields in candidates(rows, task.name):
            yield Job(task, tuning(fields), 1, seed, parse(layered(common(task), fields)))
    best = best_of(rows, task.name)
    if best is None:
        return
    rate = rate_of(best["optimizer"]["learning_rate"])
    for seed in SEEDS:
        yield Job(task, BASE, 1, seed, parse(layered(common(task), best)))
    for boards in NUMBERS:
        # workers that take turns are not lost, and leave no checkpoints
        told = parse(layered(common(task), rate, preset(boards), {"on_board_loss": "stop"}))
        for seed in SEEDS:
            yield Job(task, ARMS[1], boards, seed, told)


def tried(task: Task, override: dict[str, Any], boards: int, seed: int) -> Job:
    """A run with what is to be tried, named by it."""
    told = json.dumps(override, separators=(", ", ": "))
    return Job(task, told, boards, seed, parse(layered(common(task), override)))


def key_of(job: Job, checksums: dict[str, str], code: str) -> str:
    """What a run's numbers follow from, as one checksum."""
    config = to_dict(job.config)
    config["data"]["path"] = config["model"]["weights"] = None  # their contents count
    told = json.dumps([config, job.boards, job.seed, checksums, code], sort_keys=True)
    return hashlib.sha256(told.encode()).hexdigest()


def code_checksum() -> str:
    """SHA-256 of the code that decides what is learned."""
    digest = hashlib.sha256()
    for folder in _CODE:
        for path in sorted((PROJECT / folder).rglob("*.py")):
            name = str(path.relative_to(PROJECT))
            if name not in _NOT:
                digest.update(name.encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()


def measure(tasks: Sequence[Task], minutes: float, tries: Sequence[Job] = ()) -> Path:
    """Make the runs that are missing, two or as many as there are cores at a time, and stop beginning new ones after so
    many `minutes`; returns the file written. With `tries` only these are made."""
    bench = BenchmarkRun("learning")
    path = bench.path
    path.parent.mkdir(exist_ok=True)
    if path.is_file():
        bench.rows = json.loads(path.read_text(encoding="utf-8"))["rows"]
    code, until = code_checksum(), time.monotonic() + 60 * minutes
    sums = {task.name: task.checksums() for task in [*tasks, *(job.task for job in tries)]}
    running: dict[Future[dict[str, Any]], str] = {}
    failed: list[BenchmarkError] = []

    def missing() -> Iterator[tuple[str, Job]]:
        known = {row["key"] for row in bench.rows} | set(running.values())
        jobs = tries or [job for task in tasks for job in plan(task, bench.rows)]
        keyed = ((key_of(job, sums[job.task.name], code), job) for job in jobs)
        return ((key, job) for key, job in keyed if key not in known)

    cores = len(os.sched_getaffinity(0))
    with ThreadPoolExecutor(cores) as pool:
        while True:
            while len(running) < cores and time.monotonic() < until and (following := next(missing(), None)):
                running[pool.submit(made, following[1])] = following[0]
            if not running:
                break
            for done in wait(running, return_when=FIRST_COMPLETED).done:
                key = running.pop(done)
                try:
                    row = {"key": key, "code_sha256": code, **done.result()}
                except BenchmarkError as error:  # what runs beside it still becomes a row
                    failed.append(error)
                    until = 0.0
                    continue
                bench.rows.append(row)
                bench.write()
                told = " ".join(f"{value:.3f}" for value in row["val_accuracy"])
                print(f"{row['task']}, {row['boards']} boards, {row['arm']}, seed {row['seed']}: {told}", flush=True)
    path = bench.write(left=sum(1 for _ in missing()), **{"checksums": sums})
    if failed:
        raise failed[0]
    return path


def made(job: Job) -> dict[str, Any]:
    """Train a job's run, and return its row: accuracy after each pass, and what was configured."""
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as made_here:
        folder = Path(made_here)
        boards = [f"worker{rank}" for rank in range(job.boards)]
        paths = {"dataset": job.task.images, "weights": job.task.weights}
        write_json(
            folder / RUN,
            dataclasses.asdict(
                Run(
                    run_id="turns",
                    task="train",
                    experiment=job.arm,
                    workers=job.boards,
                    seed=job.seed,
                    boards=boards,
                    config=job.config,
                    assets={kind: {"path": str(path), "sha256": ""} for kind, path in paths.items()},
                    trainer_sha256="",
                    git_commit=None,
                    git_dirty=None,
                )
            ),
        )
        done = subprocess.run(
            [PROJECT / ".board-venv/bin/python", "-m", "benchmarks.machine.turns", str(folder)],
            cwd=PROJECT,
            env={**os.environ, "PYTHONPATH": str(PROJECT), "TF_CPP_MIN_LOG_LEVEL": "2", "OMP_NUM_THREADS": "1"},
            capture_output=True,
            text=True,
        )
        if done.returncode:
            raise BenchmarkError(f"{job.arm}, {job.boards} boards, seed {job.seed} failed:\n{done.stderr[-3000:]}")
        records = read_records(folder / BOARDS / boards[0] / EVENTS)[0]
    epochs = [record for record in records if record["event"] == Epoch.KIND]
    config = to_dict(job.config)
    for section, name in (("data", "path"), ("model", "weights")):
        config[section][name] = Path(config[section][name]).name
    return {
        "task": job.task.name,
        "arm": job.arm,
        "boards": job.boards,
        "seed": job.seed,
        "steps": sum(record["steps"] for record in epochs),  # of a board
        "val_accuracy": [record["val_accuracy"] for record in epochs],
        "loss": [record["loss"] for record in epochs],
        "val_loss": [record["val_loss"] for record in epochs],
        "config": config,
        "seconds": time.monotonic() - began,  # of this machine, which say nothing of boards
    }


def passes_to(accuracies: Sequence[float], target: float) -> float | None:
    """Passes until the accuracy reaches the target, interpolated between evaluations; null where it never does.

    Before the first evaluation the accuracy is taken to have grown from 0.
    """
    before = 0.0
    for passes, accuracy in enumerate(accuracies):
        if accuracy >= target:
            return passes + (target - before) / (accuracy - before)
        before = accuracy
    return None


def summary(rows: list[dict[str, Any]], task: str) -> list[dict[str, Any]]:
    """A row for one board and for each number of boards with the preset: `accuracy` (mean over the seeds), its
    difference from the best one board's with the same seed and that one's one-sided 95 % bound, passes to the target
    (median over the seeds; null where most never reach it) and their ratio."""
    own = [row for row in rows if row["task"] == task]
    base = {row["seed"]: row for row in own if row["arm"] == BASE}
    if not base:
        return []
    target = statistics.mean(row["val_accuracy"][-1] for row in base.values()) - 0.01
    told: list[dict[str, Any]] = []
    arms = {(row["arm"], row["boards"]) for row in own if row["arm"] in ARMS}
    for arm, boards in sorted(arms, key=lambda it: it[1]):
        runs = {row["seed"]: row for row in own if (row["arm"], row["boards"]) == (arm, boards)}
        seeds = sorted(set(runs) & set(base))
        final = [runs[seed]["val_accuracy"][-1] for seed in seeds]
        theirs = [base[seed]["val_accuracy"][-1] for seed in seeds]
        passes = [passes_to(runs[seed]["val_accuracy"], target) for seed in seeds]
        median = statistics.median(value if value is not None else float("inf") for value in passes)
        told.append(
            {
                "arm": arm,
                "boards": boards,
                "seeds": seeds,
                "rate": runs[seeds[0]]["config"]["optimizer"]["learning_rate"],
                "accuracy": statistics.mean(final),
                "accuracy_min": min(final),
                "accuracy_max": max(final),
                "difference": statistics.mean(a - b for a, b in zip(final, theirs, strict=True)),
                "bound": float(at_least(final, theirs, paired=True)) if len(seeds) > 1 and arm != BASE else None,
                "target": target,
                "passes": None if median == float("inf") else median,
                "unreached": sum(value is None for value in passes),
            }
        )
    for row in told:
        both = row["passes"] is not None and told[0]["passes"] is not None
        row["passes_ratio"] = row["passes"] / told[0]["passes"] if both else None
    return told


def table(result: dict[str, Any]) -> str:
    """The grids and the summaries as tables in Markdown."""
    lines: list[str] = []
    for task in dict.fromkeys(row["task"] for row in result["rows"]):
        lines += [f"**{task}**", "", *_grid(result["rows"], task), "", *_boards(summary(result["rows"], task)), ""]
        lines += _tries(result["rows"], task)
    return "\n".join(lines).rstrip()


def _grid(rows: list[dict[str, Any]], task: str) -> list[str]:
    found = pd.DataFrame(
        [
            {"arm": row["arm"].removeprefix(f"{BASE}, "), "rate": _rate(row), "seed": row["seed"], "last": _last(row)}
            for row in rows
            if row["task"] == task and row["seed"] in TUNING_SEEDS and row["arm"].startswith(f"{BASE}, rate")
        ]
    )
    lines = ["| one board with Adam | seeds | accuracy after the last pass |", "|---|---|---|"]
    for (_, arm), own in found.groupby(["rate", "arm"]) if len(found) else ():
        ordered = own.sort_values("seed")
        last = ", ".join(f"{value:.4f}" for value in ordered["last"])
        lines.append(f"| {arm} | {', '.join(map(str, ordered['seed']))} | {last} |")
    return lines


def _tries(rows: list[dict[str, Any]], task: str) -> list[str]:
    own = [row for row in rows if row["task"] == task and row["arm"].startswith("{")]
    if not own:
        return []
    lines = ["| boards | seed | tried | accuracy after the last pass |", "|--:|--:|---|--:|"]
    for row in sorted(own, key=lambda row: (row["boards"], -_last(row))):
        lines.append(f"| {row['boards']} | {row['seed']} | `{row['arm']}` | {_last(row):.4f} |")
    return [*lines, ""]


def _rate(row: dict[str, Any]) -> float:
    return float(row["config"]["optimizer"]["learning_rate"])


def _last(row: dict[str, Any]) -> float:
    return float(row["val_accuracy"][-1])


def _boards(told: list[dict[str, Any]]) -> list[str]:
    lines = [
        "| boards | seeds (n) | accuracy (least to greatest) | points above one board | one-sided 95 % bound | "
        "passes to the target | over one board |",
        "|--:|--:|--:|--:|--:|--:|--:|",
    ]
    for row in told:
        alone = row["arm"] == BASE
        missed = f" ({row['unreached']} never)" if row["unreached"] else ""
        cells = [
            str(row["boards"]),
            str(len(row["seeds"])),
            f"{row['accuracy']:.4f} ({row['accuracy_min']:.4f} to {row['accuracy_max']:.4f})",
            "" if alone else f"{100 * row['difference']:+.2f}",
            "" if row["bound"] is None else f"{100 * row['bound']:+.2f}",
            ("not reached" if row["passes"] is None else f"{row['passes']:.2f}") + missed,
            "" if alone or row["passes_ratio"] is None else f"{row['passes_ratio']:.2f}",
        ]
        lines.append(f"| {' | '.join(cells)} |")
    if told:
        lines += ["", f"Target: {told[0]['target']:.4f}, the mean of the best one board less one point."]
    return lines
