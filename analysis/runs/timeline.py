"""Times that boards recorded, on the controller's clock, and what can be told from them.

The follow stage measures each board's clock against the controller's at the start and at the end of a run
(trainer/contract/clocks.py); between the two the offset is taken to change steadily. pandas and NumPy are imported
where they are used: most manifests need neither.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trainer.contract.layout import BOARDS, CLOCK

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class BoardClock:
    """A board's clock against the controller's."""

    board_s: Sequence[float]  # the board's times at which it was measured, ascending
    offset_s: Sequence[float]  # by how much it was ahead then
    uncertainty_s: float  # the greatest

    def on_controller(self, times: Iterable[float]) -> list[float]:
        """Times (s) of this clock as the controller's clock had them."""
        import numpy as np

        board_s = np.asarray(list(times), dtype=float)
        return list(map(float, board_s - np.interp(board_s, self.board_s, self.offset_s)))

    def to_dict(self) -> dict[str, Any]:
        return {"offset_s": list(self.offset_s), "uncertainty_s": self.uncertainty_s}


def read_clock(board_folder: Path) -> BoardClock | None:
    """The clock of the board whose folder of a run this is; None where it was not measured."""
    try:
        known = json.loads((board_folder / CLOCK).read_text(encoding="utf-8"))
        names = ("board_s", "offset_s", "uncertainty_s")
        points = sorted(tuple(float(point[name]) for name in names) for point in known.values())
    except (OSError, ValueError, KeyError, TypeError, AttributeError, OverflowError):
        return None
    if not points:
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
    """By how much boards end the epochs of one run apart: epoch, last (board), lag_s, uncertainty_s.

    lag_s: from the first board's end to the last one's; uncertainty_s: of that difference, the sum of both clocks'.
    Null where a clock was not measured.
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
    """What the clocks of one run do not allow to be told."""
    if epochs["board"].nunique() < 2:
        return
    found = lags(epochs, folder)
    unsure = found[found["uncertainty_s"] > found["lag_s"]]
    if len(unsure):
        yield (
            f"{run_id}: in {len(unsure)} of {len(found)} epochs the boards ended closer to each other "
            f"({unsure['lag_s'].median():.3f} s) than their clocks are known ({unsure['uncertainty_s'].max():.3f} s): "
            "which was last cannot be told"
        )
