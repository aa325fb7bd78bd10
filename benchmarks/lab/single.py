"""One board: an epoch's time with the kit and with a bare Keras script, and with cached features.

The kit and the script train at the same time, each on a board of its own, and change boards with every repeat: the
machine's speed varies by more than what is looked for, but for both alike.
"""

from __future__ import annotations

import itertools
import json
import statistics
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from analysis.comparison.paper import PAPER
from analysis.runs.loading import load
from benchmarks.lab.benchmark_run import BenchmarkRun
from trainer.formats.archives import sha256

_BOARDS = ["board-1", "board-2"]
_COMMON: dict[str, Any] = {"epochs": 8, "window_steps": 10, "data": {"train_images": 1920, "validation_images": 640}}
# as many images as CIFAR-100 has
_PAPERS = {**_COMMON, "epochs": 3, "data": {"train_images": 50_000, "validation_images": 10_000}}


def measure(repeats: int, weights: Path) -> Path:
    """Run all pairs, and the head both ways on a backbone with these weights; returns the file written."""
    head = {"fine_tune": "head", "weights": str(weights.resolve())}
    heads = {"head": head, "head, cached features": {**head, "cache_features": True}}
    with BenchmarkRun("single", lab_link_rate="1gbit") as bench:
        for repeat in range(1, repeats + 1):
            for variant, model in heads.items():
                folder = bench.run(1, {**_PAPERS, "model": model})
                bench.rows.append({"variant": variant, "repeat": repeat, **_of_kit(folder)})
            bench.rows += _pair(bench, repeat)
            path = bench.write(weights_sha256=sha256(weights), summary=summary(bench.rows))
            print(table(json.loads(path.read_text(encoding="utf-8"))), flush=True)
    return path


def _pair(bench: BenchmarkRun, repeat: int) -> list[dict[str, Any]]:
    kit, bare = _BOARDS if repeat % 2 else reversed(_BOARDS)
    out = bench.runs / "bare_keras.json"
    with ThreadPoolExecutor(2) as together:
        script = together.submit(
            bench.playbook, "benchmarks/lab/bare/run.yml", bare, bare_out=str(out), bare_config=_COMMON
        )
        run = together.submit(bench.run, 1, _COMMON, limit=kit)
        script.result()
        found = json.loads(out.read_text(encoding="utf-8"))
        return [
            {"variant": "bare Keras", "repeat": repeat, "board": bare, **_steady(found["ended_s"], found["losses"])},
            {"variant": "kit", "repeat": repeat, "board": kit, **_of_kit(run.result())},
        ]


def _of_kit(folder: Path) -> dict[str, Any]:
    loaded = load([folder])
    epochs = loaded.epochs.sort_values("epoch")
    cached_s = loaded.boards["cache_features_s"].iloc[0]
    return {
        **_steady(epochs["time_s"].tolist(), epochs["loss"].tolist()),
        "cache_features_s": None if cached_s != cached_s else cached_s,
    }


def _steady(ended_s: list[float], losses: list[float]) -> dict[str, Any]:
    """epoch_s: from the end of an epoch to that of the next, median; without the first epoch, which traces, and the
    last, in which the other board may be done. With validation, records and checkpoints."""
    return {
        "epoch_s": statistics.median(later - sooner for sooner, later in itertools.pairwise(ended_s[:-1])),
        "losses": losses,
    }


def summary(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """A row per variant: epoch_s, median, least and greatest. Of the kit also `cost`: its epoch_s over that of the
    bare script beside it, less 1; median, least and greatest over the repeats."""
    found = []
    bare = {row["repeat"]: row["epoch_s"] for row in rows if row["variant"] == "bare Keras"}
    for variant in dict.fromkeys(row["variant"] for row in rows):
        own = [row for row in rows if row["variant"] == variant]
        seconds = [row["epoch_s"] for row in own]
        line = {"variant": variant, "repeats": len(own), "epoch_s": statistics.median(seconds)}
        line |= {"epoch_s_min": min(seconds), "epoch_s_max": max(seconds)}
        if variant == "kit":
            costs = [row["epoch_s"] / bare[row["repeat"]] - 1 for row in own]
            line |= {"cost": statistics.median(costs), "cost_min": min(costs), "cost_max": max(costs)}
        found.append(line)
    return found


def table(result: dict[str, Any]) -> str:
    """The summary as a table in Markdown, with what follows from it."""
    by_name = {row["variant"]: row for row in result["summary"]}
    lines = ["| one board | images per epoch | runs (n) | s per epoch (least to greatest) |", "|---|--:|--:|--:|"]
    images = {name: _PAPERS if name.startswith("head") else _COMMON for name in by_name}
    lines += [
        f"| {name} | {images[name]['data']['train_images']:,} | {row['repeats']} | {row['epoch_s']:.3f} "
        f"({row['epoch_s_min']:.3f} to {row['epoch_s_max']:.3f}) |"
        for name, row in by_name.items()
    ]
    kit, head, cached = by_name["kit"], by_name["head"], by_name["head, cached features"]
    plain, fast = (
        [loss for row in result["rows"] if row["variant"] == name for loss in row["losses"]]
        for name in ("head", "head, cached features")
    )
    apart = max(abs(a - b) for a, b in zip(plain, fast, strict=True))
    computed_s = statistics.median(took for row in result["rows"] if (took := row.get("cache_features_s")))
    with_pass = {
        epochs: epochs * head["epoch_s"] / (computed_s + epochs * cached["epoch_s"])
        for epochs in (_PAPERS["epochs"], PAPER.epochs)
    }
    return "\n".join(
        [
            *lines,
            "",
            f"- With the kit, an epoch takes {_less(kit['cost'])} time than with a bare Keras script on the other "
            f"board at the same time (of the {kit['repeats']} pairs, from {_less(kit['cost_max'])} to "
            f"{_less(kit['cost_min'])}).",
            f"- With cached features, an epoch of the head is {head['epoch_s'] / cached['epoch_s']:.1f} times as fast, "
            f"without the pass that computes the features ({computed_s:.1f} s, once). With it, all epochs together are "
            + " and ".join(f"{times:.1f} times as fast for {epochs} epochs" for epochs, times in with_pass.items())
            + " (calculated from these medians).",
            f"- The losses of the epochs with and without cached features differ by at most {apart:.1e} (the first is "
            f"{plain[0]:.3f}, the last {plain[-1]:.3f}).",
        ]
    )


def _less(cost: float) -> str:
    """A share of time more or less, in words."""
    return f"{100 * abs(cost):.1f} % {'more' if cost > 0 else 'less'}"
