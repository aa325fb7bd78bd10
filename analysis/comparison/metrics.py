"""A run's measures in one row. Pure functions from the tables of `load` to tables.

Steady state: the first epoch of a run, and of each resumed attempt, traces, warms up and fills caches, so times and
bytes are taken over all other epochs. A run without such an epoch uses the windows after the first one of each epoch
instead, and its `epoch_s` is null. Nothing is estimated: unknown values are null.
"""

from __future__ import annotations

import pandas as pd

# a run's measures in the order of display; see `measure`
METRICS = [
    "step_s",
    "epoch_s",
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
    "energy_j_per_image",
    "mean_power_w",
    "temperature_max_c",
]
_BOARD = ["run_id", "rank"]


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
    return records.groupby(_BOARD)[sums].sum(skipna=False).reset_index()


def measure(runs: pd.DataFrame, boards: pd.DataFrame, epochs: pd.DataFrame, windows: pd.DataFrame) -> pd.DataFrame:
    """One row per run of `runs`: run_id and METRICS but time_to_accuracy_s, which depends on the runs beside it.

    step_s: seconds per step, steady, mean over the boards.
    epoch_s: seconds per epoch with its validation; mean over the epochs but the first and over the boards.
    total_s: seconds of all epochs with their validation, the first one included, as the chief saw them; null where
        one is missing.
    images_per_s: images of all boards together in a second of training, steady; null where a board
        left no records.
    stall_share: fraction (0 to 1) of the steps' time in which a board waited for other boards or for communication,
        steady, mean over the boards; communication_share and waiting_share are its parts, of which waiting is null
        where it was not measured by itself (then communication includes it); compute_share is the rest: computing,
        reading images, the framework.
    sent_bytes_per_step: bytes that a board sends per step, steady, mean over the boards.
    val_accuracy_first, val_accuracy_final: validation accuracy (0 to 1) after epoch 1 and after the
        last epoch of the configuration, as the chief saw it.
    loss_final: training loss of the last epoch, as the chief saw it.
    energy_j, mean_power_w: of all boards together, from the first step to the end of the last epoch;
        energy_j_per_image: the former by the images of all boards and epochs; temperature_max_c: of the hottest
        board. Null where a board lacks it. See `analysis.runs.energy`.
    """
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
    measured = runs[["run_id", "workers", "config.epochs"]].set_index("run_id")
    means = per_board.mean(skipna=False).reindex(measured.index)
    measured[means.columns] = means
    measured["compute_share"] = 1 - measured["stall_share"]
    complete = per_board.size().reindex(measured.index) == measured["workers"]
    together = per_board["images_per_s"].sum(skipna=False).reindex(measured.index)
    measured["images_per_s"] = together.where(complete)
    measured["epoch_s"] = _epoch_s(epochs)
    chief = epochs[epochs["rank"] == 0].set_index("run_id")
    first = chief[chief["epoch"] == 1]
    final = chief[chief["epoch"] == measured["config.epochs"].reindex(chief.index)]
    measured["val_accuracy_first"] = first["val_accuracy"]
    measured["val_accuracy_final"] = final["val_accuracy"]
    measured["loss_final"] = final["loss"]
    trained = chief["epoch_s"].groupby("run_id")
    recorded = trained.size().reindex(measured.index)
    measured["total_s"] = trained.sum(skipna=False).where(recorded == measured["config.epochs"])
    measured = measured.join(_costs(boards, epochs))
    return measured[[name for name in METRICS if name != "time_to_accuracy_s"]].reset_index()


def time_to_accuracy_s(epochs: pd.DataFrame, target: float) -> pd.Series[float]:
    """Seconds by run_id of all epochs with their validation until the chief's accuracy first reached `target`.

    Epochs count as a whole, the first one with its tracing. A run that never reached the target is left out; a run with
    an epoch that was not timed is null.
    """
    chief = epochs[epochs["rank"] == 0].sort_values(["run_id", "epoch"])
    at = chief.assign(elapsed_s=chief.groupby("run_id")["epoch_s"].cumsum(skipna=False))
    # an epoch without a record also took time
    whole = chief.groupby("run_id").cumcount() + 1 == chief["epoch"]
    reached = at[chief["val_accuracy"] >= target].drop_duplicates("run_id")
    return reached[whole.reindex(reached.index)].set_index("run_id")["elapsed_s"]


def _costs(boards: pd.DataFrame, epochs: pd.DataFrame) -> pd.DataFrame:
    costs = boards[["cost.energy_j", "cost.mean_power_mw", "cost.temperature_max_c"]].astype("float64")
    by_run = costs.groupby(boards["run_id"])
    energy_j = by_run["cost.energy_j"].sum(skipna=False)
    return pd.DataFrame(
        {
            "energy_j": energy_j,
            "energy_j_per_image": energy_j / epochs.groupby("run_id")["images"].sum(skipna=False),
            "mean_power_w": by_run["cost.mean_power_mw"].sum(skipna=False) / 1000,
            "temperature_max_c": by_run["cost.temperature_max_c"].max(skipna=False),
        }
    )


def _epoch_s(epochs: pd.DataFrame) -> pd.Series[float]:
    later = epochs[~epochs["begins"]]
    per_board = later.groupby(_BOARD)["epoch_s"].mean(skipna=False)
    return per_board.groupby("run_id").mean(skipna=False)
