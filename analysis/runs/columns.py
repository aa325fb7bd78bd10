"""Text tables: measures as cells, rows of text, and values as a user writes them."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd
from rich.console import Console, JustifyMethod, RenderableType
from rich.table import Table

from trainer.contract.reading import printable

WIDTH = 100  # characters of printed tables


@dataclass(frozen=True)
class Column:
    """One measure of an arm, as shown."""

    field: str
    heading: tuple[str, str]  # two lines; the second has the unit
    factor: float = 1.0
    decimals: int = 2
    beyond: str | None = None  # field of what the value is greater than, where it was not reached

    def cell(self, arm: Mapping[Any, Any]) -> str:
        """The value, or - if it is unknown."""
        value = self._number(arm.get(self.field))
        more = self._number(arm.get(self.beyond)) if self.beyond and value == "-" else "-"
        return value if more == "-" else f">{more}"

    def spread(self, arm: Mapping[Any, Any]) -> str:
        """± standard deviation over the arm's runs; for a ratio its 95 % interval; empty if there is none."""
        spread = self._number(arm.get(f"{self.field}_std"))
        if spread != "-":
            return f"±{spread}"
        ends = [self._number(arm.get(f"{self.field}{end}")) for end in ("_low", "_high")]
        return "" if "-" in ends else "–".join(ends)

    def _number(self, value: float | None) -> str:
        if value is None or not math.isfinite(value):
            return "-"
        return f"{value * self.factor:.{self.decimals}f}"


def text_table(
    heads: Sequence[str],
    rows: Iterable[Sequence[RenderableType]],
    *,
    right: Collection[int] = (),
    gap: int = 2,
) -> list[str]:
    """The lines of a table, at most 100 columns wide; long cells are wrapped.

    `right`: the columns of numbers, which are never broken. `gap`: characters between columns.
    """
    table = Table(box=None, pad_edge=False, padding=(0, gap, 0, 0))
    for index, head in enumerate(heads):
        side: JustifyMethod = "right" if index in right else "left"
        table.add_column(head, justify=side, no_wrap=index in right, overflow="fold")
    for row in rows:
        table.add_row(*(printable(cell, keep="\n") if isinstance(cell, str) else cell for cell in row))
    console = Console(width=WIDTH, color_system=None, force_jupyter=False, markup=False, emoji=False)
    with console.capture() as capture:
        console.print(table, highlight=False)
    return [line.rstrip() for line in capture.get().rstrip("\n").split("\n")]


def records(table: pd.DataFrame) -> list[dict[str, Any]]:
    """The rows of a table as dictionaries by column name."""
    return [{str(name): value for name, value in row.items()} for row in table.to_dict("records")]


def shown(value: object) -> str:
    """A configuration's value or a fact as the user writes it."""
    if value is None or value is pd.NA or (isinstance(value, float) and math.isnan(value)):
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    # a column of whole numbers with a null in it is a column of floats
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)
