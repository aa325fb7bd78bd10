"""Images/s of two boards with each method of synchronising, compared with one board, with both engines.

Each engine cycles through its variants in one process a board (measure/trial.py, pytorch/trial.py), so that what is
compared was timed within a minute; at the paper's ratio of communication to computation and at 1 Gbit/s. Every variant
trains the same model: all layers, 64x64, batch 64 on each board, images shared out.

Emulated boards on two cores share a machine's memory, so that each is a tenth slower while the other computes too,
which has nothing to do with synchronising. So here they take turns on one core, with less than half of it each, and a
link that is as much slower; `--own-cores` is for what turns would hide, the latency of a message. A row "no_sync"
shows what two boards reach that train each for itself, and `of_no_sync` is a method's share of that.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pandas as pd

from analysis.comparison.paper import PAPER
from analysis.prediction.allreduce import wire_bytes
from analysis.prediction.trials import turns
from analysis.runs.columns import records
from benchmarks.docs import labels
from benchmarks.lab.benchmark_run import BenchmarkRun
from trainer.contract.events import NO_SYNC, ONE_BOARD
from trainer.contract.layout import BOARDS, EVENTS, RUN
from trainer.contract.records import read_records
from trainer.contract.run import load_run

_CYCLES = 3
_PAPERS_RATIO = "paper's ratio"
_OF_PAPER = {"tensorflow": "keras", "pytorch": "ddp allreduce, float32"}  # what the paper's two boards do


def measure(engines: list[str], own_cores: bool = False) -> Path:
    """Time all variants of the engines; returns the file written. With `own_cores` boards take no turns."""
    name = "sync-cores" if own_cores else "sync"
    with BenchmarkRun(name, turns=not own_cores) as bench:
        known = bench.calibration()
        of_paper = known["link_rate_bit_per_s"] / known["core_share"]
        for link, whole in {_PAPERS_RATIO: of_paper, "1 Gbit/s": 1e9}.items():
            for engine in engines:
                rate = int(whole * known["core_share"])
                bench.link(f"{rate}bit")
                if link == _PAPERS_RATIO:  # the engines' steps differ, and the machine's pace since the calibration may
                    rate = ratio_and_rate(_trial(bench, engine, cycles=1), engine, rate)[1]
                    bench.link(f"{rate}bit")
                for row in compared(_trial(bench, engine, _CYCLES)):
                    bench.rows.append({"engine": engine, "link": link, "link_rate_bit_per_s": rate, **row})
                path = bench.write(calibration=bench.calibration(), summary=summary(bench.rows))
                print(table(json.loads(path.read_text(encoding="utf-8"))), flush=True)
    return path


def ratio_and_rate(rows: list[dict[str, Any]], engine: str, rate_bit_per_s: float) -> tuple[float, int]:
    """In the rows of an engine's trial at this rate: what plain Keras or DDP adds to one board's step, over that step.
    And the rate [bit/s] at which it would be the paper's ratio, where what does not depend on the rate is kept, as in
    controller/calibrate.py."""
    middle = pd.DataFrame(rows).groupby("sync")[["step_s", "expected_bytes_per_step"]].median()
    seconds, wire = middle["step_s"].to_dict(), middle["expected_bytes_per_step"].to_dict()
    step_s, way = float(seconds[ONE_BOARD]), _OF_PAPER[engine]
    added_s, bits = float(seconds[way]) - step_s, 8 * float(wire[way])
    overhead_s = max(0.0, added_s - bits / rate_bit_per_s)
    return added_s / step_s, round(bits / (PAPER.communication_ratio * step_s - overhead_s))


def _trial(bench: BenchmarkRun, engine: str, cycles: int) -> list[dict[str, Any]]:
    data = {"sharding": "sharded", "train_images": 2560, "validation_images": 64}
    override: dict[str, Any] = {"engine": engine, "epochs": cycles, "data": data}
    if engine != "tensorflow":
        override["sync"] = {"method": "allreduce"}  # one that it has; the trial tries all
    return trial_rows(bench.run(2, override, run_config_task="trial"))


def trial_rows(folder: Path) -> list[dict[str, Any]]:
    """A row for each method and cycle of a trial, of all its boards together."""
    boards = load_run(folder / RUN).boards
    found = (record for board in boards for record in read_records(folder / BOARDS / board / EVENTS)[0])
    rows = []
    for row in records(turns(found, len(boards))):
        payload = round(row.pop("payload_bytes_per_step"))
        waiting_s = None if math.isnan(row["waiting_s"]) else row["waiting_s"]
        expected = wire_bytes(payload, len(boards))
        rows.append({**row, "waiting_s": waiting_s, "expected_bytes_per_step": expected})
    return rows


def compared(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The rows with `speedup` and `of_no_sync`: images_per_s over that of one board, and over that of two boards which
    exchange nothing, in the same cycle."""
    pace = {(row["sync"], row["cycle"]): row["images_per_s"] for row in rows}
    return [
        {
            **row,
            "speedup": row["images_per_s"] / pace[ONE_BOARD, row["cycle"]],
            "of_no_sync": None if row["boards"] == 1 else row["images_per_s"] / pace[NO_SYNC, row["cycle"]],
        }
        for row in rows
    ]


def summary(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """A row per engine, link and method: medians over the cycles, and the least and greatest speed-up."""
    found: list[dict[str, Any]] = []
    for (link, engine, sync), cycles in pd.DataFrame(rows).groupby(["link", "engine", "sync"], sort=False):
        known = {
            name: None if name not in cycles or cycles[name].isna().all() else float(cycles[name].median())
            for name in (
                "images_per_s",
                "speedup",
                "of_no_sync",
                "step_s",
                "communication_s",
                "waiting_s",
                "overlapped_s",
                "sent_bytes_per_step",
                "expected_bytes_per_step",
            )
        }
        found.append(
            {
                "engine": engine,
                "boards": int(cycles["boards"].iloc[0]),
                "link": link,
                "sync": sync,
                "cycles": len(cycles),
                **known,
                "speedup_min": float(cycles["speedup"].min()),
                "speedup_max": float(cycles["speedup"].max()),
            }
        )
    return sorted(found, key=lambda row: (row["link"], row["engine"] != "tensorflow", row["speedup"]))


def table(result: dict[str, Any]) -> str:
    """The summary as a table in Markdown."""
    lines = [
        "| link | method | boards | images/s | s per 50,000 images | speed-up (least to greatest) | "
        "of no synchronising | sent [MB per step and board] | theory |",
        "|---|---|--:|--:|--:|--:|--:|--:|--:|",
    ]
    rates = {(row["link"], row["engine"]): row["link_rate_bit_per_s"] for row in result["rows"]}
    for row in result["summary"]:
        expected, of_no_sync = row["expected_bytes_per_step"], row["of_no_sync"]
        link = labels.of_link(row["link"], rates[row["link"], row["engine"]])
        lines.append(
            f"| {link} | {labels.of_method(row)} | {row['boards']} | "
            f"{row['images_per_s']:.1f} | {50_000 / row['images_per_s']:.0f} | "
            f"{row['speedup']:.2f} ({row['speedup_min']:.2f} to {row['speedup_max']:.2f}) | "
            f"{'' if of_no_sync is None else f'{of_no_sync:.0%}'} | "
            f"{row['sent_bytes_per_step'] / 1e6:.3f} | {'' if expected is None else f'{expected / 1e6:.3f}'} |"
        )
    cycles = {row["cycles"] for row in result["summary"]}
    lines += ["", f"n = {', '.join(map(str, sorted(cycles)))} cycles for every row."]
    for (link, engine), rate in rates.items():
        if link == _PAPERS_RATIO:
            own = [row for row in result["rows"] if (row["link"], row["engine"]) == (link, engine)]
            ratio = ratio_and_rate(own, engine, rate)[0]
            name, papers = labels.ENGINES[engine], PAPER.communication_ratio
            lines += [
                "",
                f"{name}'s ratio of communication to computation in these rows: {ratio:.2f}, the paper's {papers:.2f}.",
            ]
    return "\n".join(lines)
