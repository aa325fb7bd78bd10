"""Images a second of 1 to 8 boards at the paper's ratio, with each way of synchronising, measured beside predicted.

All boards of the sitting have an equal, small share of a core, so that eight of them compute as fast as two: a machine
that is not fully used also slows them down less through the memory that they share. The link is as much slower as the
boards are. Each number of boards is one run of the task `predict`, which times all ways in turn beside one board alone;
what is predicted for 4 and 8 boards stands on the run of 2.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pandas as pd

from analysis.allreduce import Network
from analysis.arms import records
from analysis.predict import Plan, measured_in, predict
from analysis.trials import APART, ONE_BOARD
from benchmarks.sitting import Sitting, calibration
from benchmarks.sync import compared, trial_rows

BOARDS = (2, 4, 8)
_USED = 0.88  # of the machine's cores, so that the controller does not take the boards' time
_WAYS = ("keras", "allreduce, float16", "powersgd, rank 4", "local_sgd, period 16")


def measure() -> Path:
    """One run for each number of boards; returns the file written."""
    share = round(min(1.0, _USED * len(os.sched_getaffinity(0)) / max(BOARDS)), 2)
    known = calibration()
    rate = int(known["link_rate_bit_per_s"] * share / known["core_share"])
    with Sitting("scale", boards=max(BOARDS), lab_core_share=share) as sitting:
        sitting.link(f"{rate}bit")
        two: Path | None = None
        for boards in BOARDS:
            data = {"sharding": "sharded", "train_images": 64 * 16 * boards, "validation_images": 64 * boards}
            folder = sitting.run(boards, {"epochs": 1, "data": data}, run_config_task="predict")
            two = two or folder
            sitting.rows += [{**row, "of": boards} for row in compared(trial_rows(folder))]
            path = sitting.write(
                core_share=share,
                link_rate_bit_per_s=rate,
                calibration=known,
                summary=summary(sitting.rows, predicted(two, rate)),
            )
            print(table(json.loads(path.read_text(encoding="utf-8"))), flush=True)
    return path


def predicted(two: Path, link_bit_per_s: float) -> dict[tuple[str, int], float]:
    """Efficiency by way and number of boards, from what the run of two boards measured."""
    plan = Plan(BOARDS, Network(link_bit_per_s))
    table = predict(measured_in([two]), plan)
    return {(row["sync"], row["workers"]): row["efficiency"] for row in records(table) if row["sync"] in _WAYS}


def summary(rows: list[dict[str, Any]], expected: dict[tuple[str, int], float]) -> list[dict[str, Any]]:
    """A row per way and number of boards: efficiency, median, least and greatest over the cycles; predicted."""
    table = pd.DataFrame([row for row in rows if row["sync"] in (*_WAYS, APART)])
    found = []
    key: Any  # way and number of boards
    for key, cycles in table.groupby(["sync", "boards"], sort=False):
        sync, boards = key
        efficiency = cycles["speedup"] / boards
        found.append(
            {
                "sync": sync,
                "boards": int(boards),
                "images_per_s": float(cycles["images_per_s"].median()),
                "efficiency": float(efficiency.median()),
                "efficiency_min": float(efficiency.min()),
                "efficiency_max": float(efficiency.max()),
                "predicted_efficiency": expected.get((sync, int(boards))),
            }
        )
    return found


def table(result: dict[str, Any]) -> str:
    """The summary as a table in Markdown."""
    ways = list(dict.fromkeys(row["sync"] for row in result["summary"]))
    counts = sorted({row["boards"] for row in result["summary"]})
    by_place = {(row["sync"], row["boards"]): row for row in result["summary"]}
    lines = [
        f"| efficiency (least to greatest; predicted) | {' | '.join(f'{count} boards' for count in counts)} |",
        f"|---|{'--:|' * len(counts)}",
    ]
    for way in sorted(ways, key=lambda way: by_place[way, counts[-1]]["efficiency"]):
        lines.append(f"| {way} | {' | '.join(_cell(by_place[way, count]) for count in counts)} |")
    alone = [row["images_per_s"] for row in result["rows"] if row["sync"] == ONE_BOARD]
    return "\n".join(
        [
            *lines,
            "",
            f"One board alone: {min(alone):.1f} to {max(alone):.1f} images/s, with {result['core_share']:.2g} of a "
            f"core and a link of {result['link_rate_bit_per_s'] / 1e6:.1f} Mbit/s. Predicted: from the run of two "
            "boards.",
        ]
    )


def _cell(row: dict[str, Any]) -> str:
    told = row["predicted_efficiency"]
    known = "" if told is None else f"; {told:.2f}"
    return f"{row['efficiency']:.2f} ({row['efficiency_min']:.2f} to {row['efficiency_max']:.2f}{known})"
