"""Ways of synchronising, as two real processes with real collectives between them."""

import os
import socket
import subprocess
from pathlib import Path

import numpy as np
import pytest

PROJECT = Path(__file__).parents[2]
pytestmark = pytest.mark.tensorflow


def free_ports() -> list[int]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(2)]
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """Final weights of every scenario, as each of two boards has them."""
    folder = tmp_path_factory.mktemp("sync")
    addresses = [f"127.0.0.1:{port}" for port in free_ports()]
    files = [folder / f"{rank}.npz" for rank in range(2)]
    boards = [
        subprocess.Popen(
            [PROJECT / ".board-venv/bin/python", "tests/contract/two_boards.py", str(rank), *addresses, files[rank]],
            cwd=PROJECT,
            env={**os.environ, "PYTHONPATH": str(PROJECT), "TF_CPP_MIN_LOG_LEVEL": "2"},
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]
    try:
        for board in boards:
            _, errors = board.communicate(timeout=250)
            assert board.returncode == 0, errors[-3000:]
    finally:
        for board in boards:
            board.kill()
    return [dict(np.load(path)) for path in files]


def test_boards_end_with_the_same_weights(weights):
    first, second = weights
    for way in first:
        np.testing.assert_allclose(first[way], second[way], atol=2e-6, err_msg=way)


def difference(weights, way, other):
    return np.abs(weights[0][way] - weights[0][other]).max()


def test_something_was_learned(weights):
    assert difference(weights, "one board", "float16, large gradient") > 1e-2


def test_allreduce_on_two_boards_is_one_board_with_twice_the_batch(weights):
    assert difference(weights, "allreduce", "one board") < 1e-5


def test_buckets_change_nothing(weights):
    assert difference(weights, "buckets", "allreduce") < 1e-6


def test_local_sgd_that_averages_every_step_is_allreduce(weights):
    assert difference(weights, "local_sgd, period 1", "allreduce") < 1e-5


def test_a_warm_up_that_lasts_is_allreduce(weights):
    assert difference(weights, "local_sgd, warm", "allreduce") < 1e-5


def test_local_sgd_is_near_allreduce_and_not_the_same(weights):
    assert 1e-5 < difference(weights, "local_sgd", "allreduce") < 5e-2


@pytest.mark.parametrize(("way", "within"), [("float16", 2e-3), ("bfloat16", 1e-2)])
def test_short_numbers_lose_little(weights, way, within):
    assert 0 < difference(weights, way, "allreduce") < within


def test_a_large_gradient_stays_finite_in_float16(weights):
    assert np.isfinite(weights[0]["float16, large gradient"]).all()
