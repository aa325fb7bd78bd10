"""What the rehearsal has shown: a table of its runs, and a sentence."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd
from rich.table import Table

from analysis.comparison.paper import PAPER
from analysis.runs.loading import Runs, load
from controller.rehearsal.arms import FAST, ONE_BOARD, PAPERS, SHARED, Arm

_BOARD = ["run_id", "rank"]


def outcome(arms: Sequence[Arm]) -> tuple[Table, str]:
    """A table with a row for each arm's run, and a sentence that answers the question. The first arm is one board."""
    folders = [arm.run for arm in arms if arm.run is not None]
    found = measured(load(folders)).loc[[folder.name for folder in folders]].reset_index(drop=True)
    base = found.iloc[0]
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    for heading in ("", "an\nepoch", "x one\nboard", "final\naccuracy", "start,\ntracing", "in\nall"):
        table.add_column(heading, justify="right" if heading else "left", no_wrap=True)
    for arm, (_, run) in zip(arms, found.iterrows(), strict=True):
        table.add_row(
            arm.title,
            f"{run['epoch_s']:.1f} s",
            f"{run['epoch_s'] / base['epoch_s']:.2f}",
            f"{run['accuracy']:.3f}",
            f"{run['start_s']:.0f} s",
            f"{run['total_s']:.0f} s",
        )
    return table, sentences({arm.slot.arm: run for arm, (_, run) in zip(arms, found.iterrows(), strict=True)})


def sentences(found: Mapping[str, Any]) -> str:
    """Whether two boards are worth it, from `measured` by arm."""
    base, told = found[ONE_BOARD], []
    if PAPERS in found:
        longer, paper = found[PAPERS]["epoch_s"] / base["epoch_s"], PAPER.arms()[1]["pass_ratio"]
        told.append(
            f"Two boards as in the paper take {longer:.2f} times as long for an epoch as one board (the "
            f"paper: {paper:.2f})."
        )
    if SHARED in found:
        told.append(f"Sharing the images out they take {found[SHARED]['epoch_s'] / base['epoch_s']:.2f} times as long.")
    if FAST in found:
        fast = found[FAST]
        points = 100 * (fast["accuracy"] - base["accuracy"])
        told.append(
            f"The fast way takes {fast['epoch_s'] / base['epoch_s']:.2f} times as long: it is "
            f"{base['epoch_s'] / fast['epoch_s']:.2f} times as fast as one board. Its final accuracy is "
            f"{fast['accuracy']:.3f}, one board's {base['accuracy']:.3f} ({points:+.1f} points)."
        )
    return " ".join([*told, "One run each, on emulated boards with generated images."])


def measured(runs: Runs) -> pd.DataFrame:
    """By run_id: epoch_s, the mean of all epochs with their validation, without tracing; accuracy, the final one;
    start_s, the seconds before the first step and those of tracing; total_s, all of it.

    TensorFlow traces in the first window of steps, in one that is longer than the others of its epoch: that is what it
    takes more than they, by the median. Means over the boards; the last two of the slowest board.
    """
    epochs = runs.epochs.merge(_tracing(runs.windows), on=_BOARD, how="left")
    per_board = epochs.groupby(_BOARD).agg(
        seconds=("epoch_s", "sum"),
        tracing=("tracing_s", "first"),
        count=("epoch", "count"),
        total_s=("elapsed_s", "max"),
    )
    per_board["epoch_s"] = (per_board["seconds"] - per_board["tracing"]) / per_board["count"]
    per_board["start_s"] = per_board["total_s"] - per_board["seconds"] + per_board["tracing"]
    by_run = per_board.groupby("run_id")
    chief = runs.epochs[runs.epochs["rank"] == 0].sort_values("epoch").groupby("run_id")
    return pd.DataFrame(
        {
            "epoch_s": by_run["epoch_s"].mean(),
            "accuracy": chief["val_accuracy"].last(),
            "start_s": by_run["start_s"].max(),
            "total_s": by_run["total_s"].max(),
        }
    )


def _tracing(windows: pd.DataFrame) -> pd.DataFrame:
    """run_id, rank, tracing_s of each board."""
    first = windows[windows["epoch"] == 1].assign(step_s=lambda it: it["elapsed_s"] / it["steps"])
    usual = first[first["first_step"] > 0].groupby(_BOARD)["step_s"].median().rename("usual_s")
    begin = first[first["first_step"] == 0].merge(usual.reset_index(), on=_BOARD)
    begin["tracing_s"] = (begin["elapsed_s"] - begin["steps"] * begin["usual_s"]).clip(lower=0.0)
    return begin[[*_BOARD, "tracing_s"]]
