"""PyTorch's DistributedDataParallel with gloo, on the same boards: the peer that the kit is measured against."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from benchmarks.sitting import Sitting

HERE = Path(__file__).parent
ON_BOARD = "/opt/cluster-kit/ddp"  # the environment, on the boards
_ENVIRONMENT = HERE.parents[1] / ".cache/ddp-env"
# communication hook -> boards; see peer.py
HOOKS = {"none, one board": 1, "none": 2, "fp16": 2, "powersgd, rank 2": 2, "post-local SGD, period 16": 2}


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


def run(sitting: Sitting, hook: str, boards: int, skip: int, timed: int) -> dict[str, Any]:
    """Time `timed` steps after `skip`; images_per_s of all boards, step_s and sent_bytes_per_step."""
    out = sitting.runs / "ddp"
    sitting.playbook(
        "benchmarks/ddp/run.yml", ddp_workers=boards, ddp_hook=hook, ddp_skip=skip, ddp_timed=timed, ddp_out=str(out)
    )
    found = [json.loads((out / f"{rank}.json").read_text(encoding="utf-8")) for rank in range(boards)]
    return {
        "images_per_s": sum(board["images"] / board["seconds"] for board in found),
        "step_s": found[0]["seconds"] / timed,
        "sent_bytes_per_step": sum(board["sent_bytes"] for board in found) / boards / timed,
    }
