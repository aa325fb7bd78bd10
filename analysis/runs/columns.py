"""Tables for people: the measures of a row as cells, rows of text, and values as a user writes them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd


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
        """± the standard deviation over the arm's runs; of a ratio its 95 % interval; nothing where there is none."""
        spread = self._number(arm.get(f"{self.field}_std"))
        if spread != "-":
            return f"±{spread}"
        ends = [self._number(arm.get(f"{self.field}{end}")) for end in ("_low", "_high")]
        return "" if "-" in ends else "–".join(ends)

    def _number(self, value: float | None) -> str:
        if value is None or not math.isfinite(value):
            return "-"
        return f"{value * self.factor:.{self.decimals}f}"


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


def records(table: pd.DataFrame) -> list[dict[str, Any]]:
    """The rows of a table by the names of its columns, which are text."""
    return [{str(name): value for name, value in row.items()} for row in table.to_dict("records")]


def shown(value: object) -> str:
    """A configuration's value or a fact as the user writes it."""
    if value is None or value is pd.NA or (isinstance(value, float) and math.isnan(value)):
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    # a column of whole numbers with a null in it is a column of floats
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)
