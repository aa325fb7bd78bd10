"""Finds boards that compute slower than the others, which wait for them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pandas as pd

from analysis.comparison.arms import arm_name
from trainer.contract.methods import METHODS

_MUCH = 1.1  # times the fastest board's time


def computing(epochs: pd.DataFrame) -> pd.DataFrame:
    """Computing time per steady epoch: run_id, board, rank, epoch, steps, images, compute_s (per step).

    compute_s: the step's time without communication and waiting; null if communication was not measured. If waiting was
    not measured, it is part of communication.
    """
    steady = epochs[~epochs["begins"]]
    stall_s = steady["communication_s"] + steady["waiting_s"].astype(float).fillna(0.0)
    columns = ["run_id", "board", "rank", "epoch", "steps", "images"]
    return steady[columns].assign(compute_s=(steady["train_s"] - stall_s) / steady["steps"])


def by_board(steps: pd.DataFrame) -> pd.DataFrame:
    """Means of `computing` over the epochs of each run and board."""
    columns = ["steps", "images", "compute_s"]
    return steps.groupby(["run_id", "rank", "board"])[columns].mean(skipna=False).reset_index()


def warnings(runs: pd.DataFrame, epochs: pd.DataFrame) -> Iterator[str]:
    """A sentence for each arm in which a board computes much longer than the fastest one.

    `runs` have their arms (`arms.with_arms`). The loss is relative to images shared so that all boards compute equally
    long: then a step takes its images over the sum of the boards' speeds.
    """
    means = by_board(computing(epochs))
    # with measured speeds a slower board's steps take longer, and it makes fewer
    alike = runs[(runs["workers"] > 1) & (runs["sharding"] != "measured")]
    for _, arm in alike.groupby(["workers", "label"], sort=False):
        own = means[means["run_id"].isin(arm["run_id"])]
        boards = own.groupby("board")[["steps", "images", "compute_s"]].mean()
        if len(boards) > 1 and boards["compute_s"].max() > _MUCH * boards["compute_s"].min():
            yield _warning(arm.iloc[0], boards)


def _warning(arm: pd.Series[Any], boards: pd.DataFrame) -> str:
    slow, fast = str(boards["compute_s"].idxmax()), str(boards["compute_s"].idxmin())
    longer = 100 * (boards["compute_s"].max() / boards["compute_s"].min() - 1)
    batches: pd.Series[Any] = boards["images"] / boards["steps"]
    speeds: pd.Series[Any] = batches / boards["compute_s"]
    lost_s = boards["steps"].mean() * (boards["compute_s"].max() - batches.sum() / speeds.sum())
    speed = speeds[slow] / speeds.max()
    remedy = f"give {slow} relative_speed {speed:.2f} in the inventory"
    if METHODS[arm["sync"]].local_steps:
        remedy = "set data.sharding to measured"
    elif arm["sharding"] != "proportional":
        remedy += ", and data.sharding proportional"
    if not METHODS[arm["sync"]].own_loop:
        remedy += f" (with another sync.method than {arm['sync']}, whose batches are all of the same size)"
    return (
        f"{arm_name(arm['workers'], arm['label'])}: {slow} computes {longer:.0f} % longer per step than {fast}, which "
        f"makes an epoch {lost_s:.2f} s longer than with images in proportion to speed: {remedy}"
    )
