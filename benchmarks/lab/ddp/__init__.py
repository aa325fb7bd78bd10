"""PyTorch's DistributedDataParallel with gloo, on the same boards: the peer that the kit is measured against."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from benchmarks.lab.benchmark_run import BenchmarkRun

HERE = Path(__file__).parent
ON_BOARD = "/opt/cluster-kit/ddp"  # the environment, on the boards
_ENVIRONMENT = HERE.parents[2] / ".cache/ddp-env"


def environment() -> Path:
    """The folder of a Python environment with PyTorch, made when it is not there."""
    stamp = _ENVIRONMENT / "complete"
    if not stamp.exists():
        print(f"installing PyTorch in {_ENVIRONMENT.name}", file=sys.stderr)
        subprocess.run([sys.executable, "-m", "venv", "--clear", _ENVIRONMENT], check=True)
        pip = [f"{_ENVIRONMENT}/bin/python", "-m", "pip", "install", "--quiet", "-r", f"{HERE}/requirements.txt"]
        subprocess.run(pip, check=True)
        stamp.touch()
    return _ENVIRONMENT


def run(bench: BenchmarkRun, cycles: int) -> list[dict[str, Any]]:
    """A row for each communication hook and cycle, of both boards together; see peer.py."""
    out = bench.runs / "ddp"
    bench.playbook("benchmarks/lab/ddp/run.yml", ddp_out=str(out), ddp_cycles=cycles)
    boards = [json.loads((out / f"{rank}.json").read_text(encoding="utf-8")) for rank in range(2)]
    rows = []
    for turns in zip(*boards, strict=True):
        training = [turn for turn in turns if turn["images"]]
        rows.append(
            {
                "sync": turns[0]["sync"],
                "boards": len(training),
                "cycle": turns[0]["cycle"],
                "images_per_s": sum(turn["images"] / turn["elapsed_s"] for turn in training),
                "step_s": sum(turn["elapsed_s"] / turn["steps"] for turn in training) / len(training),
                "sent_bytes_per_step": sum(turn["sent_bytes"] / turn["steps"] for turn in training) / len(training),
            }
        )
    return rows
