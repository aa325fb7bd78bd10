"""Shared style of all figures: colours, axes, and SVG for light and dark pages.

Does not use pyplot, which keeps state. Figures are as wide as a phone's screen; pages show two side by side.
"""

from __future__ import annotations

import io
import re
import textwrap
from collections.abc import Iterator
from typing import Any

from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

from analysis.comparison.compare import Comparison
from analysis.comparison.words import in_words
from analysis.runs.columns import records

# those of Okabe and Ito's colour-blind safe colours that are visible on white and black; after the last one they
# repeat, dashed
COLOURS = ["#0079c2", "#d55e00", "#009e73", "#cc79a7"]
DASHES = ["-", "--", ":"]
# placeholder for the page's text colour
INK = "#010203"
STYLE: dict[Any, Any] = {
    "font.size": 10,
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
_WIDTH = 5.4  # inches
_LEGEND = 30  # maximum characters of a label for two columns
_LINES, _INCHES = 3, 0.19  # of a legend, for which a figure has room; a line's height


def arms(comparison: Comparison) -> Iterator[tuple[dict[str, Any], str, str]]:
    """Each arm with its colour and dashes, the same in every figure."""
    for place, arm in enumerate(records(comparison.arms)):
        yield arm, COLOURS[place % len(COLOURS)], DASHES[place // len(COLOURS) % len(DASHES)]


def name(arm: dict[str, Any]) -> str:
    return in_words(arm["workers"], arm["label"])


def wrapped(text: str, width: int) -> str:
    return textwrap.fill(text, width, break_long_words=False)


def canvas(comparison: Comparison, title: str, height: float) -> Figure:
    """An empty figure, `height` inches high."""
    figure = Figure(figsize=(_WIDTH, height), layout="constrained")
    # the label is part of the figure, which may be shown without the report
    heading = "\n".join([title, *([", ".join(comparison.marks)] if comparison.marks else [])])
    figure.suptitle(heading, x=0.01, horizontalalignment="left", fontsize=11)
    return figure


def legend(figure: Figure, axes: Axes) -> None:
    """Put the legend of one of the figure's axes below all axes."""
    handles, labels = axes.get_legend_handles_labels()
    if labels:
        columns = 2 if max(map(len, labels)) <= _LEGEND else 1
        lines = sum(label.count("\n") + 1 for label in labels) / columns
        figure.set_figheight(figure.get_figheight() + _INCHES * max(0.0, lines - _LINES))
        figure.legend(handles, labels, loc="outside lower left", ncols=columns)


def as_svg(figure: Figure, prefix: str, title: str) -> str:
    """A figure drawn with STYLE as an SVG element for a page, with ids that start with `prefix`."""
    FigureCanvasSVG(figure)
    text = io.StringIO()
    figure.savefig(text, format="svg", transparent=True, metadata={"Date": None})
    svg = text.getvalue()
    svg = svg[svg.index("<svg") :].replace(INK, "currentColor")
    # a hundredth of a point suffices for any screen and halves long lines
    svg = re.sub(r' d="[^"]*"', lambda path: re.sub(r"(\.\d\d)\d+", r"\1", path[0]), svg)
    # ids are unique only within a figure
    svg = re.sub(r'(\bid="|url\(#|href="#)', rf"\g<1>{prefix}-", svg)
    return svg.replace("<svg", f'<svg role="img" aria-label="{title}"', 1)


def standalone(svg: str) -> str:
    """A figure as a separate file, with dark text on a light page and light text on a dark one."""
    colours = "svg{color:#1f2328}@media(prefers-color-scheme:dark){svg{color:#e6edf3}}"
    start = svg.index(">") + 1
    return f"{svg[:start]}<style>{colours}</style>{svg[start:]}"
