"""The gates' findings as lines of text, at most 100 columns wide."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

WIDTH = 100
_HEADING = {"board": "board", "gate": "gate", "severity": "", "found": "found", "wanted": "wanted"}
_LONGEST = {"board": 20, "gate": 20, "severity": 7, "found": 34, "wanted": 26}


def lines(
    findings: Sequence[Mapping[str, Any]], boards: Sequence[str], measured: Sequence[Mapping[str, Any]]
) -> list[str]:
    """The table: each finding's cells, and below them its remedy; then what was measured, and a sentence for all."""
    shown = [*_measured(measured)]
    if not findings:
        return [*shown, f"{', '.join(boards)}: every gate is passed"]
    rows = [{**finding, "severity": "waived" if finding["waived"] else finding["severity"]} for finding in findings]
    widths = {
        name: min(longest, max(len(str(row[name])) for row in [_HEADING, *rows])) for name, longest in _LONGEST.items()
    }
    shown += _cells(_HEADING, widths)
    for row in rows:
        shown += _cells(row, widths)
        shown += textwrap.wrap(row["remedy"], WIDTH, initial_indent="    -> ", subsequent_indent="       ")
    counts = {name: sum(row["severity"] == name for row in rows) for name in ("refuse", "warn", "waived")}
    words = {"refuse": "refused", "warn": "warned of", "waived": "waived"}
    told = ", ".join(f"{count} {words[name]}" for name, count in counts.items() if count)
    return [*shown, f'{told}; a gate is waived by its name: -e \'{{"waive": ["GATE"]}}\'']


def _cells(row: Mapping[str, Any], widths: Mapping[str, int]) -> list[str]:
    columns = [textwrap.wrap(str(row[name]), width) or [""] for name, width in widths.items()]
    height = max(len(column) for column in columns)
    return [
        "  ".join(
            (column[line] if line < len(column) else "").ljust(width)
            for column, width in zip(columns, widths.values(), strict=True)
        ).rstrip()
        for line in range(height)
    ]


def _measured(records: Sequence[Mapping[str, Any]]) -> list[str]:
    return [
        f"{record['from']} -> {record['to']}: {record['bit_per_s'] / 1e6:.0f} Mbit/s ({record['tool']}); "
        f"{record['to']} -> {record['from']} and back: {record['round_trip_s'] * 1e3:.2f} ms"
        for record in records
        if "error" not in record
    ]
