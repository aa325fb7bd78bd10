"""The gates' findings as lines of text, at most 100 columns wide."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

from analysis.runs.columns import WIDTH, text_table

_HEADINGS = {"board": "board", "gate": "gate", "severity": "", "found": "found", "wanted": "wanted"}


def lines(
    findings: Sequence[Mapping[str, Any]], boards: Sequence[str], measured: Sequence[Mapping[str, Any]]
) -> list[str]:
    """The measurements, the table of findings with each gate's remedy below it, and a summary."""
    shown = [*_measured(measured)]
    if not findings:
        return [*shown, f"{', '.join(boards)}: all gates passed"]
    rows = [{**finding, "severity": "waived" if finding["waived"] else finding["severity"]} for finding in findings]
    cells = [[" ".join(str(row[name]).split()) for name in _HEADINGS] for row in rows]
    shown += text_table(list(_HEADINGS.values()), cells)
    for remedy in dict.fromkeys(f"{row['gate']}: {row['remedy']}" for row in rows):
        shown += textwrap.wrap(remedy, WIDTH, subsequent_indent="    ")
    counts = {name: sum(row["severity"] == name for row in rows) for name in ("refuse", "warn", "waived")}
    words = {"refuse": "refused", "warn": "warning" if counts["warn"] == 1 else "warnings", "waived": "waived"}
    told = ", ".join(f"{count} {words[name]}" for name, count in counts.items() if count)
    passed = "" if counts["refuse"] or counts["waived"] else "all gates passed; "
    return [*shown, f'{passed}{told}; a gate is waived by its name: -e \'{{"waive": ["GATE"]}}\'']


def _measured(records: Sequence[Mapping[str, Any]]) -> list[str]:
    return [
        f"{record['from']} -> {record['to']}: {record['bit_per_s'] / 1e6:.0f} Mbit/s ({record['tool']}); "
        f"{record['to']} -> {record['from']} and back: {record['round_trip_s'] * 1e3:.2f} ms"
        for record in records
        if "error" not in record
    ]
