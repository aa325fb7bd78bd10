"""Accuracy of one board, and of two boards with `allreduce` and with `local_sgd`, for the same passes over the images.

Real images and pretrained weights, which the user gives; several seeds; the paper's learning-rate schedule, its
constant part and its decay compressed to the number of epochs. The link is calibrated to the paper's ratio of
communication to computation at this image size. Target, time to accuracy and intervals are those of the analysis
(analysis/comparison): from the start of the boards' processes, tracing and validation included.
"""

from __future__ import annotations

import itertools
import json
import math
import random
from pathlib import Path
from typing import Any

import pandas as pd

from analysis.comparison import statistics
from analysis.comparison.metrics import measure as measures
from analysis.comparison.metrics import reached, target_of
from analysis.runs.loading import load
from benchmarks.docs import labels
from benchmarks.lab.benchmark_run import PROJECT, BenchmarkRun
from trainer.formats.archives import sha256

BASE = "one board"
ARMS = {BASE: 1, "two boards, allreduce": 2, "two boards, local_sgd": 2}  # arm: number of boards
_EPOCHS = 10
_BATCH = 64


def methods(train: int) -> dict[str, dict[str, Any]]:
    """The arms' overrides. Two boards make half as many steps, so their learning rate is twice as high (linear
    scaling, with its usual warm-up of an epoch; with local_sgd the epoch of synchronous steps serves)."""
    return {
        BASE: {},
        "two boards, allreduce": {"method": "allreduce", "scale_rate": "linear", "scale_warm_up_epochs": 1},
        "two boards, local_sgd": {"method": "local_sgd", "scale_rate": "linear", "warm_up_steps": train // 2 // _BATCH},
    }


def configuration(images: Path, weights: Path, train: int, validation: int, size: int) -> dict[str, Any]:
    """The configuration common to all arms."""
    return {
        "epochs": _EPOCHS,
        "batch_size": _BATCH,
        "window_steps": 16,
        "data": {
            "source": "npz",
            "path": str(images),
            "train_images": train,
            "validation_images": validation,
            "sharding": "sharded",
        },
        # 0.999 needs more steps to settle than there are
        "model": {"image_size": size, "weights": str(weights), "batch_norm_momentum": 0.9},
        "optimizer": {"learning_rate": 0.0003},
        "schedule": {"constant_epochs": _EPOCHS // 2, "decay": 0.5},
    }


def recorded(common: dict[str, Any]) -> dict[str, Any]:
    """The configuration for the result: the user's files by name and checksum, without their folders."""
    images, weights = Path(common["data"]["path"]), Path(common["model"]["weights"])
    return {
        **common,
        "data": {**common["data"], "path": images.name, "sha256": sha256(images)},
        "model": {**common["model"], "weights": weights.name, "weights_sha256": sha256(weights)},
    }


def measure(images: Path, weights: Path, seeds: int, train: int, validation: int, size: int) -> Path:
    """Run every arm with every seed; returns the file written."""
    common = configuration(images, weights, train, validation, size)
    probe = {"model": {"image_size": size}}
    calibration_file = f".cache/lab_calibration_{size}.json"
    # the ratio depends on the image size
    with BenchmarkRun("accuracy", lab_calibration_file=str(PROJECT / calibration_file), override=probe) as bench:
        found = bench.calibration()
        more = {"calibration": found, "configuration": recorded(common), "sync": methods(train)}
        for seed in range(1, seeds + 1):
            for arm in random.Random(seed).sample(list(ARMS), len(ARMS)):
                override = {**common, "sync": methods(train)[arm]}
                row = _outcome(bench.run(ARMS[arm], override, seed=seed))
                bench.rows.append({"arm": arm, "boards": ARMS[arm], "seed": seed, **row})
                print(f"{seed}  {arm:22} {row['val_accuracy'][-1]:.4f}  {row['elapsed_s'][-1]:.0f} s", flush=True)
            path = bench.write(**more)  # all arms have completed this seed
    print(table(json.loads(path.read_text(encoding="utf-8"))))
    return path


def _outcome(folder: Path) -> dict[str, Any]:
    """val_accuracy after each epoch; elapsed_s until then, see `metrics.reached`; pass_s, of a steady epoch."""
    loaded = load([folder])
    epochs = loaded.epochs
    measured = measures(loaded.runs, loaded.boards, epochs, loaded.windows).iloc[0]
    return {
        "val_accuracy": epochs[epochs["rank"] == 0].sort_values("epoch")["val_accuracy"].tolist(),
        "elapsed_s": epochs.groupby("epoch")["elapsed_s"].max().tolist(),
        "startup_s": float(measured["startup_s"]),
        "pass_s": float(measured["pass_s"]),
    }


def summary(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """A row per arm: final accuracy (mean, least, greatest), its difference from one board's with the same seed (mean
    and 95 % interval), seconds per pass, and the time to accuracy: the mean over the seeds, and how many never got
    there. Null where it was not recorded, as in rows of older versions, whose seconds per pass are of steps only."""
    runs = pd.DataFrame([{"run_id": f"{row['arm']}/{row['seed']}", **row} for row in rows])
    final = runs.assign(accuracy=runs["val_accuracy"].str[-1]).pivot(index="seed", columns="arm", values="accuracy")
    runs["pass_s"] = [row.get("pass_s") or _steps_s(row) for row in rows]
    epochs = pd.DataFrame(
        [
            {
                "run_id": f"{row['arm']}/{row['seed']}",
                "rank": 0,
                "epoch": epoch,
                "val_accuracy": at,
                "elapsed_s": elapsed,
                "together": 1,  # the slowest board's time is in the rows
            }
            for row in rows
            for epoch, (at, elapsed) in enumerate(
                zip(row["val_accuracy"], row.get("elapsed_s") or itertools.repeat(math.nan), strict=False), 1
            )
        ]
    )
    target = target_of(final[BASE])
    found = reached(epochs, target)
    runs["reached"] = runs["run_id"].isin(found.index)
    runs["time_s"] = runs["run_id"].map(found["elapsed_s"])
    base = runs[runs["arm"] == BASE].sort_values("seed")
    told = []
    for arm, boards in ARMS.items():
        own = runs[runs["arm"] == arm].sort_values("seed")
        difference = statistics.difference(final[arm], final[BASE], paired=True)
        ends = [difference.low.item(), difference.high.item()]
        told.append(
            {
                "arm": arm,
                "boards": boards,
                "seeds": len(own),
                "accuracy": float(final[arm].mean()),
                "accuracy_min": float(final[arm].min()),
                "accuracy_max": float(final[arm].max()),
                "difference": difference.value.item(),
                "difference_interval": None if math.isnan(ends[0]) else ends,
                "target_accuracy": target,
                "unreached": int((~own["reached"]).sum()),
                "time_to_accuracy_s": float(own["time_s"].mean(skipna=False)),
                "time_ratio": statistics.ratio(own["time_s"], base["time_s"], paired=True).value.item(),
                "pass_s": float(own["pass_s"].mean()),
                "pass_ratio": statistics.ratio(own["pass_s"], base["pass_s"], paired=True).value.item(),
            }
        )
    return told


def _steps_s(row: dict[str, Any]) -> float:
    """Seconds of steps per pass of an older row, without its first epoch."""
    seconds: list[float] = row["train_s"]
    return (seconds[-1] - seconds[0]) / (len(seconds) - 1)


def table(result: dict[str, Any]) -> str:
    """The summary as a table in Markdown."""
    rows = summary(result["rows"])
    recorded_all = all("elapsed_s" in row for row in result["rows"])
    lines = [
        "| arm | seeds (n) | final accuracy (least to greatest) | points above one board (95 % interval) | "
        f"s per pass | over one board | time to {rows[0]['target_accuracy']:.3f} [s] | over one board |",
        "|---|--:|--:|--:|--:|--:|--:|--:|",
    ]
    for row in rows:
        low, high = (100 * end for end in row["difference_interval"] or (math.nan, math.nan))
        time_s, ratio = row["time_to_accuracy_s"], row["time_ratio"]
        missed = f"not reached by {row['unreached']} of {row['seeds']}" if row["unreached"] else "not recorded"
        lines.append(
            f"| {labels.ARMS[row['arm']]} | {row['seeds']} | {row['accuracy']:.4f} "
            f"({row['accuracy_min']:.4f} to {row['accuracy_max']:.4f}) | "
            + ("" if row["arm"] == BASE else f"{100 * row['difference']:+.2f} ({low:+.2f} to {high:+.2f})")
            + f" | {row['pass_s']:.1f} | {row['pass_ratio']:.2f} | "
            f"{missed if math.isnan(time_s) else f'{time_s:.0f}'} | {'' if math.isnan(ratio) else f'{ratio:.2f}'} |"
        )
    if not recorded_all:
        lines += ["", "These rows are older than the record of the time from the start: a pass is of steps only."]
    return "\n".join([*lines, "", *_setting(result)])


def _setting(result: dict[str, Any]) -> list[str]:
    """What was trained, as a list in Markdown."""
    config = result["configuration"]
    data, model, schedule = config["data"], config["model"], config["schedule"]
    rate, decay = config["optimizer"]["learning_rate"], math.exp(-schedule["decay"])
    seeds = sorted({row["seed"] for row in result["rows"]})
    scaled = [
        f"{labels.ARMS[arm]} {rate * boards:g}"
        for arm, boards in ARMS.items()
        if result["sync"][arm].get("scale_rate") == "linear"
    ]
    warm_up = max(sync.get("warm_up_steps", 0) for sync in result["sync"].values())
    return [
        f"- Data: {data['path']} (SHA-256 {data['sha256'][:16]}...), {data['train_images']:,} images to train on and "
        f"{data['validation_images']:,} to validate on, at {model['image_size']}x{model['image_size']} pixels.",
        f"- Model: MobileNetV2 from {model['weights']} (SHA-256 {model['weights_sha256'][:16]}...), all layers "
        f"trained, batch normalisation's momentum {model['batch_norm_momentum']}.",
        f"- Training: {config['epochs']} epochs, each one pass over the images, shared out between the boards; batch "
        f"{config['batch_size']} on each board; seeds {', '.join(map(str, seeds))}.",
        f"- Adam's learning rate: one board {rate:g}; {'; '.join(scaled)}. Constant for {schedule['constant_epochs']} "
        f"epochs, then times {decay:.3f} every epoch.",
        f"- The fast recipe's first {warm_up} steps are synchronous: its first pass.",
    ]
