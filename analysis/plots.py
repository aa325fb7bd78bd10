"""The figures, as SVG texts for light and dark pages. No pyplot: nothing is kept between calls."""

from __future__ import annotations

import io
import math
import re
import textwrap
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from analysis.arms import arm_name, one_board, records
from analysis.comparison import Comparison
from analysis.paper import PAPER

# of Okabe and Ito's colours, which the colour-blind can tell apart, those that show on white and on
# black; after the last one they begin again, dashed
COLOURS = ["#0079c2", "#d55e00", "#009e73", "#cc79a7"]
_DASHES = ["-", "--", ":"]
_DOTTED = 20  # epochs up to which each has its dot
# drawn in place of the page's text colour, which a figure that is drawn once cannot know
INK = "#010203"
STYLE: dict[Any, Any] = {
    "font.size": 11,
    "svg.fonttype": "none",  # text stays text: it can be selected and searched
    "svg.hashsalt": "analysis",  # the same data give the same file
    "text.color": INK,
    "text.parse_math": False,  # a $ in a name is a $
    "axes.labelcolor": INK,
    "axes.edgecolor": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "xtick.color": INK,
    "ytick.color": INK,
    "legend.frameon": False,
    "legend.fontsize": 10,
}


def accuracy_by_epoch(comparison: Comparison) -> str:
    """The paper's figure 1: validation accuracy by epoch, a line per run; the paper's first
    epoch."""
    title = "Validation accuracy by epoch"
    with matplotlib.rc_context(STYLE):
        axes = _axes(comparison, title)
        _lines(axes, comparison, "val_accuracy")
        for arm, marker in zip(PAPER.arms(), "Ds", strict=True):
            value = arm["val_accuracy_first"]
            label = f"paper, {arm_name(arm['workers'], 'none')}, epoch 1: {value:.2f}"
            axes.plot(1, value, marker, markersize=7, color=INK, fillstyle="none", label=label)
        axes.set_ylabel("validation accuracy")
        axes.set_ylim(bottom=0)
        return _svg(axes, "accuracy", title)


def loss_by_epoch(comparison: Comparison) -> str:
    """The paper's figure 2: training loss by epoch, a line per run."""
    title = "Training loss by epoch"
    with matplotlib.rc_context(STYLE):
        axes = _axes(comparison, title)
        _lines(axes, comparison, "loss")
        axes.set_ylabel("training loss")
        return _svg(axes, "loss", title)


def time_per_epoch(comparison: Comparison) -> str:
    """Time per epoch: a bar per arm, a dot per run, beside the paper's bar where it has that arm.

    As a multiple of one board; in seconds, without the paper, where no run on one board was given.
    Per step where no epoch is steady (runs of one epoch).
    """
    unit = "epoch" if comparison.arms["epoch_s"].notna().any() else "step"
    title = f"Time per {unit}"
    base = one_board(comparison.arms)
    scale = 1.0 if base is None else float(base[f"{unit}_s"])
    papers = {} if base is None else {(arm["workers"], arm["sync"]): arm for arm in PAPER.arms()}
    with matplotlib.rc_context(STYLE):
        axes = _axes(comparison, title, height=1.3 + 0.7 * len(comparison.arms))
        for place, arm in enumerate(records(comparison.arms)):
            key = (arm["workers"], arm["label"])
            colour, _ = _look(comparison)[key]
            known = f"{arm[f'{unit}_s']:.3g} s"
            label = known if base is None else f"{arm[f'{unit}_ratio']:.2f}   ({known})"
            own = (comparison.runs["workers"] == key[0]) & (comparison.runs["label"] == key[1])
            runs = comparison.runs.loc[own, f"{unit}_s"] / scale
            _bar(axes, place, arm[f"{unit}_s"] / scale, label, label_at=runs.max(), color=colour)
            if len(runs) > 1:
                axes.plot(runs, [place] * len(runs), "o", markersize=4, color=INK)
            if key in papers:
                ratio = papers[key]["epoch_ratio"]
                _bar(axes, place + 0.36, ratio, f"{ratio:.2f}   (paper)", ratio, fill=False, edgecolor=INK)
        axes.set_yticks(range(len(comparison.arms)), [_wrapped(arm_name(*key)) for key in _look(comparison)])
        axes.invert_yaxis()
        axes.margins(x=0.25)
        axes.tick_params(axis="y", length=0)
        axes.set_xlabel(f"seconds per {unit}" if base is None else f"time per {unit}, one board = 1")
        return _svg(axes, "time", title)


def standalone(svg: str) -> str:
    """A figure as a file of its own, its text dark on a light page and light on a dark one."""
    colours = "svg{color:#1f2328}@media(prefers-color-scheme:dark){svg{color:#e6edf3}}"
    start = svg.index(">") + 1
    return f"{svg[:start]}<style>{colours}</style>{svg[start:]}"


def _wrapped(name: str, width: int = 24) -> str:
    return textwrap.fill(name, width, break_long_words=False)


def _axes(comparison: Comparison, title: str, height: float = 3.8) -> Axes:
    figure = Figure(figsize=(7.2, height), layout="constrained")
    # what the boards and images were stands in the figure: it may be shown without the report
    heading = ", ".join([title, *comparison.marks])
    figure.suptitle(heading, x=0.01, horizontalalignment="left", fontsize=12)
    return figure.add_subplot()


def _look(comparison: Comparison) -> dict[tuple[int, str], tuple[str, str]]:
    """Colour and dashes of each arm, the same in every figure."""
    keys = comparison.arms[["workers", "label"]].itertuples(index=False)
    return {
        (workers, label): (
            COLOURS[place % len(COLOURS)],
            _DASHES[place // len(COLOURS) % len(_DASHES)],
        )
        for place, (workers, label) in enumerate(keys)
    }


def _lines(axes: Axes, comparison: Comparison, name: str) -> None:
    """A line per run by epoch, as the chief saw it; one entry per arm in the legend."""
    chief = comparison.epochs[comparison.epochs["rank"] == 0].sort_values("epoch")
    for key, (colour, dashes) in _look(comparison).items():
        arm = chief[(chief["workers"] == key[0]) & (chief["label"] == key[1])]
        label: str | None = _wrapped(arm_name(*key), 36)
        for _, run in arm.groupby("run_id"):
            finite = run[name].where(np.isfinite(run[name]))
            marker = "." if len(run) <= _DOTTED else ""
            axes.plot(run["epoch"], finite, dashes, marker=marker, color=colour, linewidth=1.6, label=label)
            label = None
    axes.set_xlabel("epoch")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    axes.set_xlim(0.5, max(chief["epoch"].max(), 1) + 0.5)
    axes.grid(axis="y", alpha=0.2, color=INK)


def _bar(axes: Axes, place: float, width: float, label: str, label_at: float, **look: Any) -> None:
    if math.isnan(width):
        width, label, label_at = 0, "not known", 0
    axes.barh(place, width, height=0.32, **look)
    axes.annotate(
        label,
        (label_at, place),
        xytext=(6, 0),
        textcoords="offset points",
        verticalalignment="center",
        fontsize=10,
    )


def _svg(axes: Axes, name: str, title: str) -> str:
    figure = axes.get_figure(root=True)
    assert figure is not None
    if axes.get_legend_handles_labels()[0]:
        figure.legend(loc="outside lower left", ncols=2)
    return as_svg(figure, name, title)


def as_svg(figure: Figure, name: str, title: str) -> str:
    """A figure drawn with STYLE as an SVG element that can stand in a page beside others."""
    FigureCanvasSVG(figure)
    text = io.StringIO()
    figure.savefig(text, format="svg", transparent=True, metadata={"Date": None})
    svg = text.getvalue()
    svg = svg[svg.index("<svg") :].replace(INK, "currentColor")
    # ids are unique in a figure only
    svg = re.sub(r'(\bid="|url\(#|href="#)', rf"\g<1>{name}-", svg)
    return svg.replace("<svg", f'<svg role="img" aria-label="{title}"', 1)
