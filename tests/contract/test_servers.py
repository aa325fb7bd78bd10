"""Runs with parameter servers: real supervisors, chiefs, workers and servers on this machine."""

import json
import os
import shutil
import signal
import socket
import subprocess
import time
from dataclasses import asdict
from pathlib import Path

import pytest

from controller import synthetic
from tests import PROJECT
from trainer.contract.config import parse, to_dict
from trainer.contract.layout import PEERS_KEY, PEERS_KEY_BYTES, SCHEMA
from trainer.contract.records import read_records
from trainer.contract.run import Run
from trainer.supervise.remains import PID
from trainer.supervise.watchdog import process_state

pytestmark = pytest.mark.tensorflow
IMAGES, BATCH = 128, 16
PYTHON = PROJECT / ".board-venv/bin/python"
RESUMED_WITH = {"run.json", "tf_config.json", "checkpoints", "events.jsonl"}
LIMITS = {"start": 180, "stall": 60, "total": 300, "silence": 10}


class Boards:
    """Boards that are folders of one machine."""

    def __init__(self, parent: Path, workers: int, **fields):
        images = parent / "images.tar.gz"
        synthetic.write_archive(images, IMAGES, 32)
        names = [f"board-{number + 1}" for number in range(workers)]
        self.folders = [parent / name / "run" for name in names]
        config = parse(
            {
                "epochs": 2,
                "batch_size": BATCH,
                "window_steps": 2,
                "strategy": "parameter_server",
                "data": {"path": str(images), "sharding": "sharded"},
                "model": {"image_size": 32, "weights": "none"},
                "sync": {"method": "asynchronous"},
                **fields,
            }
        )
        assets = {"dataset": {"path": str(images), "sha256": digest(images)}}
        run = Run("run", "train", "x", workers, 1, names, config, assets, "", None, None)
        addresses = free_addresses(workers)
        for rank, folder in enumerate(self.folders):
            folder.mkdir(parents=True)
            write(folder / "run.json", {"schema": SCHEMA, **asdict(run), "config": to_dict(config)})
            write(folder / "tf_config.json", told(addresses, rank))

    def start(self):
        key = os.urandom(PEERS_KEY_BYTES)
        for folder in self.folders:
            (folder / PEERS_KEY).write_bytes(key)
            limits = [word for name, limit in LIMITS.items() for word in (f"--{name}-limit", str(limit))]
            subprocess.run(
                [PYTHON, "-m", "trainer.supervise.supervisor", "--config", folder / "run.json", *limits],
                cwd=PROJECT,
                env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "2", "CUDA_VISIBLE_DEVICES": "-1"},
                check=True,
            )

    def stop(self):
        for folder in self.folders:
            subprocess.run(
                [PYTHON, "-m", "trainer.supervise.supervisor", "--config", folder / "run.json", "--stop"],
                cwd=PROJECT,
                check=True,
            )

    def stop_and_keep_what_a_resumed_run_gets(self):
        self.stop()
        for folder in self.folders:
            for path in [it for it in folder.iterdir() if it.name not in RESUMED_WITH]:
                shutil.rmtree(path) if path.is_dir() else path.unlink()

    def results(self, limit_s=200):
        """Once the supervisors have ended, which know why other boards failed."""
        deadline = time.monotonic() + limit_s
        while any(process_state(int((folder / PID).read_text())) != "Z" for folder in self.folders):
            assert time.monotonic() < deadline, [log(folder) for folder in self.folders]
            time.sleep(0.2)
        return [json.loads((folder / "result.json").read_text()) for folder in self.folders]

    def records(self, rank, kind):
        path = self.folders[rank] / "events.jsonl"
        return [record for record in read_records(path)[0] if record["event"] == kind] if path.exists() else []

    def wait_for(self, rank, kind, limit_s=150):
        deadline = time.monotonic() + limit_s
        while not self.records(rank, kind):
            assert time.monotonic() < deadline, [log(folder) for folder in self.folders]
            time.sleep(0.1)

    def process(self, rank, task):
        """The process id of a board's task."""
        for path in Path("/proc").glob("[0-9]*/cmdline"):
            words = path.read_bytes().split(b"\0") if path.exists() else []
            if str(self.folders[rank] / "run.json").encode() in words and task.encode() in words:
                return int(path.parent.name)
        raise AssertionError(f"no {task} on board {rank}")


def digest(path):
    from trainer.formats.archives import sha256

    return sha256(path)


def write(path, value):
    path.write_text(json.dumps(value))


def told(addresses, rank):
    return {"cluster": {"worker": addresses}, "task": {"type": "worker", "index": rank}}


def log(folder):
    return (folder / "trainer.log").read_text(errors="replace")[-3000:] if (folder / "trainer.log").exists() else ""


def free_addresses(count):
    """As many ports, each with the next three free."""
    found, port = [], 23000 + os.getpid() % 200 * 40
    while len(found) < count:
        port += 4
        try:
            for offset in range(4):
                socket.create_server(("127.0.0.1", port + offset)).close()
        except OSError:
            continue
        found.append(f"127.0.0.1:{port}")
    return found


@pytest.fixture
def started(tmp_path):
    made = []

    def start(workers, **fields):
        boards = Boards(tmp_path, workers, **fields)
        made.append(boards)
        boards.start()
        return boards

    yield start
    for boards in made:
        boards.stop()


def test_shared_servers_train_a_pass_and_every_board_has_its_records(started):
    boards = started(2)
    results = boards.results()
    assert [result["status"] for result in results] == ["succeeded"] * 2, [log(folder) for folder in boards.folders]
    start = boards.records(0, "start")[0]
    assert start["sync"] == "asynchronous" and start["strategy"] == "parameter_server"
    assert sum(start["server_bytes"]) == 4 * start["changing_parameters"]
    for epoch in (1, 2):
        of_boards = [
            record for rank in range(2) for record in boards.records(rank, "epoch") if record["epoch"] == epoch
        ]
        assert sum(record["images"] for record in of_boards) == IMAGES
        assert sum(record["steps"] for record in of_boards) == IMAGES // BATCH
        assert len({(record["loss"], record["val_accuracy"]) for record in of_boards}) == 1
    for rank in range(2):
        assert not list(boards.folders[rank].glob("*.images"))
        for window in boards.records(rank, "window"):
            assert window["payload_bytes"] == 8 * start["changing_parameters"] * window["steps"]
            parts = window["compute_s"] + window["communication_s"] + window["waiting_s"]
            assert parts == pytest.approx(window["elapsed_s"]) and window["compute_s"] > 0 < window["communication_s"]
            assert 0 <= window["staleness"] <= IMAGES // BATCH
        assert boards.records(rank, "end")[0]["epochs"] == 2
    assert (boards.folders[0] / "weights/final.h5").exists() and not (boards.folders[1] / "weights").exists()


def test_a_killed_worker_is_recorded_and_the_others_make_its_steps(started):
    boards = started(2, epochs=4)
    boards.wait_for(1, "window")
    os.kill(boards.process(1, "worker"), signal.SIGKILL)
    results = boards.results()
    assert [result["status"] for result in results] == ["succeeded"] * 2, [log(folder) for folder in boards.folders]
    (lost,) = boards.records(1, "lost")
    assert lost["cause"] == "the worker of board-2 was ended by SIGKILL"
    for epoch in range(1, 5):
        of_boards = [
            record for rank in range(2) for record in boards.records(rank, "epoch") if record["epoch"] == epoch
        ]
        assert sum(record["images"] for record in of_boards) >= IMAGES, "every step of the pass was made"
    assert boards.records(1, "epoch")[-1]["steps"] == 0 < boards.records(0, "epoch")[-1]["steps"]


def test_a_killed_server_ends_the_run_by_name(started):
    boards = started(2, servers=1, epochs=50)
    boards.wait_for(0, "window")
    os.kill(boards.process(1, "ps"), signal.SIGKILL)
    killed_s = time.monotonic()
    chief, server = boards.results(30)
    assert time.monotonic() - killed_s < 30
    assert server["status"] == "failed" and server["cause"] == "the parameter server of board-2 was ended by SIGKILL"
    assert chief["cause"] == f"stopped, because board-2 failed: {server['cause']}"


@pytest.mark.thorough
def test_a_resumed_run_goes_on_with_the_chiefs_checkpoint(started):
    boards = started(2, servers=1, epochs=3)
    boards.wait_for(0, "epoch")
    deadline = time.monotonic() + 20
    while not list(boards.folders[0].glob("checkpoints/*.npz")):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    boards.stop_and_keep_what_a_resumed_run_gets()
    assert not (boards.folders[1] / "checkpoints").exists()
    boards.start()
    results = boards.results()
    assert [result["status"] for result in results] == ["succeeded"] * 2, [log(folder) for folder in boards.folders]
    (resumed,) = boards.records(0, "resume")
    after = [record["epoch"] for record in boards.records(0, "epoch")]
    assert after[-1] == 3 and resumed["epoch"] >= 1
    assert boards.records(1, "served")[-1]["epoch"] == 3


@pytest.mark.thorough
def test_the_run_goes_on_without_a_board_that_is_a_worker_alone(started):
    boards = started(3, servers=1, epochs=4)
    boards.wait_for(1, "window")
    os.kill(boards.process(1, "worker"), signal.SIGKILL)
    chief, worker, server = boards.results()
    assert worker["status"] == "failed" and worker["cause"] == "the worker of board-2 was ended by SIGKILL"
    assert chief["status"] == server["status"] == "succeeded", [log(folder) for folder in boards.folders]
    assert boards.records(0, "epoch")[-1]["epoch"] == 4


@pytest.mark.thorough
def test_the_run_goes_on_without_the_worker_of_the_chiefs_board(started):
    boards = started(3, servers=1, epochs=4)
    boards.wait_for(0, "window")
    os.kill(boards.process(0, "worker"), signal.SIGKILL)
    results = boards.results()
    assert [result["status"] for result in results] == ["succeeded"] * 3, [log(folder) for folder in boards.folders]
    assert boards.records(0, "lost")[0]["cause"] == "the worker of board-1 was ended by SIGKILL"
    assert boards.records(1, "epoch")[-1]["epoch"] == 4
