"""The summary's layout."""

from __future__ import annotations

from typing import Any


def enrol_table(rows: list[list[str]]) -> list[str]:
    """Lines in which the rows' cells are below each other."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]


class FilterModule:
    """enrol_table: rows of cells to lines."""

    def filters(self) -> dict[str, Any]:
        return {"enrol_table": enrol_table}
