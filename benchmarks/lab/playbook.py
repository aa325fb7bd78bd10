"""The controller's time per run outside training: seconds by stage, for 2, 8 and 32 boards, cold and warm.

The trainer is a stand-in (standin/sitecustomize.py) that makes its records without TensorFlow, so that 32 boards fit on
one machine; all else is the real thing. Cold: the boards have neither the trainer's source nor the images, and no
connection is open. A machine of few cores is slower than boards of their own are: the modules and shells of all boards
run on it as well.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import statistics
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from benchmarks.lab.benchmark_run import PROJECT, BenchmarkRun
from trainer.contract.records import read_records

_WARM = 3  # runs
_ON_BOARD = "/srv/standin"
_NEIGHBOURS = Path("/proc/sys/net/ipv4/neigh/default/gc_thresh3")
_STAGES = {"run_config": "resolve and configure", "check": "check", "dataset": "data", "train": "start"}


def measure(sizes: Sequence[int]) -> Path:
    """Run on labs of these sizes; returns the file written."""
    rows: list[dict[str, Any]] = []
    for boards in sizes:
        own = BenchmarkRun("playbook", boards=boards, lab_core_share=1, lab_link_rate="1gbit")
        with _room_for_neighbours(boards), own as bench:
            bench.playbook(
                "benchmarks/lab/standin/install.yml", source=str(PROJECT / "benchmarks/lab/standin"), to=_ON_BOARD
            )
            for number in range(1 + _WARM):
                rows.append({"boards": boards, "warm": number > 0, **_run(bench, boards)})
            bench.rows = rows
            path = bench.write(summary=summary(rows))
            print(table(json.loads(path.read_text(encoding="utf-8"))), flush=True)
    return path


@contextlib.contextmanager
def _room_for_neighbours(boards: int) -> Iterator[None]:
    """Let the kernel's table of neighbours, which all boards share here, hold this many boards' for that time."""
    before = _NEIGHBOURS.read_text(encoding="ascii") if _NEIGHBOURS.exists() else ""
    wanted = 2 * boards * (boards + 1)
    raised = bool(before) and int(before) < wanted and os.access(_NEIGHBOURS, os.W_OK)  # else lab_up has the remedy
    if raised:
        _NEIGHBOURS.write_text(f"{wanted}\n", encoding="ascii")
    try:
        yield
    finally:
        if raised:
            _NEIGHBOURS.write_text(before, encoding="ascii")


def _run(bench: BenchmarkRun, boards: int) -> dict[str, Any]:
    times = bench.runs / "task_times.jsonl"
    times.unlink(missing_ok=True)
    environment = {
        "CLUSTER_KIT_TASK_TIMES": str(times),
        "ANSIBLE_CALLBACK_PLUGINS": "plugins/callback:benchmarks/lab/callbacks",
        "ANSIBLE_CALLBACKS_ENABLED": "interrupt,task_times",
    }
    override = {"epochs": 2, "data": {"source": "synthetic", "train_images": 128, "validation_images": 64}}
    folder = bench.run(
        boards, override, environment=environment, train_environment={"PYTHONPATH": _ON_BOARD}, train_poll_s=1
    )
    tasks = [json.loads(line) for line in times.read_text(encoding="utf-8").splitlines()]
    starts = [
        next(record for record in read_records(path)[0] if record["event"] == "start")
        for path in folder.glob("boards/*/events.jsonl")
    ]
    processes = [record["time_s"] - record["startup_s"] for record in starts]  # when each trainer's began
    shutil.rmtree(folder)
    seconds: dict[str, float] = {}
    before = bench.command_began_s
    stage = "ansible's own start"
    for task in tasks:
        seconds[stage] = seconds.get(stage, 0.0) + task["time_s"] - before
        before = task["time_s"]
        role = task["role"]
        stage = "collect" if role == "collect" else _STAGES.get(role, stage)
        if role == "train" and task["name"].startswith("Follow"):
            stage = "training"
    # training, as the follower sees it, less what the stand-in takes: noticing the end is the controller's
    return {
        "until_first_step_s": max(record["time_s"] for record in starts) - bench.command_began_s,
        "starts_apart_s": max(processes) - min(processes),
        "collect_s": seconds["collect"],
        "controller_cpu_s": bench.command_cpu_s,
        "stages_s": {name: value for name, value in seconds.items() if name != "training"},
    }


def summary(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """A row per number of boards, cold and warm: medians."""
    found = []
    for boards in dict.fromkeys(row["boards"] for row in rows):
        for warm in (False, True):
            own = [row for row in rows if row["boards"] == boards and row["warm"] == warm]
            if not own:
                continue
            totals = [row["until_first_step_s"] + row["collect_s"] for row in own]
            found.append(
                {
                    "boards": boards,
                    "warm": warm,
                    "runs": len(own),
                    "outside_training_s": statistics.median(totals),
                    "outside_training_s_min": min(totals),
                    "outside_training_s_max": max(totals),
                    "until_first_step_s": statistics.median(row["until_first_step_s"] for row in own),
                    "collect_s": statistics.median(row["collect_s"] for row in own),
                    "controller_cpu_s": statistics.median(row["controller_cpu_s"] for row in own),
                    "starts_apart_s": statistics.median(row["starts_apart_s"] for row in own),
                    "stages_s": {
                        name: statistics.median(row["stages_s"].get(name, 0.0) for row in own)
                        for name in own[0]["stages_s"]
                    },
                }
            )
    return found


def table(result: dict[str, Any]) -> str:
    """The summary as a table in Markdown."""
    stages = ["ansible's own start", *dict.fromkeys(_STAGES.values()), "collect"]  # as they follow each other
    lines = [
        f"| boards | | runs (n) | outside training [s] (least to greatest) | {' | '.join(stages)} | "
        "between first and last start [s] | CPU time of the controller [s] |",
        f"|--:|---|--:|--:|{'--:|' * len(stages)}--:|--:|",
    ]
    for row in result["summary"]:
        seconds = " | ".join(f"{row['stages_s'][name]:.1f}" for name in stages)
        lines.append(
            f"| {row['boards']} | {'warm' if row['warm'] else 'cold'} | {row['runs']} | "
            f"{row['outside_training_s']:.1f} ({row['outside_training_s_min']:.1f} to "
            f"{row['outside_training_s_max']:.1f}) | {seconds} | "
            f"{row['starts_apart_s']:.2f} | {row['controller_cpu_s']:.1f} |"
        )
    return "\n".join(lines)
