"""Runs -> arms: which runs repeat each other, and what they measured on average."""

from __future__ import annotations

import math
from dataclasses import asdict
from typing import Any

import pandas as pd

from analysis.metrics import METRICS
from trainer.config import Sync

# what makes an arm, besides the way itself; a timeout does not
_DEFAULTS = {name: value for name, value in asdict(Sync()).items() if name not in ("way", "one_board", "timeout_s")}
_ARM = ["workers", "sync", "label"]


def with_arms(runs: pd.DataFrame) -> pd.DataFrame:
    """`runs` with three columns that say which arm a run belongs to.

    sync: how the boards agree; none for a board that trains without a distribution strategy.
    sharding: whole or sharded, config.data.sharding.
    label: sync, and what sets the arm apart from the paper's way: sharded images, and the fields
        of config.sync that are not at their defaults. `implementation` is named only where runs
        differ in it: it is what was asked for, and without GPUs all of them are the same ring.
    """
    alone = (runs["workers"] == 1) & (runs["config.sync.one_board"] == "plain")
    runs = runs.assign(
        sync=runs["config.sync.way"].mask(alone, "none"),
        sharding=runs["config.data.sharding"],
    )
    runs["label"] = runs["sync"]
    runs["label"] += ((runs["workers"] > 1) & (runs["sharding"] == "sharded")).map({True: ", sharded", False: ""})
    for field, default in _DEFAULTS.items():
        values = runs[f"config.sync.{field}"].map(shown, na_action=None)
        odd = ~alone & (values != shown(default))
        if field != "implementation" or values[~alone].nunique() > 1:
            runs.loc[odd, "label"] += f", {field}=" + values[odd]
    return runs


def summarise(runs: pd.DataFrame) -> pd.DataFrame:
    """One row per arm, by workers, sync and label, from runs that have their arm and METRICS.

    sharding; runs: how many; run_ids; each of METRICS: mean over the runs, null where one of them
    lacks it; NAME_std: its sample standard deviation, null for one run; speedup: images_per_s over
    that of one board; epoch_ratio, step_ratio: epoch_s, step_s over that of one board; all three
    null without a run on one board. "One board" is the one without a distribution strategy where
    there is one.
    """
    groups = runs.groupby(_ARM)
    arms = pd.concat(
        [
            groups["sharding"].first(),
            groups.size().rename("runs"),
            groups["run_id"].agg(list).rename("run_ids"),
            groups[METRICS].mean(skipna=False),
            groups[METRICS].std(skipna=False).add_suffix("_std"),
        ],
        axis="columns",
    ).reset_index()
    base = one_board(arms)
    for ratio, metric in (
        ("speedup", "images_per_s"),
        ("epoch_ratio", "epoch_s"),
        ("step_ratio", "step_s"),
    ):
        arms[ratio] = arms[metric] / (math.nan if base is None else base[metric])
    return arms


def one_board(arms: pd.DataFrame) -> pd.Series[Any] | None:
    """The arm that the others are measured against, or None without a run on one board."""
    alone = arms[arms["workers"] == 1]
    if alone.empty:
        return None
    plain = alone[alone["sync"] == "none"]
    return (alone if plain.empty else plain).iloc[0]


def arm_name(workers: int, label: str) -> str:
    """Such as '2 boards, keras'."""
    boards = f"{workers} board{'s' if workers > 1 else ''}"
    return boards if label == "none" else f"{boards}, {label}"


def records(table: pd.DataFrame) -> list[dict[str, Any]]:
    """The rows of a table by the names of its columns, which are text."""
    return [{str(name): value for name, value in row.items()} for row in table.to_dict("records")]


def shown(value: object) -> str:
    """A configuration's value or a fact as the user writes it."""
    if value is None or value is pd.NA or (isinstance(value, float) and math.isnan(value)):
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    # a column of whole numbers with a null in it is a column of floats
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)
