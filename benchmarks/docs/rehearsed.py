"""The committed runs of `make rehearse` beside the paper: time per pass, images/s, and accuracy.

With plain Keras as in the paper, every board trains on the whole data set. The copies are one pass together, as
`analysis.comparison.metrics` has it; images/s count each of them, and are shown beside.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from analysis.comparison.compare import compare
from analysis.comparison.paper import PAPER
from analysis.runs.columns import records
from analysis.runs.loading import load
from benchmarks.lab.benchmark_run import PROJECT
from trainer.contract.layout import run_folders

RUNS = PROJECT / "tests" / "data" / "rehearsal"
_NAMES = {
    "none": "one board",
    "keras": "two boards, plain Keras",
    "keras, sharded": "two boards, plain Keras, images shared out",
    "local_sgd, sharded": "two boards, local SGD, period 4",
}


def table() -> str:
    """A row per run, and the paper's two, in Markdown."""
    lines = [
        "| | s per pass | over one board | speed per pass | images per pass | images/s, over one board | "
        "in all, from the start [s] | final accuracy |",
        "|---|--:|--:|--:|--:|--:|--:|--:|",
    ]
    for rows in (_of_rehearsal(run_folders(RUNS.iterdir())), _of_paper()):
        for row in rows:
            accuracy = "not stated" if row["accuracy"] is None else f"{row['accuracy']:.3f}"
            lines.append(
                f"| {row['name']} | {row['pass_s']:.1f} | {row['pass_ratio']:.2f} | {1 / row['pass_ratio']:.2f} | "
                f"{row['images']:,} | {row['images_ratio']:.2f} | {row['total_s']:,.0f} | {accuracy} |"
            )
    return "\n".join([*lines, "", _setting()])


def _setting() -> str:
    """What the runs themselves say of their boards."""
    runs = load(run_folders(RUNS.iterdir()))
    known = {
        name: ", ".join(sorted(map(str, runs.boards[f"facts.{name}"].unique())))
        for name in ("cores", "python", "tensorflow")
    }
    links = sorted(runs.boards["facts.link_rate_bit_per_s"].unique())
    commits = ", ".join(sorted({commit[:10] for commit in runs.runs["git_commit"]}))
    return (
        f"The rehearsal: commit {commits}; cores of a board: {known['cores']}; links of "
        f"{', '.join(f'{rate / 1e6:.0f}' for rate in links)} Mbit/s; TensorFlow {known['tensorflow']}, "
        f"Python {known['python']}."
    )


def _of_rehearsal(folders: list[Path]) -> list[dict[str, Any]]:
    runs = load(folders)
    last = runs.epochs[runs.epochs["epoch"] == runs.epochs["epoch"].max()]
    images = last.groupby("run_id")["images"].sum()
    return [
        _row(_name(arm), int(images[run_id]), arm) for arm in records(compare(runs).arms) for run_id in arm["run_ids"]
    ]


def _name(arm: dict[str, Any]) -> str:
    shared = arm["workers"] > 1 and arm["sharding"] != "whole"
    return _NAMES[f"{arm['sync']}, {arm['sharding']}" if shared else arm["sync"]]


def _of_paper() -> list[dict[str, Any]]:
    names = {1: "one board", 2: "two boards, plain Keras"}
    return [
        _row(f"the paper: {names[arm['workers']]}", arm["workers"] * PAPER.train_images, arm) for arm in PAPER.arms()
    ]


def _row(name: str, images: int, arm: dict[str, Any]) -> dict[str, Any]:
    measures = ("pass_s", "pass_ratio", "images_ratio", "total_s")
    return {"name": name, "images": images, "accuracy": arm["val_accuracy_final"], **{it: arm[it] for it in measures}}
