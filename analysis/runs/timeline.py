"""Converts boards' times to the controller's clock.

The follow stage measures each board's clock against the controller's at the start and at the end of a run
(trainer/contract/clocks.py); in between the offset is interpolated linearly. pandas and NumPy are imported at their
use: most manifests need neither.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trainer.contract.layout import BOARDS, CLOCK
from trainer.contract.reading import is_number, read

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class BoardClock:
    """A board's clock relative to the controller's."""

    board_s: Sequence[float]  # the board's times of the measurements, ascending
    offset_s: Sequence[float]  # seconds by which it was ahead
    uncertainty_s: float  # the maximum

    def on_controller(self, times: Iterable[float]) -> list[float]:
        """Times (s) of this clock on the controller's clock."""
        import numpy as np

        board_s = np.asarray(list(times), dtype=float)
        return list(map(float, board_s - np.interp(board_s, self.board_s, self.offset_s)))

    def to_dict(self) -> dict[str, Any]:
        return {"offset_s": list(self.offset_s), "uncertainty_s": self.uncertainty_s}


def read_clock(board_folder: Path) -> BoardClock | None:
    """The clock of the board with this run folder; None if it was not measured."""
    try:
        measured = read(board_folder / CLOCK)
        names = ("board_s", "offset_s", "uncertainty_s")
        points = sorted(tuple(float(point[name]) for name in names) for point in measured.values())
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
    if not points or not all(map(is_number, itertools.chain(*points))):
        return None
    board_s, offset_s, uncertainty_s = zip(*points, strict=True)
    return BoardClock(board_s, offset_s, max(uncertainty_s))


def on_controllers_clock(table: pd.DataFrame, folder: Path) -> pd.DataFrame:
    """Records of one run (board, time_s) with two columns more: controller_s, uncertainty_s; null without a clock."""
    merged = table.assign(controller_s=math.nan, uncertainty_s=math.nan)
    for board in merged["board"].unique():
        clock = read_clock(folder / BOARDS / board)
        if clock:
            own = merged["board"] == board
            merged.loc[own, "controller_s"] = clock.on_controller(merged.loc[own, "time_s"])
            merged.loc[own, "uncertainty_s"] = clock.uncertainty_s
    return merged.sort_values("controller_s", kind="stable").reset_index(drop=True)


def lags(epochs: pd.DataFrame, folder: Path) -> pd.DataFrame:
    """Differences between boards' ends of epochs in a run: epoch, last (board), lag_s, uncertainty_s.

    lag_s: from the first board's end to the last one's; uncertainty_s: of that difference, the sum of both clocks'.
    Null if a clock was not measured.
    """
    import pandas as pd

    merged = on_controllers_clock(epochs, folder)
    known = merged.dropna(subset="controller_s").groupby("epoch")
    first, last = merged.loc[known["controller_s"].idxmin()], merged.loc[known["controller_s"].idxmax()]
    table = pd.DataFrame(
        {
            "epoch": last["epoch"].to_numpy(),
            "last": last["board"].to_numpy(),
            "lag_s": last["controller_s"].to_numpy() - first["controller_s"].to_numpy(),
            "uncertainty_s": last["uncertainty_s"].to_numpy() + first["uncertainty_s"].to_numpy(),
        }
    )
    complete = known.size().reindex(table["epoch"]).to_numpy() == epochs["board"].nunique()
    table.loc[~complete, ["last", "lag_s", "uncertainty_s"]] = None
    return table


def warnings(run_id: str, epochs: pd.DataFrame, folder: Path) -> Iterator[str]:
    """What cannot be concluded from a run's clocks, a sentence each."""
    if epochs["board"].nunique() < 2:
        return
    found = lags(epochs, folder)
    unsure = found[found["uncertainty_s"] > found["lag_s"]]
    if len(unsure):
        yield (
            f"{run_id}: in {len(unsure)} of {len(found)} epochs the boards ended {unsure['lag_s'].median():.3f} s "
            f"apart, less than the uncertainty of their clocks ({unsure['uncertainty_s'].max():.3f} s): "
            "the last board is unknown"
        )
