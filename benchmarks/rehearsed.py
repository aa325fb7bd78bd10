"""The three committed runs of `make rehearse` beside the paper: time per epoch, and for equal work.

With plain Keras as in the paper, every board trains on the whole data set, so that an epoch of two boards has twice the
images of one. What compares equal work is the time per pass over the data set, which is one over the speed-up.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from analysis.comparison.compare import compare
from analysis.comparison.paper import PAPER
from analysis.runs.columns import records
from analysis.runs.loading import load
from benchmarks.benchmark_run import PROJECT
from trainer.contract.layout import run_folders

RUNS = PROJECT / "tests" / "data" / "rehearsal"
_NAMES = {"none": "one board", "keras": "two boards, plain Keras", "local_sgd": "two boards, local SGD, period 8"}


def table() -> str:
    """A row per run, and the paper's two, in Markdown."""
    lines = [
        "| | images per epoch | s per epoch | over one board | passes per epoch | s per pass | over one board | "
        "final accuracy |",
        "|---|--:|--:|--:|--:|--:|--:|--:|",
    ]
    for rows in (_of_rehearsal(run_folders(RUNS.iterdir())), _of_paper()):
        one, one_pass_s = rows[0]["epoch_s"], rows[0]["pass_s"]
        for row in rows:
            accuracy = "not stated" if row["accuracy"] is None else f"{row['accuracy']:.3f}"
            lines.append(
                f"| {row['name']} | {row['images']:,} | {row['epoch_s']:.1f} | {row['epoch_s'] / one:.2f} | "
                f"{row['passes']:g} | {row['pass_s']:.1f} | {row['pass_s'] / one_pass_s:.2f} | {accuracy} |"
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
    train_images = dict(zip(runs.runs["run_id"], runs.runs["config.data.train_images"], strict=True))
    arms = {arm["sync"]: arm for arm in records(compare(runs).arms)}
    found = []
    for run in records(runs.runs):
        sync = "none" if run["workers"] == 1 else run["config.sync.method"]
        arm, count = arms[sync], int(images[run["run_id"]])
        found.append(
            {
                "name": _NAMES[sync],
                "images": count,
                "passes": count / train_images[run["run_id"]],
                "pass_s": train_images[run["run_id"]] / arm["images_per_s"],
                "epoch_s": arm["epoch_s"],
                "accuracy": arm["val_accuracy_final"],
            }
        )
    return found


def _of_paper() -> list[dict[str, Any]]:
    return [
        {
            "name": f"the paper: {'one board' if arm['workers'] == 1 else 'two boards, plain Keras'}",
            "images": arm["workers"] * PAPER.train_images,
            "passes": arm["workers"],
            "pass_s": PAPER.train_images / arm["images_per_s"],
            "epoch_s": arm["epoch_s"],
            "accuracy": arm["val_accuracy_final"],
        }
        for arm in PAPER.arms()
    ]
