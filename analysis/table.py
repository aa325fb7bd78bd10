"""The table of arms beside the paper's numbers: its columns and their units, as cells and as
text."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from analysis.arms import arm_name, records
from analysis.compare import Comparison
from analysis.paper import PAPER

_LABEL_WIDTH = 24  # characters; longer labels continue on the next line


@dataclass(frozen=True)
class Column:
    """One measure of an arm, as shown."""

    field: str
    heading: tuple[str, str]  # two lines; the second has the unit
    factor: float = 1.0
    decimals: int = 2

    def cell(self, arm: Mapping[Any, Any]) -> str:
        """The value, or - where it is not known."""
        return self._number(arm.get(self.field))

    def spread(self, arm: Mapping[Any, Any]) -> str:
        """± the standard deviation over the arm's runs, or nothing where there is none."""
        spread = self._number(arm.get(f"{self.field}_std"))
        return "" if spread == "-" else f"±{spread}"

    def _number(self, value: float | None) -> str:
        if value is None or not math.isfinite(value):
            return "-"
        return f"{value * self.factor:.{self.decimals}f}"


COLUMNS = (
    Column("step_s", ("step", "[ms]"), 1e3, 0),
    Column("epoch_s", ("epoch", "[s]"), 1, 1),
    Column("epoch_ratio", ("epoch", "[x one]")),
    Column("images_per_s", ("speed", "[images/s]"), 1, 1),
    Column("speedup", ("faster", "[x one]")),
    Column("agreeing_share", ("sync", "[%]"), 100, 0),
    Column("val_accuracy_first", ("accuracy", "first"), 1, 3),
    Column("val_accuracy_final", ("accuracy", "final"), 1, 3),
    Column("sent_bytes_per_step", ("sent", "[MB/step]"), 1e-6, 2),
)


def rows(comparison: Comparison) -> list[dict[str, Any]]:
    """The arms, then the paper's: each with name, runs, of_paper and COLUMNS' fields."""
    measured = [
        {**arm, "name": arm_name(arm["workers"], arm["label"]), "of_paper": False} for arm in records(comparison.arms)
    ]
    printed = [
        {
            **arm,
            "name": f"paper: {arm_name(arm['workers'], arm['sync'])}",
            "runs": "-",
            "of_paper": True,
        }
        for arm in PAPER.arms()
    ]
    return [*measured, *printed]


def as_text(comparison: Comparison) -> str:
    """The table, aligned, at most 100 columns wide; a second line of an arm has its spread."""
    lines = [
        ["", "runs", *(column.heading[0] for column in COLUMNS)],
        ["", "", *(column.heading[1] for column in COLUMNS)],
    ]
    for arm in rows(comparison):
        names = textwrap.wrap(arm["name"], _LABEL_WIDTH, subsequent_indent="  ", break_long_words=False)
        lines.append([names[0], str(arm["runs"]), *(column.cell(arm) for column in COLUMNS)])
        spreads = [column.spread(arm) for column in COLUMNS]
        if any(spreads):
            lines.append([*(names[1:2] or [""]), "", *spreads])
            del names[1:2]
        lines += [[name, *[""] * (1 + len(COLUMNS))] for name in names[1:]]
    return aligned(lines)


def aligned(lines: Sequence[Sequence[str]]) -> str:
    """Lines of cells as text: the first column to the left, the others to the right."""
    widths = [max(len(line[index]) for line in lines) for index in range(len(lines[0]))]
    return "\n".join(
        " ".join(
            cell.ljust(width) if index == 0 else cell.rjust(width)
            for index, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    )


def notes(comparison: Comparison) -> list[str]:
    """What a reader of the table must know, a sentence each."""
    spread = (
        "± is the standard deviation over an arm's runs."
        if comparison.arms["runs"].max() > 1
        else "n=1: one run an arm, so there is no spread."
    )
    return [
        *([f"{', '.join(comparison.marks).capitalize()}."] if comparison.marks else []),
        "[x one]: as a multiple of one board.",
        "Sync: share of time in which boards stood still for each other or for bytes.",
        "Accuracy is that of the validation images, after the first and the last epoch.",
        spread,
    ]
