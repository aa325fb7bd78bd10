"""Supervisors of a run that goes on: real processes with trainers that only sleep, which are killed in every way."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time

import pytest

from tests import PROJECT
from trainer.contract.layout import PEERS_KEY
from trainer.contract.records import read_records
from trainer.supervise.watchdog import process_state

# makes an epoch every 0.15 s and a checkpoint of each, until all are to finish
TRAINER = """
import json, sys, time, zipfile
from pathlib import Path
from trainer.contract.checkpoints import START, Place, path_of, whole
from trainer.contract.layout import write_json
folder = Path(sys.argv[1])
done = max(whole(folder / "checkpoints"), default=START).epoch
print("begins after", done, flush=True)
(folder / "begun").write_text(str(done))
(folder / "checkpoints").mkdir(exist_ok=True)
if (folder / "broken").exists():
    sys.exit("the trainer cannot start")
while not (folder.parent / "finish").exists():
    time.sleep(0.15)
    done += 1
    with (folder / "events.jsonl").open("a") as file:
        record = {"event": "epoch", "time_s": time.time(), "epoch": done, "steps": 1, "images": 1, "train_s": 0.3,
                  "validation_s": 0, "epoch_s": 0.3, "loss": 1, "accuracy": 0, "val_loss": 1, "val_accuracy": 0,
                  "learning_rate": 1, "communication_s": 0, "waiting_s": 0, "sent_bytes": 0, "received_bytes": 0,
                  "payload_bytes": 0}
        file.write(json.dumps(record) + "\\n")
    with zipfile.ZipFile(path_of(folder / "checkpoints", Place(done)), "w") as file:
        file.writestr("arr_0.npy", "a checkpoint")
    (folder / "progress").touch()
result = {"status": "succeeded", "cause": None, "exit_code": 0, "started_s": 1, "ended_s": 2, "epochs_completed": done,
          "facts": {}}
write_json(folder / "result.json", result)
"""
SUPERVISOR = """
import os, sys
from pathlib import Path
from trainer.supervise import supervisor
folder = Path(sys.argv[1])
limits = supervisor.Limits(start=60, stall=60, total=120, silence=1.5, alone=float(sys.argv[2]))
command = [sys.executable, "-c", os.environ["TRAINER"], str(folder)]
sys.exit(supervisor.supervise(command, folder, limits, rejoin=len(sys.argv) > 3, witness=os.environ["WITNESS"]))
"""


def free_ports(count):
    """UDP ports, and the TCP ports before them."""
    sockets = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(count)]
    for it in sockets:
        it.bind(("127.0.0.1", 0))
    ports = [it.getsockname()[1] - 1 for it in sockets]
    for it in sockets:
        it.close()
    return ports


class Boards:
    """Supervisors of one run, a process each."""

    def __init__(self, tmp_path, count, alone_s=30, key=b"", witness="", **config):
        self.folders = [tmp_path / f"board-{rank + 1}" for rank in range(count)]
        addresses = [f"127.0.0.1:{port}" for port in free_ports(count)]
        self._key, self._alone_s, self._witness = key or os.urandom(32), str(alone_s), witness
        run = {
            "task": "train",
            "boards": [folder.name for folder in self.folders],
            "config": {"on_board_loss": "continue", "tie_break": "lowest_rank", "min_workers": 1, **config},
        }
        self.processes = []
        for rank, folder in enumerate(self.folders):
            folder.mkdir()
            tf_config = {"cluster": {"worker": addresses}, "task": {"type": "worker", "index": rank}}
            (folder / "tf_config.json").write_text(json.dumps(tf_config))
            (folder / "run.json").write_text(json.dumps(run))
            self.processes.append(self._start(folder))

    def _start(self, folder, *more):
        (folder / PEERS_KEY).write_bytes(self._key)
        command = [sys.executable, "-c", SUPERVISOR, str(folder), self._alone_s, *more]
        with (folder / "trainer.log").open("ab") as log:
            environment = {**os.environ, "TRAINER": TRAINER, "WITNESS": self._witness, "PYTHONPATH": str(PROJECT)}
            return subprocess.Popen(command, env=environment, stderr=log)

    def start_again(self, rank):
        """As the controller does with a board that was rebooted."""
        self.processes[rank].wait()
        self.processes[rank] = self._start(self.folders[rank], "rejoin")

    def trainer(self, rank):
        return json.loads((self.folders[rank] / "heartbeat.json").read_text())["trainer"]

    def living_trainer(self, rank):
        until(lambda: process_state(self.trainer(rank)) != "Z", "the heartbeat has the trainer that runs now")
        return self.trainer(rank)

    def kill_board(self, rank):
        """As if its power failed."""
        trainer = self.living_trainer(rank)
        self.processes[rank].kill()
        os.killpg(trainer, signal.SIGKILL)

    def generation(self, rank):
        path = self.folders[rank] / "generation.json"
        return json.loads(path.read_text()) if path.exists() else {"number": 1}

    def epochs(self, rank):
        return [it["epoch"] for it in self.records(rank) if it["event"] == "epoch"]

    def records(self, rank):
        path = self.folders[rank] / "events.jsonl"
        return read_records(path)[0] if path.exists() else []

    def result(self, rank):
        return json.loads((self.folders[rank] / "result.json").read_text())

    def train(self, *ranks):
        """Wait until these boards have made an epoch in their generation."""
        for rank in ranks:
            latest = self.generation(rank).get("epoch", 0)
            until(lambda rank=rank, latest=latest: max(self.epochs(rank), default=0) > latest, "it trains")

    def finish(self, *ranks):
        """Let the trainers end; these boards' supervisors have to succeed. Each epoch is there once."""
        (self.folders[0].parent / "finish").touch()
        assert [self.processes[rank].wait(timeout=60) for rank in ranks] == [0] * len(ranks)

    def stop(self):
        for rank, process in enumerate(self.processes):
            if process.poll() is None:
                process.kill()
            with contextlib.suppress(OSError, KeyError):
                os.killpg(self.trainer(rank), signal.SIGKILL)
            process.wait()


def until(true, what, limit_s=30):
    deadline = time.monotonic() + limit_s
    while not true():
        assert time.monotonic() < deadline, what
        time.sleep(0.05)


pytestmark = pytest.mark.slow


@pytest.fixture
def boards(tmp_path):
    made = []

    def make(*arguments, **options):
        made.append(Boards(tmp_path, *arguments, **options))
        until(lambda: all(made[-1].epochs(rank) for rank in range(len(made[-1].folders))), "all boards train")
        return made[-1]

    yield make
    for it in made:
        it.stop()


def whole(epochs):
    return epochs == list(range(1, len(epochs) + 1))


def test_a_killed_trainer_has_a_successor_on_all_boards_from_a_common_checkpoint(boards):
    run = boards(3)
    os.killpg(run.living_trainer(2), signal.SIGKILL)
    until(lambda: all(run.generation(rank)["number"] == 2 for rank in range(3)), "the second generation")
    run.train(0, 1, 2)
    run.finish(0, 1, 2)
    assert {json.dumps(run.generation(rank)) for rank in range(3)} == {json.dumps(run.generation(0))}
    assert run.generation(0)["members"] == [0, 1, 2]
    for rank in range(3):
        assert whole(run.epochs(rank)), "no epoch is missing or twice"
        (record,) = [it for it in run.records(rank) if it["event"] == "generation"]
        assert record["epoch"] == int((run.folders[rank] / "begun").read_text()) and record["lost"] == []
    assert "SIGKILL" in next(it for it in run.records(2) if it["event"] == "generation")["cause"]


def test_two_boards_go_on_without_the_chief_and_then_one_without_the_other(boards):
    run = boards(3)
    run.kill_board(0)
    until(lambda: run.generation(1)["number"] == run.generation(2)["number"] == 2, "the second generation")
    assert run.generation(1)["members"] == [1, 2]
    run.train(1, 2)
    run.kill_board(2)
    until(lambda: run.generation(1)["number"] == 3, "the third generation")
    run.train(1)
    run.finish(1)
    assert run.generation(1)["members"] == [1] and whole(run.epochs(1))
    lost = [(it["number"], it["lost"]) for it in run.records(1) if it["event"] == "generation"]
    assert lost == [(2, ["board-1"]), (3, ["board-3"])]


def test_of_two_boards_the_one_without_the_lowest_rank_waits_says_so_and_ends(boards):
    run = boards(2, alone_s=11)
    run.kill_board(0)
    assert run.processes[1].wait(timeout=60) != 0
    result = run.result(1)
    assert (result["status"], result["cause_kind"]) == ("failed", "alone")
    assert "waited 11 s for more than half of board-1, board-2, or half with board-1" in result["cause"]
    assert "supervisor: waiting for more than half" in (run.folders[1] / "trainer.log").read_text()


def test_with_the_controller_as_witness_the_last_board_goes_on_once_it_is_named(boards):
    run = boards(2, tie_break="controller")
    run.kill_board(0)
    beat = run.folders[1] / "heartbeat.json"
    until(lambda: json.loads(beat.read_text()).get("asks") == 2, "it asks to be named")
    (run.folders[1] / "grant.json").write_text('{"number": 3}')
    time.sleep(1)
    assert run.generation(1)["number"] == 1, "that is for another generation"
    (run.folders[1] / "grant.json").write_text('{"number": 2}')
    until(lambda: run.generation(1)["number"] == 2, "the second generation")
    run.train(1)
    run.finish(1)
    assert run.generation(1)["members"] == [1]


def test_with_a_host_as_witness_the_last_board_goes_on(boards, tmp_path):
    key, home = os.urandom(32), tmp_path / "witness"
    home.mkdir()
    (home / "key").write_bytes(key)
    command = [sys.executable, PROJECT / "trainer/supervise/witness.py", home, "60", "127.0.0.1"]
    port = subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout.decode().strip()
    try:
        run = boards(2, key=key, witness=f"127.0.0.1:{port}", tie_break="witness")
        run.kill_board(0)
        until(lambda: run.generation(1)["number"] == 2, "the second generation")
        run.train(1)
        run.finish(1)
    finally:
        os.kill(int((home / "pid").read_text()), signal.SIGTERM)
    assert run.generation(1)["members"] == [1]
    assert (home / "granted-2").read_text() == "1" and not (home / "key").exists()


def test_a_board_whose_trainer_dies_again_and_again_leaves_and_the_others_go_on(boards):
    run = boards(3)
    (run.folders[2] / "broken").touch()
    os.killpg(run.living_trainer(2), signal.SIGKILL)
    assert run.processes[2].wait(timeout=60) != 0
    assert "the trainer cannot start" in run.result(2)["cause"]
    until(lambda: run.generation(0)["number"] == run.generation(1)["number"] == 3, "the third generation")
    run.train(0, 1)
    run.finish(0, 1)
    assert run.generation(0)["members"] == [0, 1]


def test_where_all_boards_fail_the_last_one_does_not_wait_for_those_that_have_ended(boards):
    run = boards(3, alone_s=100)
    for folder in run.folders:
        (folder / "broken").touch()
    os.killpg(run.living_trainer(2), signal.SIGKILL)
    assert [process.wait(timeout=40) != 0 for process in run.processes] == [True] * 3
    assert any("the trainer cannot start" in run.result(rank)["cause"] for rank in range(3))


def test_a_board_without_its_checkpoints_costs_the_others_none_and_gets_theirs(boards):
    run = boards(3)
    (run.folders[2] / "checkpoints").rename(run.folders[2] / "none")
    os.killpg(run.living_trainer(2), signal.SIGKILL)
    until(lambda: all(run.generation(rank)["number"] == 3 for rank in range(3)), "the third generation")
    run.train(0, 1, 2)
    run.finish(0, 1, 2)
    second, third = (it for it in run.records(0) if it["event"] == "generation")
    assert second["epoch"] > 0 and second["lost"] == ["board-3"]
    assert third["boards"] == ["board-1", "board-2", "board-3"] and third["epoch"] > second["epoch"]


def test_a_stopped_trainer_is_replaced(boards):
    run = boards(2)
    os.killpg(run.living_trainer(1), signal.SIGSTOP)
    until(lambda: all(run.generation(rank)["number"] == 2 for rank in range(2)), "the second generation")
    run.train(0, 1)
    run.finish(0, 1)
    kinds = {it["cause_kind"] for rank in (0, 1) for it in run.records(rank) if it["event"] == "generation"}
    assert kinds == {"stopped", "peer"}


def test_a_board_that_is_stopped_from_outside_stops_all(boards):
    run = boards(2)
    run.processes[0].terminate()
    assert [process.wait(timeout=30) != 0 for process in run.processes] == [True, True]
    assert [run.result(rank)["status"] for rank in (0, 1)] == ["interrupted", "interrupted"]


def test_a_board_that_is_back_is_taken_in_with_the_others_checkpoint(boards):
    run = boards(3)
    stopped = [run.processes[2].pid, run.living_trainer(2)]
    for process in stopped:
        os.kill(process, signal.SIGSTOP)
    until(lambda: run.generation(0)["number"] == 2, "the second generation")
    assert run.generation(0)["members"] == [0, 1]
    run.train(0, 1)
    for process in stopped:
        os.kill(process, signal.SIGCONT)
    until(lambda: all(run.generation(rank)["number"] == 3 for rank in range(3)), "the third generation")
    run.train(0, 1, 2)
    run.finish(0, 1, 2)
    began = run.generation(0)["epoch"]
    assert run.generation(2) == {"number": 3, "members": [0, 1, 2], "epoch": began, "joined": [2], "images": 0}
    assert whole(run.epochs(0))
    epochs = run.epochs(2)
    assert began not in epochs and began + 1 in epochs, "it lacks what it missed"
    assert (run.folders[2] / "begun").read_text() == str(began)


def test_a_board_that_was_rebooted_is_taken_in_also_the_chief(boards):
    run = boards(2)
    run.kill_board(0)
    time.sleep(0.5)
    run.start_again(0)
    until(lambda: run.generation(0)["number"] == run.generation(1)["number"] == 2, "the second generation")
    assert run.generation(1)["members"] == [0, 1], "it kept its vote, without which the other could not go on"
    run.train(0, 1)
    run.kill_board(1)
    until(lambda: run.generation(0)["number"] == 3, "the third generation")
    run.train(0)
    run.start_again(1)
    until(lambda: run.generation(0)["number"] == run.generation(1)["number"] == 4, "the fourth generation")
    run.train(0, 1)
    run.finish(0, 1)
    assert run.generation(1)["joined"] == [1] and whole(run.epochs(0))
