"""The end of a run with plain Keras on two boards: one collective averages what each of them keeps apart."""

import json
import os
import socket
import subprocess

import pytest

from tests import PROJECT

pytestmark = pytest.mark.tensorflow

BOARD = """
import json, os, sys
from types import SimpleNamespace
rank, addresses = int(sys.argv[1]), sys.argv[2:]
os.environ["TF_CONFIG"] = json.dumps({"cluster": {"worker": addresses}, "task": {"type": "worker", "index": rank}})
import tensorflow as tf
from trainer.sync import keras

strategy = tf.distribute.MultiWorkerMirroredStrategy()

def build_model():
    layers = tf.keras.layers
    first = [layers.Dense(3, input_shape=(2,)), layers.BatchNormalization()]
    return tf.keras.Sequential([*first, layers.Dense(4), layers.BatchNormalization()])

with strategy.scope():
    model = build_model()
for number, variable in enumerate(model.variables):
    own = strategy.experimental_local_results(variable)[0]
    if variable.synchronization == tf.VariableSynchronization.ON_READ:
        own.assign(tf.fill(own.shape, number + 10.0 * rank))
context = SimpleNamespace(strategy=strategy, build_model=build_model)
ended = keras._with_variables_of_its_own(context, model)
first = [strategy.experimental_local_results(variable)[0].numpy().tolist() for variable in model.variables]
reduced = []
strategy.extended._reduce_to = lambda *told: reduced.append(told)
saved = [value.tolist() for value in ended.get_weights()]
print(json.dumps([[variable.synchronization.name for variable in model.variables], first, saved, len(reduced)]))
"""


def test_moving_statistics_are_the_mean_of_the_boards_and_reading_them_sends_nothing():
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(2)]
    addresses = [f"127.0.0.1:{one.getsockname()[1]}" for one in sockets]
    for one in sockets:
        one.close()
    boards = [
        subprocess.Popen(
            [PROJECT / ".board-venv/bin/python", "-c", BOARD, str(rank), *addresses],
            cwd=PROJECT,
            env={**os.environ, "PYTHONPATH": str(PROJECT), "TF_CPP_MIN_LOG_LEVEL": "2", "CUDA_VISIBLE_DEVICES": ""},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]
    try:
        ended = [board.communicate(timeout=200) for board in boards]
    finally:
        for board in boards:
            board.kill()
    assert [board.returncode for board in boards] == [0, 0], [errors[-3000:] for _, errors in ended]
    told = [json.loads(out.splitlines()[-1]) for out, _ in ended]
    kinds, chiefs, saved, reduced = told[0]
    assert kinds.count("ON_READ") == 4 and reduced == 0
    assert saved == told[1][2], "both boards have the same"
    for number, (kind, own, mean) in enumerate(zip(kinds, chiefs, saved, strict=True)):
        assert mean == ([number + 5.0] * len(own) if kind == "ON_READ" else own)
