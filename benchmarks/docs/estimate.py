"""How soon N boards would reach the target on the paper's task: an estimate, put together from other benchmarks.

Nothing here was run on Orins. A board alone takes the paper's 93.1 s for a pass over 50,000 images. What a pass of N
boards takes of that was measured with the preset on emulated boards at the paper's ratio (benchmarks/lab/learned.py),
the first pass apart from the later ones; so was the start, of which a board with a whole core would need its share. The
passes to the target are those of another data set (benchmarks/machine/learning.py).
"""

from __future__ import annotations

import statistics
from typing import Any

from benchmarks.machine import learning

PASS_S = 93.1  # of the paper's one board: 9,310 s for 100 epochs


def estimate(passes: dict[int, float], measured: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """A row for each number of boards that is in both: `start_s`, `pass_s` [s], `seconds` to the target of the paper's
    task, `sooner` (one board's seconds over these), and the same for the `short` task that was measured, beside
    `bound`: what boards that learn and compute without any loss would reach there, (T + S) / (T / N + S).

    `passes`: to the target, by number of boards; `measured`: rows of benchmarks/lab/learned.py, one board's among them.
    """
    by_boards = {row["boards"]: row for row in measured}
    alone_s = statistics.median(by_boards[1]["train_s"][1:])  # the first pass has the tracing
    base: dict[str, float] = {}
    told = []
    for boards in sorted(set(passes) & set(by_boards)):
        row = by_boards[boards]
        start_s = row["core_share"] * (row["startup_s"] + _tracing_s(row))
        parts = [seconds / alone_s for seconds in _steady(row)]
        seconds = start_s + PASS_S * _until(passes[boards], parts)
        short_s = row["startup_s"] + _tracing_s(row) + alone_s * _until(passes[boards], parts)
        base = base or {"seconds": seconds, "short_s": short_s, "start_s": row["startup_s"] + _tracing_s(row)}
        work_s = base["short_s"] - base["start_s"]
        told.append(
            {
                "boards": boards,
                "passes": passes[boards],
                "start_s": start_s,
                "pass_s": PASS_S * parts[-1],
                "seconds": seconds,
                "sooner": base["seconds"] / seconds,
                "short_s": short_s,
                "short_sooner": base["short_s"] / short_s,
                "bound": base["short_s"] / (work_s / boards + base["start_s"]),
            }
        )
    return told


def _steady(row: dict[str, Any]) -> list[float]:
    """Seconds of the first pass and of a later one, without tracing."""
    later = statistics.median(row["train_s"][1:])
    return [row["train_s"][0] - _tracing_s(row), later]


def _tracing_s(row: dict[str, Any]) -> float:
    """What the first pass takes longer than a later one, where its steps are made in the same way."""
    return 0.0 if row["together"] else max(0.0, row["train_s"][0] - statistics.median(row["train_s"][1:]))


def _until(passes: float, parts: list[float]) -> float:
    """So many passes, of which the first has its own length."""
    first, later = parts
    return min(passes, 1.0) * first + max(passes - 1.0, 0.0) * later


def table(learned: dict[str, Any], rows: list[dict[str, Any]]) -> str:
    """In Markdown; `learned` is the file of benchmarks/lab/learned.py, `rows` are of benchmarks/machine/learning.py."""
    passes = {it["boards"]: it["passes"] for it in learning.summary(rows, learned["task"]) if it["passes"] is not None}
    lines = [
        "| boards | passes to the target | start [s] | s per pass | to the target [s] | times as soon | "
        "the short task, as run: [s] | times as soon | bound |",
        "|--:|--:|--:|--:|--:|--:|--:|--:|--:|",
    ]
    for row in estimate(passes, learned["rows"]):
        lines.append(
            f"| {row['boards']} | {row['passes']:.2f} | {row['start_s']:.1f} | {row['pass_s']:.1f} | "
            f"{row['seconds']:.0f} | {row['sooner']:.2f} | {row['short_s']:.0f} | {row['short_sooner']:.2f} | "
            f"{row['bound']:.2f} |"
        )
    return "\n".join(lines)
