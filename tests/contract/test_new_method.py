"""A method that nobody has written yet, in a copy of the tree: one module and one record, and everything takes it."""

import json
import os
import shutil
import socket
import subprocess
import sys
import textwrap

import pytest

from tests import PROJECT

pytestmark = pytest.mark.tensorflow

MODULE = '''
"""All boards follow the mean of the signs of their gradients (Bernstein et al., "signSGD", ICML 2018)."""

import tensorflow as tf

from trainer.sync.allreduce import GradientMean
from trainer.sync.stepping import SynchronousSteps


def method(worker):
    return SynchronousSteps(worker, Signs(worker))


class Signs(GradientMean):
    def __call__(self, gradient):
        return super().__call__([tf.sign(part) for part in gradient])
'''
RECORD = """\
        Method(
            name="signs",
            sends="the signs of the gradient",
            when="every step",
            options=("gradient_dtype",),
            remedy="sync.method local_sgd",
            exchange=lambda sync, sizes: Exchange([sizes.gradient], 1),
            variants=(Variant("signs", trial_steps=4, predict_steps=4, predicted_as="signs"),),
        ),
"""
PLACE = "    for method in (\n"
HEAD_OF_A_RUN = """
import json, sys, time
from pathlib import Path
from trainer.__main__ import perform
from trainer.contract.cluster import Cluster
from trainer.contract.config import parse, to_dict
from trainer.contract.run import Run
from trainer.contract.results import Result
from trainer.contract.layout import write_json

def run(folder, images, task, addresses, rank, method):
    config = parse({
        "epochs": 1, "batch_size": 32, "data": {"path": str(images)}, "sync": {"method": method},
        "optimizer": {"name": "sgd", "learning_rate": 0.01},  # Adam takes little but signs
        "model": {"image_size": 32, "fine_tune": "head", "cache_features": True},
    })
    boards = [f"board-{number + 1}" for number in range(len(addresses))]
    run = Run("r", task, "x", len(boards), 1, boards, config, {"dataset": {"path": str(images)}}, "", None, None)
    board = folder / "boards" / boards[rank]
    board.mkdir(parents=True)
    if rank == 0:
        write_json(folder / "run.json", {**vars(run), "config": to_dict(config)})
    perform(run, Cluster(addresses, rank), board, time.monotonic())
    facts = {"link_rate_bit_per_s": 10**9}
    write_json(board / "result.json", vars(Result("succeeded", None, 0, 0.0, 0.0, 1, facts)))
    return [json.loads(line) for line in (board / "events.jsonl").read_text().splitlines()]
"""


@pytest.fixture(scope="module")
def copy(tmp_path_factory):
    """The tree with the method in it, and the files that differ from it."""
    copy = tmp_path_factory.mktemp("copy")
    for name in ("analysis", "controller", "trainer", "tests/data"):
        ignored = shutil.ignore_patterns("__pycache__", "rehearsal*", "wall_meter")
        shutil.copytree(PROJECT / name, copy / name, ignore=ignored)
    (copy / "trainer/sync/signs.py").write_text(MODULE)
    records = copy / "trainer/contract/methods.py"
    assert records.read_text().count(PLACE) == 1
    records.write_text(records.read_text().replace(PLACE, PLACE + RECORD))
    on_controller(copy, "from controller import synthetic; synthetic.write_archive(Path('images.tar.gz'), 128, 32)")
    return copy


def on_controller(copy, snippet, *arguments):
    """What a snippet prints, in the copy."""
    code = "import json, sys\nfrom pathlib import Path\n" + textwrap.dedent(snippet)
    command = [sys.executable, "-c", code, *map(str, arguments)]
    return subprocess.run(command, cwd=copy, check=True, stdout=subprocess.PIPE, text=True).stdout


def on_boards(copy, snippet, *arguments):
    """The same with the boards' Python, as many processes as there are `arguments`; returns what each prints last."""
    boards = [
        subprocess.Popen(
            [PROJECT / ".board-venv/bin/python", "-c", HEAD_OF_A_RUN + snippet, json.dumps(argument)],
            cwd=copy,
            env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "2", "CUDA_VISIBLE_DEVICES": ""},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for argument in arguments
    ]
    try:
        ended = [board.communicate(timeout=250) for board in boards]
    finally:
        for board in boards:
            board.kill()
    assert [board.returncode for board in boards] == [0] * len(boards), [errors[-3000:] for _, errors in ended]
    return [json.loads(out.splitlines()[-1]) for out, _ in ended]


@pytest.fixture(scope="module")
def trial(copy):
    """The folder of a trial of the new method on two boards; it has the records of each."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(2)]
    addresses = [f"127.0.0.1:{one.getsockname()[1]}" for one in sockets]
    for one in sockets:
        one.close()
    snippet = """
from trainer.measure import trial
rank, addresses = json.loads(sys.argv[1])
trial.VARIANTS = [variant for variant in trial.VARIANTS if variant.name == "signs"]  # all would take minutes
print(json.dumps(run(Path("trial"), Path("images.tar.gz").resolve(), "trial", addresses, rank, "keras")))
"""
    on_boards(copy, snippet, *([rank, addresses] for rank in range(2)))
    return copy / "trial"


def test_it_is_configured_and_trained_with(copy):
    snippet = """
rank, addresses = 0, ["127.0.0.1:1"]
print(json.dumps(run(Path(f"train-{method}"), Path("images.tar.gz").resolve(), "train", addresses, rank, method)))
"""
    signs, whole = on_boards(copy, "method = json.loads(sys.argv[1])" + snippet, "signs", "allreduce")
    assert signs[-1]["event"] == whole[-1]["event"] == "end"
    losses = [next(record["loss"] for record in records if record["event"] == "epoch") for records in (signs, whole)]
    assert losses[0] != pytest.approx(losses[1], rel=1e-3)


def test_a_trial_times_it(trial):
    for board in ("board-1", "board-2"):
        lines = (trial / "boards" / board / "events.jsonl").read_text().splitlines()
        timed = [record for record in map(json.loads, lines) if record["event"] == "trial"]
        assert {record["sync"] for record in timed} == {"signs", "one board", "no_sync"}
        (own,) = (record for record in timed if record["sync"] == "signs")
        assert own["steps"] == 4 and own["elapsed_s"] > 0 and own["payload_bytes"] > 0


def test_it_is_predicted_from_that_trial(copy, trial):
    command = ["predict", "--from", str(trial), "--workers", "8", "--link", "100", "--json"]
    out = on_controller(copy, "from analysis.__main__ import main; sys.exit(main(sys.argv[1:]))", *command)
    predicted = json.loads(out)
    assert predicted["constants"]["overhead_s"].keys() == {"signs"}
    rows = {row["sync"]: row for row in predicted["rows"]}
    assert 0 < rows["signs"]["communication_s"] < rows["allreduce, float16"]["communication_s"]


def test_it_is_compared(copy, tmp_path):
    out = on_controller(
        copy,
        """
        from analysis import compare, load
        from tests.data.build_runs import build_run
        parent = Path(sys.argv[1])
        build_run(parent, workers=1)
        build_run(parent, workers=2, step_s=1.2, override={"sync": {"method": "signs"}})
        compared = compare(load(parent.iterdir()))
        print(json.dumps([compared.arms["label"].tolist(), compared.verdict]))
        """,
        tmp_path,
    )
    labels, verdict = json.loads(out)
    assert labels == ["none", "signs"]
    assert "a faster link, sync.method local_sgd would change that" in verdict
