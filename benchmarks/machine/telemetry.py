"""The cost of telemetry on a board: its fraction of a core, and its effect on the time of a step.

The sampler of supervise/telemetry.py and a fixed amount of computing share one core of this machine; the sampler is on
and off in turn. Without tegrastats the kernel's counters are read; with it its lines are parsed, which takes less.
"""

from __future__ import annotations

import json
import os
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.lab.benchmark_run import RUNS, BenchmarkRun
from trainer.supervise.telemetry import Telemetry

_TURN_S = 15.0
_SIZE = 512  # of the matrices whose product is a step


def measure(turns: int) -> Path:
    """Turns with and without; returns the file written."""
    cores = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(cores)})
    RUNS.mkdir(exist_ok=True)
    bench = BenchmarkRun("telemetry")  # never entered: no boards are needed
    for turn in range(1, turns + 1):
        for sampled in (False, True):
            bench.rows.append({"turn": turn, "sampled": sampled, **_turn(sampled)})
    share = _idle_share()
    os.sched_setaffinity(0, cores)
    path = bench.write(core_share=share)
    print(table(json.loads(path.read_text(encoding="utf-8"))), flush=True)
    return path


def _turn(sampled: bool) -> dict[str, float]:
    matrix = np.ones((_SIZE, _SIZE), np.float32)
    with tempfile.TemporaryDirectory() as folder:
        sampler = Telemetry(Path(folder), "lo") if sampled else None
        times, end = [], time.monotonic() + _TURN_S
        while time.monotonic() < end:
            began = time.monotonic()
            for _ in range(20):
                matrix @ matrix
            times.append(time.monotonic() - began)
        if sampler:
            sampler.stop()
    return {"step_s": statistics.fmean(times)}


def _idle_share() -> float:
    """Fraction of a core that the sampler uses."""
    with tempfile.TemporaryDirectory() as folder:
        before, began = time.process_time(), time.monotonic()
        sampler = Telemetry(Path(folder), "lo")
        time.sleep(_TURN_S)
        share = (time.process_time() - before) / (time.monotonic() - began)
        sampler.stop()
    return share


def table(result: dict[str, Any]) -> str:
    """What was measured, as a table in Markdown."""
    lines = ["| telemetry | turns (n) | ms per step (least to greatest) |", "|---|--:|--:|"]
    for sampled, name in ((False, "off"), (True, "on")):
        steps = [1000 * row["step_s"] for row in result["rows"] if row["sampled"] == sampled]
        lines.append(
            f"| {name} | {len(steps)} | {statistics.median(steps):.3f} ({min(steps):.3f} to {max(steps):.3f}) |"
        )
    return "\n".join([*lines, "", f"The sampler takes {result['core_share']:.2%} of a core."])
