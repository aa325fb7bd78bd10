"""A run's measures in one row. Pure functions from the tables of `load` to tables.

Equal work is a pass over the data set: one epoch as a single board makes it. With data.sharding whole every board goes
through all images; their copies together are one pass too, since no image is new in them. So a pass is an epoch,
whatever the sharding; images/s count each copy.

Steady state: the first epoch of a run, and of each resumed attempt, traces, warms up and fills caches, so times and
bytes are taken over all other epochs. A run without such an epoch uses the windows after the first one of each epoch
instead. Nothing is estimated: unknown values are null.
"""

from __future__ import annotations

import math

import pandas as pd

# a run's measures in the order of display; see `measure`
METRICS = [
    "step_s",
    "pass_s",
    "startup_s",
    "total_s",
    "time_to_accuracy_s",
    "images_per_s",
    "compute_share",
    "stall_share",
    "communication_share",
    "waiting_share",
    "sent_bytes_per_step",
    "val_accuracy_first",
    "val_accuracy_final",
    "loss_final",
    "energy_j",
    "energy_j_per_pass",
    "energy_to_accuracy_j",
    "mean_power_w",
    "temperature_max_c",
]
ALLOWANCE = 0.01  # of validation accuracy: the target is what one board reaches in the end, less this
_BOARD = ["run_id", "rank"]
# those that depend on the runs beside it
_BESIDE = ("time_to_accuracy_s", "energy_to_accuracy_j")


def steady(epochs: pd.DataFrame, windows: pd.DataFrame) -> pd.DataFrame:
    """The steady state of each board: run_id, rank, steps, images, seconds, stall_s, communication_s, waiting_s,
    sent_bytes, summed.

    `seconds` is the time of the steps, without validation; `stall_s` is the part in which a board waited for other
    boards or for communication. A value that any record lacks is null. Runs with a steady epoch need no windows.
    """
    later = epochs[~epochs["begins"]].rename(columns={"train_s": "seconds"})
    no_steady_epoch = ~windows["run_id"].isin(later["run_id"].unique())
    first = windows["first_step"] == 0  # epochs that begin an attempt
    rest = windows[no_steady_epoch & ~first].rename(columns={"elapsed_s": "seconds"})
    sums = ["steps", "images", "seconds", "stall_s", "communication_s", "waiting_s", "sent_bytes"]
    # if waiting was not measured, it is part of communication
    parts = [
        part.assign(stall_s=part["communication_s"] + part["waiting_s"].astype(float).fillna(0.0))
        for part in (later, rest)
        if not part.empty
    ]
    records = pd.concat([part[_BOARD + sums] for part in parts]) if parts else later.reindex(columns=_BOARD + sums)
    records = records[records["steps"] > 0]  # a worker that has ended makes none
    return records.groupby(_BOARD)[sums].sum(skipna=False).reset_index()


def measure(runs: pd.DataFrame, boards: pd.DataFrame, epochs: pd.DataFrame, windows: pd.DataFrame) -> pd.DataFrame:
    """One row per run of `runs`: run_id and METRICS but those that depend on the runs beside it (see `reached`).

    step_s: seconds per step, steady, mean over the boards.
    pass_s: seconds per pass over the data set, which is an epoch with its validation; mean over the epochs but the
        first and over the boards. Where no run of the table has a steady epoch, the time of an epoch's steady steps,
        without validation.
    startup_s: seconds from the start of a board's process until it is ready for its first step, on the slowest board.
        Keras traces after that, in its first epoch, the kit's own methods before.
    total_s: seconds from the start of the boards' processes to the end of the last epoch, start-up, tracing and
        validation included, on the slowest board; null where a board lacks it.
    images_per_s: images of all boards together in a second of training, steady, each board's copy counted; null where
        a board left no records.
    stall_share: fraction (0 to 1) of the steps' time in which a board waited for other boards or for communication,
        steady, mean over the boards; communication_share and waiting_share are its parts, of which waiting is null
        where it was not measured by itself (then communication includes it); compute_share is the rest: computing,
        reading images, the framework.
    sent_bytes_per_step: bytes that a board sends per step, steady, mean over the boards.
    val_accuracy_first, val_accuracy_final: validation accuracy (0 to 1) after epoch 1 and after the
        last epoch of the configuration, as the chief saw it.
    loss_final: training loss of the last epoch, as the chief saw it.
    Of a run that lost boards, what a step, a pass and a second of training took is null: it is of different numbers of
    boards. Its times to an epoch are whole, with those without training.
    energy_j, mean_power_w: of all boards together, from the first step to the end of the last epoch;
        energy_j_per_pass: the former by the epochs; temperature_max_c: of the hottest board. Null where a board lacks
        it. See `analysis.runs.energy`.
    """
    epochs = epochs[epochs["run_id"].isin(runs["run_id"])]
    by_board = steady(epochs, windows)
    per_board = pd.DataFrame(
        {
            "run_id": by_board["run_id"],
            "step_s": by_board["seconds"] / by_board["steps"],
            "images_per_s": by_board["images"] / by_board["seconds"],
            "stall_share": by_board["stall_s"] / by_board["seconds"],
            "communication_share": by_board["communication_s"] / by_board["seconds"],
            "waiting_share": by_board["waiting_s"] / by_board["seconds"],
            "sent_bytes_per_step": by_board["sent_bytes"] / by_board["steps"],
        }
    ).groupby("run_id")
    measured = runs[["run_id", "computing", "steadfast", "config.epochs"]].set_index("run_id")
    means = per_board.mean(skipna=False).reindex(measured.index)
    undisturbed = measured["steadfast"] == measured["computing"]
    measured[means.columns] = means.where(undisturbed)  # else they are not of one set of boards
    measured["compute_share"] = 1 - measured["stall_share"]
    complete = (per_board.size().reindex(measured.index) == measured["computing"]) & undisturbed
    together = per_board["images_per_s"].sum(skipna=False).reindex(measured.index)
    measured["images_per_s"] = together.where(complete)
    own = boards.groupby("run_id")
    measured["startup_s"] = own["startup_s"].max().where(own["startup_s"].count() == own.size())
    measured["pass_s"] = _pass_s(epochs, measured["step_s"]).where(undisturbed)
    chief = epochs[epochs["rank"] == 0].set_index("run_id")
    first = chief[chief["epoch"] == 1]
    final = chief[chief["epoch"] == measured["config.epochs"].reindex(chief.index)]
    measured["val_accuracy_first"] = first["val_accuracy"]
    measured["val_accuracy_final"] = final["val_accuracy"]
    measured["loss_final"] = final["loss"]
    at = _ends(epochs)
    last = at[at["epoch"] == measured["config.epochs"].reindex(at["run_id"]).to_numpy()].set_index("run_id")
    measured["total_s"] = last["elapsed_s"]
    measured = measured.join(_costs(boards, epochs))
    return measured[[name for name in METRICS if name not in _BESIDE]].reset_index()


def target_of(finals: pd.Series[float]) -> float:
    """The accuracy whose time is measured: the final one of one board's runs, on average, less a point.

    It follows from one board, so that an arm that learns less does not lower it. NaN where that is not above 0.
    """
    target = float(finals.mean(skipna=False)) - ALLOWANCE
    return target if 0 < target < math.inf else math.nan


def reached(epochs: pd.DataFrame, target: float) -> pd.DataFrame:
    """The first epoch by run_id after which the chief's validation accuracy was `target` or more: epoch, elapsed_s.

    elapsed_s: from the start of the boards' processes to that epoch's end, on the slowest board, with start-up, tracing
    and validation: the same for every method; null where a board lacks it. Accuracy is known at the ends of epochs
    only, so nothing is read off between them. A run that never reached the target is left out; its `total_s` says how
    long it tried. `epochs`: run_id, rank, epoch, val_accuracy, elapsed_s, together (see
    `analysis.runs.loading.Runs`).
    """
    chief = epochs[(epochs["rank"] == 0) & (epochs["val_accuracy"] >= target)]
    first = chief.groupby("run_id")["epoch"].min().rename("epoch").reset_index()
    return first.merge(_ends(epochs), on=["run_id", "epoch"]).set_index("run_id")


def energy_until(boards: pd.DataFrame, epoch: pd.Series[int]) -> pd.Series[float]:
    """Joules by run_id of all boards together, from the start of their processes to the end of an epoch (by run_id).

    Null where a board lacks it; see `analysis.runs.energy`.
    """
    ends = boards["run_id"].map(epoch)
    joules = [
        found[int(end) - 1] if isinstance(found, list) and not math.isnan(end) and end <= len(found) else math.nan
        for found, end in zip(boards["cost.energy_by_epoch_j"], ends.astype(float), strict=True)
    ]
    return pd.Series(joules, index=boards.index, dtype=float).groupby(boards["run_id"]).sum(min_count=1, skipna=False)


def _ends(epochs: pd.DataFrame) -> pd.DataFrame:
    """run_id, epoch, elapsed_s of the slowest board; null where a board lacks it."""
    of_boards = epochs.groupby(["run_id", "epoch"])["elapsed_s"]
    together = epochs.groupby(["run_id", "epoch"])["together"].max()
    table = pd.DataFrame({"elapsed_s": of_boards.max(), "whole": of_boards.count() == together}).reset_index()
    whole = table["whole"]
    return table.assign(elapsed_s=table["elapsed_s"].where(whole))[["run_id", "epoch", "elapsed_s"]]


def _costs(boards: pd.DataFrame, epochs: pd.DataFrame) -> pd.DataFrame:
    costs = boards[["cost.energy_j", "cost.mean_power_mw", "cost.temperature_max_c"]].astype("float64")
    by_run = costs.groupby(boards["run_id"])
    energy_j = by_run["cost.energy_j"].sum(skipna=False)
    return pd.DataFrame(
        {
            "energy_j": energy_j,
            "energy_j_per_pass": energy_j / epochs.groupby("run_id")["epoch"].nunique(),
            "mean_power_w": by_run["cost.mean_power_mw"].sum(skipna=False) / 1000,
            "temperature_max_c": by_run["cost.temperature_max_c"].max(skipna=False),
        }
    )


def _pass_s(epochs: pd.DataFrame, step_s: pd.Series[float]) -> pd.Series[float]:
    later = epochs[~epochs["begins"]]
    if later.empty:
        return step_s * epochs.groupby("run_id")["steps"].max()
    per_board = later.groupby(_BOARD)["epoch_s"].mean(skipna=False)
    return per_board.groupby("run_id").mean(skipna=False)
