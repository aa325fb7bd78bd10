"""Horizontal bars below their names and values: long names fit, even on a phone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from matplotlib.figure import Figure
from matplotlib.patches import Patch

from analysis.comparison.compare import Comparison
from analysis.report.plots.style import INK, as_svg, canvas, wrapped

_LINE, _MORE, _BAR, _GAP = 1.0, 0.86, 0.9, 0.7  # heights, in lines of text; _MORE: of a name's further lines
_INCHES = 0.185  # inches per line
_AROUND = 1.2  # inches for heading and axis
_WIDTH = 64  # characters of a line: a name, and the value at its end


@dataclass(frozen=True)
class Row:
    name: str
    value: str
    parts: Sequence[float] = ()  # lengths from the left; empty: a heading for the rows below
    colour: str = INK
    dots: Sequence[float] = ()
    span: tuple[float, float] | None = None  # minimum and maximum
    hollow: bool = False


# opacity of a bar's parts, from the left
SHADES = (1.0, 0.5, 0.22)


def draw(
    comparison: Comparison,
    prefix: str,
    title: str,
    unit: str,
    rows: Sequence[Row],
    parts: Sequence[str] = (),
) -> str:
    """The rows as SVG text. `unit`: label of the axis; `parts`: names of a bar's parts, if several."""
    names = [wrapped(row.name, _WIDTH - len(row.value)) for row in rows]
    heights = [
        _LINE + _MORE * text.count("\n") + (_BAR if row.parts else 0) + _GAP
        for row, text in zip(rows, names, strict=True)
    ]
    figure = canvas(comparison, title, _AROUND + _INCHES * sum(heights) + (0.3 if parts else 0))
    axes = figure.add_subplot()
    place = 0.0
    for row, text, height in zip(rows, names, heights, strict=True):
        line: dict[str, Any] = {"transform": axes.get_yaxis_transform(), "verticalalignment": "top", "fontsize": 9.5}
        weight = "normal" if row.parts else "bold"
        axes.text(0.0, place, text, horizontalalignment="left", fontweight=weight, **line)
        axes.text(1.0, place, row.value, horizontalalignment="right", **line)
        at, left = place + height - _GAP - _BAR / 2 + 0.15, 0.0
        for part, shade in zip(row.parts, SHADES, strict=False):
            look: dict[str, Any] = (
                {"fill": False, "edgecolor": INK} if row.hollow else {"color": row.colour, "alpha": shade}
            )
            axes.barh(at, part, left=left, height=_BAR - 0.15, **look)
            left += part
        if row.span:
            axes.plot(row.span, [at, at], color=INK, linewidth=1.2)
        axes.plot(row.dots, [at] * len(row.dots), "o", markersize=4, color=INK)
        place += height
    axes.set_ylim(place, -0.2)
    axes.set_xlim(left=0)
    axes.set_yticks([])
    axes.spines["left"].set_visible(False)
    axes.set_xlabel(unit)
    if parts:
        _explain(figure, parts)
    return as_svg(figure, prefix, title)


def _explain(figure: Figure, parts: Sequence[str]) -> None:
    handles = [Patch(color=INK, alpha=shade, label=part) for part, shade in zip(parts, SHADES, strict=False)]
    figure.legend(handles=handles, loc="outside lower left", ncols=len(parts), handlelength=1.2, columnspacing=1.2)
