"""Line charts: accuracy and loss by epoch, and efficiency by number of boards."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from analysis.comparison import statistics
from analysis.comparison.arms import arm_name
from analysis.comparison.compare import Comparison
from analysis.comparison.paper import PAPER
from analysis.prediction.predict import efficiency_of_arms
from analysis.report.plots.style import INK, arms, as_svg, canvas, legend, name, wrapped

_DOTTED = 20  # number of epochs up to which each has a dot
_LABEL = 44  # characters of a line of the legend
_BEYOND = 4  # the prediction extends to this multiple of the most boards measured


def accuracy_by_epoch(comparison: Comparison) -> str:
    """The paper's figure 1: validation accuracy by epoch, a line per run and the arms' intervals; the paper's first
    epoch."""
    title = "Validation accuracy by epoch"
    figure = canvas(comparison, title, 4.0)
    axes = figure.add_subplot()
    _by_epoch(axes, comparison, "val_accuracy")
    for arm, marker in zip(PAPER.arms(), "Ds", strict=True):
        value = arm["val_accuracy_first"]
        label = f"paper, {arm_name(arm['workers'], 'none')}, epoch 1: {value:.2f}"
        axes.plot(1, value, marker, markersize=7, color=INK, fillstyle="none", label=label)
    axes.set_ylabel("validation accuracy")
    axes.set_ylim(0, max(axes.get_ylim()[1], 1.1 * PAPER.two_boards_val_accuracy_first))
    legend(figure, axes)
    return as_svg(figure, "accuracy", title)


def loss_by_epoch(comparison: Comparison) -> str:
    """The paper's figure 2: training loss by epoch, a line per run and the arms' intervals."""
    title = "Training loss by epoch"
    figure = canvas(comparison, title, 3.7)
    axes = figure.add_subplot()
    _by_epoch(axes, comparison, "loss")
    axes.set_ylabel("training loss")
    legend(figure, axes)
    return as_svg(figure, "loss", title)


def efficiency_by_boards(comparison: Comparison) -> str:
    """Efficiency: a point per arm with its interval, and the cost model's prediction from these runs."""
    title = "Efficiency by number of boards"
    figure = canvas(comparison, title, 3.7)
    axes = figure.add_subplot()
    measured = [(arm, colour) for arm, colour, _ in arms(comparison) if arm["workers"] > 1]
    most = _BEYOND * max(arm["workers"] for arm, _ in measured)
    doubled = [2**power for power in range(most.bit_length()) if 2**power <= most]
    shown = sorted({*doubled, *(arm["workers"] for arm, _ in measured)})
    predicted = efficiency_of_arms(comparison.runs, shown)
    drawn = set()
    for arm, colour in measured:
        value, ends = arm["efficiency"], (arm["efficiency_low"], arm["efficiency_high"])
        errors = None if np.isnan(ends).any() else [[100 * (value - ends[0])], [100 * (ends[1] - value)]]
        label = wrapped(name(arm), _LABEL)
        axes.errorbar(arm["workers"], 100 * value, errors, fmt="o", markersize=6, capsize=3, color=colour, label=label)
        if arm["label"] not in drawn and arm["label"] in predicted:
            drawn.add(arm["label"])
            axes.plot(shown, 100 * predicted[arm["label"]], "--", color=colour, linewidth=1.3, zorder=1)
    papers = 100 * PAPER.arms()[1]["images_ratio"] / 2
    label = f"paper, 2 boards: {papers:.0f} %"
    axes.plot(2, papers, "s", markersize=8, color=INK, fillstyle="none", label=label)
    if drawn:
        axes.plot([], [], "--", color=INK, linewidth=1.3, label="dashed: predicted, not measured")
    axes.set_xscale("log", base=2)
    axes.set_xticks(shown, [str(count) for count in shown])
    axes.minorticks_off()
    axes.set_ylim(0, max(105.0, axes.get_ylim()[1]))
    axes.axhline(100, color=INK, linewidth=0.8, linestyle=":")
    axes.set_xlabel("boards")
    axes.set_ylabel("efficiency [%]")
    legend(figure, axes)
    return as_svg(figure, "efficiency", title)


def _by_epoch(axes: Axes, comparison: Comparison, column: str) -> None:
    """A line per run by epoch from the chief's records; for several runs also their mean and 95 % interval."""
    chief = comparison.epochs[comparison.epochs["rank"] == 0]
    for arm, colour, dashes in arms(comparison):
        own = chief[(chief["workers"] == arm["workers"]) & (chief["label"] == arm["label"])]
        # missing epochs and losses that are not finite are gaps
        runs: pd.DataFrame = own.pivot(index="epoch", columns="run_id", values=column)
        runs = runs.where(np.isfinite(runs))
        look: dict[str, Any] = {"color": colour, "linestyle": dashes}
        label = wrapped(name(arm), _LABEL)
        if len(runs.columns) == 1:
            marker = "." if len(runs) <= _DOTTED else ""
            axes.plot(runs.index, runs.iloc[:, 0], marker=marker, linewidth=1.6, label=label, **look)
            continue
        mean, low, high = statistics.mean(runs.to_numpy())
        axes.plot(runs.index, runs, linewidth=0.7, alpha=0.6, **look)
        axes.plot(runs.index, mean, linewidth=1.8, label=label, **look)
        axes.fill_between(runs.index.to_numpy(), low, high, color=colour, alpha=0.18, linewidth=0)
    # the interval of two runs may be much wider than the data
    values = chief[column][np.isfinite(chief[column])]
    if len(values):
        margin = 0.06 * max(values.max() - values.min(), 1e-3)
        axes.set_ylim(values.min() - margin, values.max() + margin)
    axes.set_xlabel("epoch")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    axes.set_xlim(0.5, max(chief["epoch"].max(), 1) + 0.5)
    axes.grid(axis="y", alpha=0.2, color=INK)
