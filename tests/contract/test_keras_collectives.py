"""Keras' `fit` on two real processes: its collectives in the trace, and the time that they take at two link rates."""

import json
import os
import socket
import subprocess
import threading
import time

import pytest

from controller import synthetic
from tests import PROJECT

pytestmark = pytest.mark.tensorflow

STEPS = 6
GRADIENT_BYTES = 4 * (1280 * 512 + 512 + 512 * 100 + 100)  # of the head
RATES = (40e6, 120e6)  # bit/s
BOARD = """
import json, sys, time
from pathlib import Path
import tensorflow as tf
from trainer.__main__ import perform
from trainer.contract.cluster import Cluster
from trainer.contract.config import parse
from trainer.contract.run import Run
from trainer.contract.methods import Variant
from trainer.learning.context import TrainingContext
from trainer.measure import trial

folder, images, addresses, rank, precision, names = json.loads(sys.argv[1])
steps, made = [], trial._fit_step

def fit_step(model, batches):
    steps.append((model, batches))
    return made(model, batches)

def use(context):
    context.precision, context.xla = precision, "none"
    tf.keras.mixed_precision.set_global_policy(precision)

def collectives(model, batches):
    '''Number of collectives in the trace of a step after the first, which makes variables.'''
    whole = model.train_tf_function.get_concrete_function(batches).graph.as_graph_def()
    nodes = [*whole.node, *(node for function in whole.library.function for node in function.node_def)]
    return sum(node.op.startswith("CollectiveReduce") for node in nodes)

trial._fit_step, TrainingContext._use_the_gpu = fit_step, use
trial._CYCLES, trial._ALONE_STEPS = 3, 6
trial.VARIANTS = [Variant(name, 6) for name in names]
config = parse({
    "epochs": 3, "batch_size": 16, "data": {"path": images},
    "model": {"image_size": 32, "fine_tune": "head", "cache_features": True},
})
run = Run("r", "trial", "x", 2, 1, ["a", "b"], config, {"dataset": {"path": images}}, "", None, None)
board = Path(folder) / str(rank)
board.mkdir()
perform(run, Cluster(addresses, rank), board, time.monotonic())
records = [json.loads(line) for line in (board / "events.jsonl").read_text().splitlines()]
print(json.dumps([[record for record in records if record["event"] == "trial"], [collectives(*it) for it in steps]]))
"""


class Link:
    """Passes on what arrives at `port` to another port of this machine, at a rate in each direction."""

    def __init__(self, to: int, bit_per_s: float) -> None:
        self._to, self._rate = to, bit_per_s / 8
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port = self._listening.getsockname()[1]
        self._free = [threading.Lock(), threading.Lock()]  # of each direction, shared by all connections
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        self._listening.close()

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._listening.accept()
                far = socket.create_connection(("127.0.0.1", self._to))
            except OSError:  # closed, or the other board does not listen yet: TensorFlow tries again
                if self._listening.fileno() < 0:
                    return
                near.close()
                continue
            for direction, (one, other) in enumerate(((near, far), (far, near))):
                threading.Thread(target=self._pass_on, args=(one, other, direction), daemon=True).start()

    def _pass_on(self, one: socket.socket, other: socket.socket, direction: int) -> None:
        try:
            while content := one.recv(1 << 15):
                with self._free[direction]:
                    began = time.monotonic()
                    other.sendall(content)
                    time.sleep(max(0.0, len(content) / self._rate - (time.monotonic() - began)))
        except OSError:
            pass
        finally:
            one.close()
            other.close()


def timed(tmp_path_factory, bit_per_s, precision, names):
    """Of each board, the records of a trial of these methods and the number of collectives in each trace."""
    folder = tmp_path_factory.mktemp("keras")
    synthetic.write_archive(folder / "images.tar.gz", 128, 32)
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(2)]
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    links = [Link(port, bit_per_s) for port in ports]
    boards = []
    for rank in range(2):
        # each reaches the other over a link
        addresses = [f"127.0.0.1:{ports[its] if its == rank else links[its].port}" for its in range(2)]
        given = json.dumps([str(folder), str(folder / "images.tar.gz"), addresses, rank, precision, names])
        boards.append(
            subprocess.Popen(
                [PROJECT / ".board-venv/bin/python", "-c", BOARD, given],
                cwd=PROJECT,
                env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "2", "CUDA_VISIBLE_DEVICES": ""},
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
        )
    try:
        ended = [board.communicate(timeout=500) for board in boards]
    finally:
        for board in boards:
            board.kill()
        for link in links:
            link.close()
    assert [board.returncode for board in boards] == [0, 0], [errors[-3000:] for _, errors in ended]
    return [json.loads(out.splitlines()[-1]) for out, _ in ended]


@pytest.fixture(scope="module")
def by_rate(tmp_path_factory):
    names = ["keras", "keras, metrics epoch"]
    return {rate: timed(tmp_path_factory, rate, "float32", names) for rate in RATES}


@pytest.mark.thorough
def test_a_step_of_fit_has_seven_collectives_and_one_where_metrics_wait_for_the_epoch(by_rate):
    for boards in by_rate.values():
        for _, collectives in boards:
            assert collectives == [0, 7, 1]  # of one board alone, then of the methods


def of(boards, name, field):
    return [record[field] / record["steps"] for records, _ in boards for record in records if record["sync"] == name]


@pytest.mark.thorough
@pytest.mark.parametrize("name", ["keras", "keras, metrics epoch"])
@pytest.mark.parametrize("rate", RATES)
def test_communication_is_what_a_step_takes_longer_than_without(by_rate, rate, name):
    boards = by_rate[rate]
    least = {it: min(of(boards, it, "elapsed_s")) for it in (name, "no_sync")}
    stalls = dict(zip(of(boards, name, "elapsed_s"), of(boards, name, "communication_s"), strict=True))
    assert stalls[least[name]] == pytest.approx(least[name] - least["no_sync"], rel=0.1)
    assert stalls[least[name]] > 8 * GRADIENT_BYTES / rate * 0.9


@pytest.mark.thorough
def test_all_collectives_are_counted_in_bytes(by_rate):
    for boards in by_rate.values():
        assert set(of(boards, "keras", "payload_bytes")) == {GRADIENT_BYTES + 6 * 4}
        assert set(of(boards, "keras, metrics epoch", "payload_bytes")) == {GRADIENT_BYTES}
        assert set(of(boards, "no_sync", "payload_bytes")) == {0}


def test_communication_is_recorded_with_mixed_precision_too(tmp_path_factory):
    boards = timed(tmp_path_factory, RATES[1], "mixed_float16", ["keras"])
    assert set(of(boards, "keras", "payload_bytes")) == {GRADIENT_BYTES + 6 * 4}
    assert min(of(boards, "keras", "communication_s")) > 8 * GRADIENT_BYTES / RATES[1] * 0.9
