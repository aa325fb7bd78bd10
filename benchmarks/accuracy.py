"""Accuracy of one board, and of two boards with `allreduce` and with `local_sgd`, for the same passes over the images.

Real images and pretrained weights, which the user gives; several seeds; the paper's learning-rate schedule, its
constant part and its decay compressed to the number of epochs. The link is calibrated to the paper's ratio of
communication to computation at this image size; times exclude only validation.
"""

from __future__ import annotations

import itertools
import json
import math
import random
import statistics
from pathlib import Path
from typing import Any

import pandas as pd
from scipy import stats

from analysis.runs.loading import load
from benchmarks import labels
from benchmarks.benchmark_run import PROJECT, BenchmarkRun
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
                print(f"{seed}  {arm:22} {row['val_accuracy'][-1]:.4f}  {row['train_s'][-1]:.0f} s", flush=True)
            path = bench.write(**more, summary=summary(bench.rows))  # all arms have completed this seed
    print(table(json.loads(path.read_text(encoding="utf-8"))))
    return path


def _outcome(folder: Path) -> dict[str, Any]:
    """val_accuracy after each epoch, and train_s, the seconds of training until then.

    Keras traces its step within the first epoch, the kit's own methods before it. So that this does not decide, the
    first epoch of Keras counts as long as the others do in the median, and `tracing_s` is what it took longer.
    """
    loaded = load([folder])
    epochs = loaded.epochs
    chief = epochs[epochs["rank"] == 0].sort_values("epoch")
    seconds = chief["train_s"].tolist()
    traced = loaded.runs["config.sync.method"].iloc[0] == "keras"
    usual = statistics.median(seconds[1:]) if traced else seconds[0]
    return {
        "val_accuracy": chief["val_accuracy"].tolist(),
        "train_s": list(itertools.accumulate([usual, *seconds[1:]])),
        "tracing_s": seconds[0] - usual,
        "communication_s": float(chief["communication_s"].iloc[1:].sum()),
    }


def time_to_accuracy(row: dict[str, Any], wanted: float) -> float | None:
    """Seconds of training after which validation reached `wanted`; between two epochs as on the line between them.

    None if it never did.
    """
    points: list[tuple[float, float]] = list(zip([0.0, *row["train_s"]], [0.0, *row["val_accuracy"]], strict=True))
    for (before_s, before), (after_s, after) in itertools.pairwise(points):
        if after >= wanted:
            return before_s + (after_s - before_s) * (wanted - before) / (after - before)
    return None


def summary(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """A row per arm: final accuracy (mean, least, greatest), its difference from one board's with the same seed (mean
    and 95 % interval, Student's t), and the time to one board's mean final accuracy less a point (median)."""
    final = pd.DataFrame(
        [{"arm": row["arm"], "seed": row["seed"], "accuracy": row["val_accuracy"][-1]} for row in rows]
    ).pivot(index="seed", columns="arm", values="accuracy")
    wanted = float(final[BASE].mean()) - 0.01
    times = {arm: [time_to_accuracy(row, wanted) for row in rows if row["arm"] == arm] for arm in ARMS}
    found = []
    for arm, boards in ARMS.items():
        difference = (final[arm] - final[BASE]).to_numpy(dtype=float)
        mean, count = float(difference.mean()), len(difference)
        interval: list[float] | None = None
        if count > 1:
            half = float(stats.t.ppf(0.975, count - 1)) * float(difference.std(ddof=1)) / math.sqrt(count)
            interval = [mean - half, mean + half]
        reached = [value for value in times[arm] if value is not None]
        median_s = statistics.median(reached) if len(reached) == len(times[arm]) else None
        base_s = [value for value in times[BASE] if value is not None]
        found.append(
            {
                "arm": arm,
                "boards": boards,
                "seeds": count,
                "accuracy": float(final[arm].mean()),
                "accuracy_min": float(final[arm].min()),
                "accuracy_max": float(final[arm].max()),
                "difference": mean,
                "difference_interval": interval,
                "wanted_accuracy": wanted,
                "time_to_accuracy_s": median_s,
                "times_faster": None if median_s is None or not base_s else statistics.median(base_s) / median_s,
                "train_s": statistics.median(row["train_s"][-1] for row in rows if row["arm"] == arm),
            }
        )
    return found


def table(result: dict[str, Any]) -> str:
    """The summary as a table in Markdown."""
    first, epochs = result["summary"][0], result["configuration"]["epochs"]
    lines = [
        "| arm | seeds (n) | final accuracy (least to greatest) | points above one board (95 % interval) | "
        f"training [s] | s per pass | training, times as fast | time to {first['wanted_accuracy']:.3f} [s] | "
        "to it, times as fast |",
        "|---|--:|--:|--:|--:|--:|--:|--:|--:|",
    ]
    for row in result["summary"]:
        low, high = (100 * end for end in row["difference_interval"] or (math.nan, math.nan))
        reached = "never" if row["time_to_accuracy_s"] is None else f"{row['time_to_accuracy_s']:.0f}"
        faster = "" if row["times_faster"] is None else f"{row['times_faster']:.2f}"
        alone = row["arm"] == BASE
        lines.append(
            f"| {labels.ARMS[row['arm']]} | {row['seeds']} | {row['accuracy']:.4f} "
            f"({row['accuracy_min']:.4f} to {row['accuracy_max']:.4f}) | "
            + ("" if alone else f"{100 * row['difference']:+.2f} ({low:+.2f} to {high:+.2f})")
            + f" | {row['train_s']:.0f} | {row['train_s'] / epochs:.1f} | {first['train_s'] / row['train_s']:.2f} | "
            f"{reached} | {faster} |"
        )
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
