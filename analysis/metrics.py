"""What a run measured, in one row. Pure functions from the tables of `load` to tables.

Steady state: the first epoch of a run, and of an attempt to go on with it, traces, warms up and fills caches, so times
and bytes are taken over all other epochs. A run of one epoch has no such epoch; its windows but the first one
serve instead, and `epoch_s` stays null. Nothing is estimated: what a run cannot tell is null.
"""

from __future__ import annotations

import pandas as pd

# a run's measures, in the order in which they are shown; see `measure`
METRICS = [
    "step_s",
    "epoch_s",
    "images_per_s",
    "agreeing_share",
    "sent_bytes_per_step",
    "val_accuracy_first",
    "val_accuracy_final",
    "loss_final",
]
_BOARD = ["run_id", "rank"]


def steady(epochs: pd.DataFrame, windows: pd.DataFrame) -> pd.DataFrame:
    """The steady state of each board: run_id, rank, steps, images, seconds, agreeing_s, sent_bytes, summed.

    `seconds` is the time of the steps, without validation; `agreeing_s` the part of it in which a board stood still
    for other boards or for bytes. A value that one of the records lacks is null.
    """
    later = epochs[~epochs["begins"]].rename(columns={"train_s": "seconds"})
    one_epoch = ~windows["run_id"].isin(later["run_id"])
    first = (windows["epoch"] == 1) & (windows["first_step"] == 0)
    rest = windows[one_epoch & ~first].rename(columns={"elapsed_s": "seconds"})
    sums = ["steps", "images", "seconds", "agreeing_s", "sent_bytes"]
    # where waiting was not measured by itself it is part of communication
    parts = [
        part.assign(agreeing_s=part["communication_s"] + part["waiting_s"].astype(float).fillna(0.0))
        for part in (later, rest)
        if not part.empty
    ]
    records = pd.concat([part[_BOARD + sums] for part in parts]) if parts else later.reindex(columns=_BOARD + sums)
    return records.groupby(_BOARD)[sums].sum(skipna=False).reset_index()


def measure(runs: pd.DataFrame, epochs: pd.DataFrame, windows: pd.DataFrame) -> pd.DataFrame:
    """One row per run of `runs`: run_id and METRICS.

    step_s: seconds a step takes, steady, mean over the boards.
    epoch_s: seconds an epoch takes with its validation; mean of the epochs but the first and of the
        boards.
    images_per_s: images of all boards together in a second of training, steady; null where a board
        left no records.
    agreeing_share: share (0 to 1) of the steps' time in which a board stood still for other boards or for bytes,
        steady, mean over the boards.
    sent_bytes_per_step: bytes a board sends in a step, steady, mean over the boards.
    val_accuracy_first, val_accuracy_final: validation accuracy (0 to 1) after epoch 1 and after the
        last epoch of the configuration, as the chief saw it.
    loss_final: training loss of the last epoch, as the chief saw it.
    """
    boards = steady(epochs, windows)
    per_board = pd.DataFrame(
        {
            "run_id": boards["run_id"],
            "step_s": boards["seconds"] / boards["steps"],
            "images_per_s": boards["images"] / boards["seconds"],
            "agreeing_share": boards["agreeing_s"] / boards["seconds"],
            "sent_bytes_per_step": boards["sent_bytes"] / boards["steps"],
        }
    ).groupby("run_id")
    measured = runs[["run_id", "workers", "config.epochs"]].set_index("run_id")
    complete = per_board.size().reindex(measured.index) == measured["workers"]
    together = per_board["images_per_s"].sum(skipna=False).reindex(measured.index)
    measured["step_s"] = per_board["step_s"].mean(skipna=False)
    measured["epoch_s"] = _epoch_s(epochs)
    measured["images_per_s"] = together.where(complete)
    measured["agreeing_share"] = per_board["agreeing_share"].mean(skipna=False)
    measured["sent_bytes_per_step"] = per_board["sent_bytes_per_step"].mean(skipna=False)
    chief = epochs[epochs["rank"] == 0]
    first = chief[chief["epoch"] == 1].set_index("run_id")
    final = chief.set_index("run_id")
    final = final[final["epoch"] == measured["config.epochs"].reindex(final.index)]
    measured["val_accuracy_first"] = first["val_accuracy"]
    measured["val_accuracy_final"] = final["val_accuracy"]
    measured["loss_final"] = final["loss"]
    return measured[METRICS].reset_index()


def _epoch_s(epochs: pd.DataFrame) -> pd.Series[float]:
    later = epochs[~epochs["begins"]]
    per_board = later.groupby(_BOARD)["epoch_s"].mean(skipna=False)
    return per_board.groupby("run_id").mean(skipna=False)
