"""Power and temperature over time, from the boards' samples: the first run of each arm, a line per board."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from analysis.comparison.compare import Comparison
from analysis.report.plots.style import DASHES, INK, arms, as_svg, canvas, name, wrapped
from analysis.runs.energy import module_power_w
from analysis.runs.timeline import on_controllers_clock
from trainer.contract.layout import BOARDS, TELEMETRY
from trainer.contract.records import read_records

_POINTS = 150  # points per line: samples in between are averaged to keep pages of long runs small
_NAME = 58  # characters of a line of an arm's name
_MEASURES = ["power_w", "temperature_c"]


def has_power(comparison: Comparison) -> bool:
    """Whether a displayed run has power, according to its manifest, without reading all samples."""
    return _has(comparison, "cost.mean_power_mw")


def has_temperature(comparison: Comparison) -> bool:
    """Whether a displayed run has temperatures, according to its manifest."""
    return _has(comparison, "cost.temperature_max_c")


def power_over_time(comparison: Comparison) -> str:
    """A panel per arm; minutes since the first sample, on the controller's clock if it is known."""
    return _panels(comparison, "power_w", "power", "Power of each board's module", "watts")


def temperature_over_time(comparison: Comparison) -> str:
    """Temperature over time of each board's hottest sensor."""
    return _panels(comparison, "temperature_c", "temperature", "Temperature of each board", "hottest [°C]")


def over_time(comparison: Comparison, run: dict[str, Any]) -> pd.DataFrame:
    """A run's samples: board, minutes, power_w (of the module), temperature_c (of the hottest sensor); null: no sensor.

    At most _POINTS per board: mean power and maximum temperature over equal intervals.
    """
    folder = Path(run["folder"])
    boards = comparison.boards.loc[comparison.boards["run_id"] == run["run_id"], "board"]
    rows = [row for board in boards for row in _samples(board, folder / BOARDS / board / TELEMETRY)]
    numbers = ["time_s", *_MEASURES]
    table = pd.DataFrame(rows, columns=["board", *numbers]).astype(dict.fromkeys(numbers, float))
    table = on_controllers_clock(table, folder)
    # a board whose offset was not measured keeps its own clock
    seconds = table["controller_s"].fillna(table["time_s"])
    span_s = max(seconds.max() - seconds.min(), 1.0) if len(table) else 1.0
    place = np.minimum(((seconds - seconds.min()) / span_s * _POINTS).astype(int), _POINTS - 1)
    means = table.assign(minutes=(seconds - seconds.min()) / 60).groupby(["board", place])
    return means.agg({"minutes": "mean", "power_w": "mean", "temperature_c": "max"}).reset_index("board")


def _samples(board: str, path: Path) -> Iterator[dict[str, Any]]:
    samples = read_records(path)[0] if path.is_file() else []
    for sample, watts in zip(samples, module_power_w(samples), strict=True):
        hottest = max((sample["temperature_c"] or {}).values(), default=None)
        yield {"board": board, "time_s": sample["time_s"], "power_w": watts, "temperature_c": hottest}


def _has(comparison: Comparison, cost: str) -> bool:
    folders = {run["run_id"]: Path(run["folder"]) for run in _shown(comparison)}
    boards = comparison.boards[comparison.boards["run_id"].isin(list(folders))]
    names = boards[["run_id", "board"]].itertuples(index=False)
    sampled = any((folders[run_id] / BOARDS / board / TELEMETRY).is_file() for run_id, board in names)
    return sampled and bool(boards[cost].notna().any())


def _panels(comparison: Comparison, measure: str, prefix: str, title: str, unit: str) -> str:
    found = [
        (arm, colour, over_time(comparison, run))
        for (arm, colour, _), run in zip(arms(comparison), _shown(comparison), strict=True)
    ]
    found = [(arm, colour, samples) for arm, colour, samples in found if samples[measure].notna().any()]
    rows = max(len(found), 1)  # an empty panel without a readable sample
    figure = canvas(comparison, title, 0.6 + 1.7 * rows)
    panels = figure.subplots(rows, 1, squeeze=False)[:, 0]
    for axes, (arm, colour, samples) in zip(panels, found, strict=False):
        axes.set_title(wrapped(name(arm), _NAME), loc="left", fontsize=9.5)
        for place, (board, own) in enumerate(samples.groupby("board")):
            # paler lines if there are more boards than dash styles
            alpha = 1.0 if place < len(DASHES) else 0.5
            dashes = DASHES[place % len(DASHES)]
            axes.plot(own["minutes"], own[measure], dashes, color=colour, alpha=alpha, linewidth=1.2, label=str(board))
        axes.set_ylabel(unit)
        axes.grid(axis="y", alpha=0.2, color=INK)
        axes.legend(loc="best", fontsize=8, ncols=2)
    panels[-1].set_xlabel("minutes")
    return as_svg(figure, prefix, title)


def _shown(comparison: Comparison) -> list[dict[str, Any]]:
    """The first run of each arm."""
    runs = comparison.runs.set_index("run_id", drop=False)
    return [{str(key): value for key, value in runs.loc[arm["run_ids"][0]].items()} for arm, _, _ in arms(comparison)]
