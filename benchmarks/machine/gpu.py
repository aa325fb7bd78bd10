"""`make bench-gpu`: one board's step with PyTorch on a CUDA GPU, plain and tuned, and two workers on one GPU.

Runs the trainer itself, in a process for each worker, on random images of the paper's size. Needs PyTorch, NumPy, h5py
and this checkout, nothing else of the kit, so that it runs wherever there is a GPU. Windows of the first epoch warm up.
"""

from __future__ import annotations

import argparse
import os
import platform
import socket
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any, Dict, List

import numpy as np

from trainer.contract.config import parse, to_dict
from trainer.contract.layout import EVENTS, RUN, TF_CONFIG, write_json
from trainer.contract.records import read_records
from trainer.formats.archives import sha256

_PROJECT = Path(__file__).resolve().parents[2]
_IMAGES, _CLASSES, _SIDE, _BATCH = 6400, 100, 32, 64
_LIMIT_S = 200  # of a row
_TUNED = {"precision": "mixed_bfloat16", "xla": "jit_compile"}
_LOCAL = {"method": "local_sgd", "period": 16}
# label, workers, section model, strategy, section sync
_ROWS: List[Any] = [
    ("one board, float32", 1, {}, "none", {"method": "allreduce"}),
    ("one board, bfloat16, compiled", 1, _TUNED, "none", {"method": "allreduce"}),
    ("two workers on one GPU, c10d allreduce", 2, {}, "c10d", {"method": "allreduce"}),
    ("two workers on one GPU, c10d local_sgd", 2, {}, "c10d", _LOCAL),
]


def measure(batch: int) -> Dict[str, Any]:
    """The rows' images per second and milliseconds per step."""
    import torch

    rows = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        images = folder / "images.npz"
        _write_images(images)
        for label, workers, model, strategy, sync in _ROWS:
            config = {
                "engine": "pytorch",
                "strategy": strategy,
                "epochs": 3,
                "batch_size": batch,
                "checkpoint_epochs": 0,
                "data": {"source": "npz", "path": str(images), "sharding": "sharded"},
                "model": {"weights": "none", **model},
                # marks within steps would make the device wait
                "sync": {**sync, "step_times": False},
            }
            row = {"row": label, "workers": workers, **_timed(folder / f"row-{len(rows)}", images, config, workers)}
            print(f"{label}: {row['step_s'] * 1e3:.1f} ms per step, {row['images_per_s']:.0f} images/s", flush=True)
            rows.append(row)
    properties = torch.cuda.get_device_properties(0)
    machine = {"gpu": properties.name, "memory_bytes": properties.total_memory, "torch": torch.__version__}
    machine.update(cuda=torch.version.cuda, python=platform.python_version(), cores=len(os.sched_getaffinity(0)))
    return {"machine": machine, "batch": batch, "rows": rows}


def _write_images(path: Path) -> None:
    generator = np.random.default_rng(0)
    arrays = {}
    for split, count in (("train", _IMAGES), ("test", 4 * _CLASSES)):
        arrays[f"x_{split}"] = generator.integers(0, 256, (count, _SIDE, _SIDE, 3), dtype=np.uint8)
        arrays[f"y_{split}"] = np.arange(count) % _CLASSES
    np.savez(path, **arrays)


def _timed(folder: Path, images: Path, config: Dict[str, Any], workers: int) -> Dict[str, Any]:
    """Medians over the windows after the first epoch, of all workers together."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(workers)]
    addresses = [f"127.0.0.1:{each.getsockname()[1]}" for each in sockets]
    for each in sockets:
        each.close()
    boards = [f"worker-{rank}" for rank in range(workers)]
    run = {
        "run_id": "gpu",
        "task": "train",
        "experiment": "gpu",
        "workers": workers,
        "seed": 1,
        "boards": boards,
        "config": to_dict(parse(config)),
        "assets": {"dataset": {"path": str(images), "sha256": sha256(images)}},
        "trainer_sha256": "",
        **dict.fromkeys(("git_commit", "git_dirty")),
    }
    processes = []
    for rank, board in enumerate(boards):
        (folder / board).mkdir(parents=True)
        write_json(folder / board / RUN, run)
        task = {"type": "worker", "index": rank}
        write_json(folder / board / TF_CONFIG, {"cluster": {"worker": addresses}, "task": task})
        command = [sys.executable, "-m", "trainer", "--config", str(folder / board / RUN)]
        processes.append(subprocess.Popen(command, cwd=str(_PROJECT)))
    try:
        codes = [process.wait(_LIMIT_S) for process in processes]
    finally:
        for process in processes:
            process.kill()
    if any(codes):
        raise RuntimeError(f"the trainer failed with exit codes {codes}; the reason is above")
    records = [read_records(folder / board / EVENTS)[0] for board in boards]
    step_s, images_per_s = [], 0.0
    for events in records:
        windows = [record for record in events if record["event"] == "window" and record["epoch"] > 1]
        step_s.append(statistics.median(window["elapsed_s"] / window["steps"] for window in windows))
        images_per_s += statistics.median(window["images"] / window["elapsed_s"] for window in windows)
    start = next(record for record in records[0] if record["event"] == "start")
    shown = {name: start[name] for name in ("precision", "xla", "sync", "collective_asked")}
    return {"step_s": statistics.mean(step_s), "images_per_s": images_per_s, **shown}


def main() -> int:
    parser = argparse.ArgumentParser(prog="make bench-gpu", description=__doc__)
    parser.add_argument("--batch", type=int, default=_BATCH, help="images per step and worker (default: %(default)s)")
    parser.add_argument("--out", type=Path, default=_PROJECT / "runs" / "bench-gpu.json", help="file of the results")
    options = parser.parse_args()
    try:
        import torch
    except ImportError:
        print("no PyTorch for this Python: make setup-torch, or name another one with PYTHON=...")
        return 1
    if not torch.cuda.is_available():
        print("no CUDA GPU: nothing is measured")
        return 0
    result = measure(options.batch)
    options.out.parent.mkdir(parents=True, exist_ok=True)
    write_json(options.out, result)
    print(f"written: {options.out}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
