"""The results of a trial (trainer/measure/trial.py): a row for each method and cycle, over all boards."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import pandas as pd

from trainer.contract.events import ONE_BOARD, Trial

_PER_STEP = {
    "elapsed_s": "step_s",
    "communication_s": "communication_s",
    "waiting_s": "waiting_s",
    "overlapped_s": "overlapped_s",
    "sent_bytes": "sent_bytes_per_step",
    "payload_bytes": "payload_bytes_per_step",
}


def turns(records: Iterable[Mapping[str, Any]], workers: int) -> pd.DataFrame:
    """A row for each method and cycle, from the trial records of all boards.

    sync: its name; boards: that trained; cycle; images_per_s: of all boards; step_s, communication_s, waiting_s,
    overlapped_s, sent_bytes_per_step, payload_bytes_per_step: means per step over the boards that trained; waiting_s is
    null if it was not measured.
    """
    table = pd.DataFrame([record for record in records if record["event"] == Trial.KIND])
    rows = []
    for (sync, cycle), of_boards in table.groupby(["sync", "cycle"], sort=False):
        training = of_boards[of_boards["images"] > 0]
        mean = training[list(_PER_STEP)].astype(float).mean(skipna=False) / int(training["steps"].iloc[0])
        rows.append(
            {
                "sync": sync,
                "boards": 1 if sync == ONE_BOARD else workers,
                "cycle": cycle,
                "images_per_s": float((training["images"] / training["elapsed_s"]).sum()),
                **{column: float(mean[name]) for name, column in _PER_STEP.items()},
            }
        )
    return pd.DataFrame(rows)
