"""Time and memory of the analysis for many long runs, with generated run folders and no boards.

The paper's configuration: 782 steps an epoch, so with 10 steps a window 79 windows, 100 epochs, two boards. The values
are made up, but the lines are written by the trainer's own records and as long as real ones.
"""

from __future__ import annotations

import json
import math
import random
import subprocess
import sys
import tempfile
from pathlib import Path

from benchmarks.lab.benchmark_run import PROJECT
from tests.data.build_runs import build_run
from trainer.contract.events import Window

_EPOCHS, _STEPS, _WINDOW_STEPS = 100, 782, 10
# a process that has imported nothing yet
_MEASURED = """
import resource, sys, time
from pathlib import Path
began = time.perf_counter()
from analysis import compare, load
imported = time.perf_counter()
comparison = compare(load(Path(sys.argv[1]).iterdir()))
ended = time.perf_counter()
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
print(f"{len(comparison.runs)} runs loaded and compared in {ended - began:.1f} s, {imported - began:.1f} s of it "
      f"imports; {peak / 1e6:.0f} MB of memory at most")
"""


def measure(runs: int) -> str:
    """Generate runs, load and compare them in a separate process, and print time and memory."""
    with tempfile.TemporaryDirectory() as folder:
        size = generate(Path(folder), runs)
        done = subprocess.run(
            [sys.executable, "-c", _MEASURED, folder],
            cwd=PROJECT,
            capture_output=True,
            text=True,
            check=True,
        )
    return f"{size / 1e9:.2f} GB of records: {done.stdout.strip()}"


def generate(parent: Path, runs: int) -> int:
    """Write the runs; returns the bytes of their records."""
    noise = random.Random(1)
    size = 0
    for index in range(runs):
        folder = build_run(
            parent,
            f"run-{index:03}",
            workers=2,
            seed=index,
            epochs=_EPOCHS,
            step_s=noise.gauss(0.361, 0.01),
            # two methods of synchronising, and no run on one board: every run has two boards
            override={"epochs": _EPOCHS, "sync": {"method": ("keras", "allreduce")[index % 2]}},
        )
        for path in folder.glob("boards/*/events.jsonl"):
            size += _lengthen(path)
    return size


def _lengthen(path: Path) -> int:
    """Give every epoch as many windows as the paper's configuration has; returns the bytes of the file."""
    lines = []
    for line in path.read_text(encoding="utf-8").splitlines():
        record = json.loads(line)
        if record["event"] != Window.KIND:
            lines.append(line)
        elif record["first_step"] == 0:
            count = math.ceil(_STEPS / _WINDOW_STEPS)
            lines += [line.replace('"first_step": 0', f'"first_step": {_WINDOW_STEPS * at}') for at in range(count)]
    return path.write_text("\n".join(lines) + "\n", encoding="utf-8")
