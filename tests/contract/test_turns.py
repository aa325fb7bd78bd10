"""Workers that take turns in one process learn what boards learn: the same weights as two real processes with real
collectives between them."""

import json
import os
import socket
import subprocess

import numpy as np
import pytest

from tests import PROJECT

pytestmark = [pytest.mark.tensorflow, pytest.mark.slow]

BATCH, STEPS = 8, 20
METHODS = {
    "local_sgd": {"method": "local_sgd", "period": 4, "warm_up_steps": 4, "scale_rate": "sqrt"},
    "local_sgd, outer": {"method": "local_sgd", "period": 3, "outer_momentum": 0.5, "gradient_dtype": "float32"},
    "keras": {"method": "keras"},
    "allreduce": {"method": "allreduce", "gradient_dtype": "float16", "accumulate_steps": 2},
    "buckets": {"method": "allreduce", "gradient_dtype": "bfloat16", "bucket_bytes": 2_000_000},
    "powersgd": {"method": "powersgd", "gradient_dtype": "float32"},
}
COMMON = f"""
import json, sys, time
from pathlib import Path
from trainer.contract.config import parse
from trainer.contract.run import Run
folder, images, sync, addresses, rank = json.loads(sys.argv[1])
folder = Path(folder)
config = parse(dict(
    epochs=1, batch_size={BATCH}, deterministic=True, checkpoint_epochs=0, model=dict(image_size=32),
    data=dict(source="npz", path=images, sharding="sharded"), sync=sync,
))
run = Run("r", "train", "x", 2, 1, ["a", "b"], config, dict(dataset=dict(path=images)), "", None, None)
"""
BOARD = """
from trainer.__main__ import perform
from trainer.contract.cluster import Cluster
board = folder / str(rank)
board.mkdir()
perform(run, Cluster(addresses, rank), board, time.monotonic())
"""
IN_TURNS = """
import h5py, numpy as np
from benchmarks.machine.turns import train
train.set_threads(2)
train.train(run, folder / "turns")
def weights(path):
    found = []
    with h5py.File(path) as file:
        file.visititems(lambda name, it: found.append(it[()].ravel()) if isinstance(it, h5py.Dataset) else None)
    return np.concatenate(found)
real, ours = weights(folder / "0/weights/final.h5"), weights(folder / "turns/a/weights/final.h5")
print(json.dumps([len(ours), float(np.abs(ours - real).max()), float(np.abs(ours).max())]))
"""


def python(code: str, *told: object) -> subprocess.Popen:
    return subprocess.Popen(
        [PROJECT / ".board-venv/bin/python", "-c", COMMON + code, json.dumps(told)],
        cwd=PROJECT,
        # on one thread sums have one order
        env={**os.environ, "PYTHONPATH": str(PROJECT), "TF_CPP_MIN_LOG_LEVEL": "2", "TF_NUM_INTRAOP_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def said(process: subprocess.Popen) -> str:
    try:
        out, errors = process.communicate(timeout=600)
        assert process.returncode == 0, errors[-3000:]
        return out
    finally:
        process.kill()


@pytest.mark.parametrize(
    "method", [name if name == "local_sgd" else pytest.param(name, marks=pytest.mark.thorough) for name in METHODS]
)
def test_workers_in_turn_end_with_the_weights_of_real_boards(tmp_path, method):
    images, generator = tmp_path / "images.npz", np.random.default_rng(0)
    arrays = {}
    for split, count in (("train", 2 * BATCH * STEPS), ("test", 16)):
        arrays[f"x_{split}"] = generator.integers(0, 256, (count, 32, 32, 3), dtype=np.uint8)
        arrays[f"y_{split}"] = generator.integers(0, 5, count).astype(np.int32)
    np.savez(images, **arrays)
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(2)]
    addresses = [f"127.0.0.1:{one.getsockname()[1]}" for one in sockets]
    for one in sockets:
        one.close()
    told = str(tmp_path), str(images), METHODS[method], addresses
    boards = [python(BOARD, *told, rank) for rank in range(2)]
    for board in boards:
        said(board)
    count, difference, largest = json.loads(said(python(IN_TURNS, *told, None)).splitlines()[-1])
    assert count > 2_900_000 and largest > 0.1
    assert difference < 1e-5
