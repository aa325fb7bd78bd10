"""Training with parameter servers: between which bounds its speed lies, and what was measured.

At every step a worker reads the model and then updates it: as many bytes in each direction. With dedicated servers all
of them cross its link; with a server beside each worker, the part on its own board does not. The servers' parts
of the model are taken as equal, except for runs, whose records say what each held.

Two bounds of a step's time, in which every worker makes one: fastest, all is hidden, so that the slower of computing
and the busiest link decides; slowest, nothing is, so that reading, computing and updating follow each other, and no
faster than the busiest link. Waiting for other workers there is none. Learning from a model that others have updated
meanwhile is not predicted.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from analysis.comparison.metrics import measure
from analysis.prediction.costmodel import alone_s
from analysis.prediction.measured import Measured
from analysis.runs.columns import Column, records, text_table
from analysis.runs.loading import load
from trainer.contract.config import ConfigError
from trainer.contract.events import Epoch, Served, Start
from trainer.contract.layout import BOARDS, EVENTS, RUN
from trainer.contract.records import is_complete, read_records
from trainer.contract.run import Run, load_run
from trainer.contract.strategies import PARAMETER_SERVER

GOODPUT = 0.941  # of an Ethernet link's rate, with frames of 1,500 bytes
COLUMNS = (
    Column("busiest_bytes", ("busiest", "[MB]"), 1e-6, 2),
    Column("images_per_s_low", ("slowest", "[images/s]"), 1, 0),
    Column("images_per_s_high", ("fastest", "[images/s]"), 1, 0),
    Column("speedup_low", ("from", "[x one]"), 1, 2),
    Column("speedup_high", ("to", "[x one]"), 1, 2),
    Column("measured_busiest_bytes", ("measured", "[MB]"), 1e-6, 2),
    Column("measured_images_per_s", ("measured", "[images/s]"), 1, 0),
)


@dataclass(frozen=True)
class Bounds:
    """Seconds in which every worker makes a step, and bytes one way through the busiest link meanwhile."""

    fastest_s: float
    slowest_s: float
    busiest_bytes: float


def bounds(compute_s: float, model_bytes: float, workers: int, dedicated: int, link_bit_per_s: float) -> Bounds:
    """The bounds on `workers` boards, of which `dedicated` are servers; 0: each has a server beside its worker.

    `compute_s`: of a step; `model_bytes`: of what a step reads and updates.
    """
    computing = workers - dedicated
    if dedicated:
        busiest, own = model_bytes * max(1.0, computing / dedicated), model_bytes
    else:  # its worker's exchange with the others' servers, and its server's with the others' workers
        own = model_bytes * (workers - 1) / workers
        busiest = 2 * own
    bytes_per_s = GOODPUT * link_bit_per_s / 8
    busy_s = busiest / bytes_per_s
    return Bounds(max(compute_s, busy_s), max(compute_s + 2 * own / bytes_per_s, busy_s), busiest)


def sent_bytes(server_bytes: Sequence[int], workers: int, dedicated: int) -> list[float]:
    """Bytes that each board sends while every worker makes a step, from what each server really holds."""
    computing, model = workers - dedicated, sum(server_bytes)
    if dedicated:
        return [float(model)] * computing + [float(held * computing) for held in server_bytes]
    return [float(model - held + held * (workers - 1)) for held in server_bytes]


def with_servers(folders: Iterable[Path]) -> list[Path]:
    """The folders of runs with parameter servers, on which no other prediction can stand."""
    return [folder for folder in folders if _strategy(folder) == PARAMETER_SERVER]


def _strategy(folder: Path) -> str | None:
    try:
        run = load_run(folder / RUN)
    except ConfigError:
        return None
    return run.config.strategy_on(run.workers)


def table(measured: Measured, workers: Sequence[int], link_bit_per_s: float, runs: Sequence[Path] = ()) -> pd.DataFrame:
    """A row for each number of boards with shared and with one dedicated server, and for each run with servers.

    workers, servers (dedicated ones), busiest_bytes, images_per_s_low and _high, speedup_low and _high over one board;
    of runs, what was measured, null for the others: measured_busiest_bytes, measured_images_per_s, run_id.
    """
    several = [(count, dedicated) for count in workers if count > 1 for dedicated in (0, 1)]
    rows = [_row(measured, count, dedicated, link_bit_per_s, {}) for count, dedicated in several]
    rows += [_row(measured, *_boards(folder), link_bit_per_s, measured_run(folder)) for folder in runs]
    return pd.DataFrame(rows)


def _boards(folder: Path) -> tuple[int, int]:
    run = load_run(folder / RUN)
    return run.workers, run.config.servers


def _row(
    measured: Measured, workers: int, dedicated: int, link_bit_per_s: float, found: Mapping[str, Any]
) -> dict[str, Any]:
    compute_s, images = alone_s(measured), (workers - dedicated) * measured.board_batch
    limits = bounds(compute_s, 4 * measured.total_parameters, workers, dedicated, link_bit_per_s)
    return {
        "workers": workers,
        "servers": dedicated,
        "busiest_bytes": found.get("placed_bytes", limits.busiest_bytes),
        "images_per_s_low": images / limits.slowest_s,
        "images_per_s_high": images / limits.fastest_s,
        "speedup_low": (workers - dedicated) * compute_s / limits.slowest_s,
        "speedup_high": (workers - dedicated) * compute_s / limits.fastest_s,
        "measured_busiest_bytes": found.get("busiest_bytes", math.nan),
        "measured_images_per_s": found.get("images_per_s", math.nan),
        "run_id": found.get("run_id"),
    }


def measured_run(folder: Path) -> dict[str, Any]:
    """What a run with parameter servers did in all epochs but the first.

    run_id, images_per_s; while every worker makes a step, busiest_bytes, of the board that sent most, and placed_bytes,
    what it had to send by what each server held.
    """
    run, loaded = load_run(folder / RUN), load([folder])
    made = measure(loaded.runs, loaded.boards, loaded.epochs, loaded.windows)
    busiest_bytes, held = exchanged(run, folder)
    placed = {"placed_bytes": max(sent_bytes(held, run.workers, run.config.servers))} if held else {}
    return {
        **placed,
        "run_id": run.run_id,
        "images_per_s": float(made["images_per_s"].iloc[0]),
        "busiest_bytes": busiest_bytes,
    }


def exchanged(run: Run, folder: Path) -> tuple[float, list[int] | None]:
    """Bytes that the busiest board sent while every worker made a step, in all epochs but the first; what servers held.

    NaN where a board did not count its bytes, or left no records; null where no board says what servers held.
    """
    sent: list[float] = []  # bytes of each board
    steps = 0
    held: list[int] | None = None
    for board in run.boards:
        path = folder / BOARDS / board / EVENTS
        events = [it for it in read_records(path)[0] if is_complete(it)] if path.is_file() else []
        held = held or next((it["server_bytes"] for it in events if it["event"] == Start.KIND), None)
        later = [it for it in events if it["event"] in (Epoch.KIND, Served.KIND) and it["epoch"] > 1]
        steps += sum(it.get("steps", 0) for it in later)
        counted = [it["sent_bytes"] for it in later]
        sent.append(math.nan if None in counted or not counted else sum(counted))
    known = steps and not any(map(math.isnan, sent))
    return (max(sent) * run.config.computing(run.workers) / steps if known else math.nan), held


def as_text(found: pd.DataFrame) -> str:
    """The table as text."""
    columns = [column for column in COLUMNS if found[column.field].notna().any()]
    heads = ["boards", "servers", *("\n".join(column.heading) for column in columns)]
    rows = [
        [
            str(row["workers"]),
            f"{row['servers']} dedicated" if row["servers"] else "shared",
            *(column.cell(row) for column in columns),
        ]
        for row in records(found)
    ]
    return "\n".join(text_table(heads, rows, right={*range(len(heads))} - {1}, gap=1))
