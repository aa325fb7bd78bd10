"""The figures of a comparison: what each one needs, and its caption."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import matplotlib

from analysis.comparison.compare import Comparison
from analysis.report.plots.bars import (
    computing_by_board,
    energy_per_pass,
    time_of_a_step,
    time_per_pass,
    time_to_accuracy,
)
from analysis.report.plots.curves import accuracy_by_epoch, efficiency_by_boards, loss_by_epoch
from analysis.report.plots.style import STYLE
from analysis.report.plots.telemetry import has_power, has_temperature, power_over_time, temperature_over_time

_RUNS = "Thin lines: runs. Bands: 95 % interval of an arm's mean, where it has several runs."
_BRACKETS = "Dots: runs, where an arm has several. In brackets: 95 % intervals."

_SAMPLES = "The first run of each arm, on the controller's clock if the board's offset was measured."


class Figure(NamedTuple):
    """A drawing as SVG text, for notebooks too, and its caption."""

    caption: str
    svg: str

    def _repr_html_(self) -> str:
        return f"<figure>{self.svg}<figcaption>{self.caption}</figcaption></figure>"


class _Plot(NamedTuple):
    draw: Callable[[Comparison], str]  # its name is the figure's
    has_data: Callable[[Comparison], bool]
    caption: Callable[[Comparison], str]


_PLOTS = (
    _Plot(
        accuracy_by_epoch,
        lambda it: bool(it.epochs["val_accuracy"].notna().any()),
        lambda it: f"The paper's figure 1. {_RUNS} Hollow: the paper after its first epoch, on CIFAR-100.",
    ),
    _Plot(
        loss_by_epoch,
        lambda it: bool(it.epochs["loss"].notna().any()),
        lambda it: f"The paper's figure 2. {_RUNS}",
    ),
    _Plot(
        time_per_pass,
        lambda it: True,
        lambda it: (
            "Equal work: all images of the data set once, validation included. With data.sharding whole each of N "
            f"boards goes through all images, and their copies together are one pass, as in the paper. {_BRACKETS}"
        ),
    ),
    _Plot(
        time_to_accuracy,
        lambda it: _knows(it, "time_to_accuracy_s", several=False),
        lambda it: (
            "From the start of the boards' processes to the end of the epoch that reached it: start-up, tracing and "
            f"validation included, for every method. {_BRACKETS}"
        ),
    ),
    _Plot(
        efficiency_by_boards,
        lambda it: _knows(it, "efficiency"),
        lambda it: (
            "Images/s over those of one board and the number of boards, each board's copy of an image counted: how "
            "well boards are used, not equal work. Dots: measured, with 95 % intervals. Dashed: predicted by the cost "
            "model (analysis/prediction/costmodel.py) from the first run of each arm at its link, if that run suffices."
        ),
    ),
    _Plot(
        time_of_a_step,
        lambda it: _knows(it, "compute_share"),
        lambda it: (
            "Computing includes reading images and the framework. Communication: stalled while bytes travel. Waiting: "
            "stalled until the slowest board is ready."
        ),
    ),
    _Plot(
        computing_by_board,
        lambda it: bool((it.epochs["workers"] > 1).any() and not it.epochs["begins"].all()),
        lambda it: "Bars: means. Dots: runs. Lines: from the fastest to the slowest steady epoch.",
    ),
    _Plot(
        energy_per_pass,
        lambda it: _knows(it, "energy_j_per_pass", several=False),
        lambda it: (
            "From the first step to the end of the last epoch, modules only, without power supplies and "
            f"switch. {_BRACKETS}"
        ),
    ),
    _Plot(power_over_time, has_power, lambda it: f"{_SAMPLES} Each point is the mean over its interval."),
    _Plot(
        temperature_over_time, has_temperature, lambda it: f"{_SAMPLES} Each point is the maximum over its interval."
    ),
)


def figures(comparison: Comparison, *, drawn: bool = True) -> dict[str, Figure]:
    """The figures that have data, by name. `drawn` false skips the drawings, which take most of a second each."""
    with matplotlib.rc_context(STYLE):
        return {
            plot.draw.__name__: Figure(plot.caption(comparison), plot.draw(comparison) if drawn else "")
            for plot in _PLOTS
            if plot.has_data(comparison)
        }


def _knows(comparison: Comparison, measure: str, *, several: bool = True) -> bool:
    """Whether any arm has the measure; `several`: any arm of several boards."""
    arms = comparison.arms[comparison.arms["workers"] > 1] if several else comparison.arms
    return bool(arms[measure].notna().any())
