"""Which end of a task of a run with parameter servers ends the board's part of the run, and what is said of it."""

import json

import pytest

from trainer.contract.causes import Cause
from trainer.contract.cluster import Cluster
from trainer.contract.config import parse
from trainer.contract.records import read_records
from trainer.contract.run import Run
from trainer.supervise import tasks as module
from trainer.supervise.tasks import run_tasks

END = json.dumps({"event": "end", "epochs": 1, "train_s": 1.0, "total_s": 2.0})
BEGIN = json.dumps({"event": "start", "resumed": 1, "startup_s": 1.0, "step_bytes": 8})
LIVES, DIES = "exec sleep 30", "sleep 0.3; kill -9 $$"
ENDS = f"echo '{BEGIN}' >>relay.txt; sleep 0.8; echo '{END}' >>relay.txt; exec sleep 30"


@pytest.fixture
def cause(tmp_path, monkeypatch):
    """The cause with which a board ends, by what each of its tasks does."""

    def ended(rank=0, workers=2, servers=0, **does):
        python = tmp_path / "python"
        cases = "\n".join(f"*{task}) {what} ;;" for task, what in does.items())
        python.write_text(f'#!/bin/sh\ncd {tmp_path}\ncase "$*" in\n{cases}\nesac\n')
        python.chmod(0o755)
        monkeypatch.setattr(module.sys, "executable", str(python))
        monkeypatch.setattr(module, "_END_S", 0.1)
        config = parse({"strategy": "parameter_server", "servers": servers, "sync": {"method": "asynchronous"}})
        boards = [f"board-{number + 1}" for number in range(workers)]
        run = Run("r", "train", "x", workers, 1, boards, config, {}, "", None, None)
        addresses = [f"127.0.0.1:{port}" for port in range(1, workers + 1)]
        return run_tasks(tmp_path / "run.json", run, Cluster(addresses, rank))

    return ended


def test_a_board_ends_when_the_chief_tells_the_end(cause):
    assert cause(ps=LIVES, worker=LIVES, chief=ENDS) is None


def test_the_end_of_a_server_is_the_boards(cause):
    told = cause(ps=DIES, worker=LIVES, chief=LIVES)
    assert told == Cause("killed", "the parameter server of board-1 was ended by SIGKILL")


def test_a_worker_beside_a_server_is_recorded_and_the_board_goes_on(cause, tmp_path):
    assert cause(ps=LIVES, worker=DIES, chief=ENDS) is None
    (lost,) = [it for it in read_records(tmp_path / "events.jsonl")[0] if it["event"] == "lost"]
    assert lost["cause"] == "the worker of board-1 was ended by SIGKILL"


def test_the_chief_goes_on_without_the_worker_of_its_board(cause, tmp_path):
    assert cause(workers=3, servers=1, worker=DIES, chief=ENDS) is None
    assert [it["event"] for it in read_records(tmp_path / "events.jsonl")[0]] == ["resume", "lost", "end"]


def test_a_worker_for_which_the_chief_still_waits_ends_the_board(cause):
    told = cause(ps=LIVES, worker=DIES, chief=LIVES)
    assert told == Cause("killed", "the worker of board-1 was ended by SIGKILL")


def test_the_only_worker_of_a_run_takes_it_along(cause):
    told = cause(workers=1, ps=LIVES, worker=DIES, chief=LIVES)
    assert told == Cause("killed", "the worker of board-1 was ended by SIGKILL")


def test_a_board_that_is_a_worker_alone_ends_with_it(cause):
    told = cause(rank=1, workers=3, servers=1, worker="exit 3")
    assert told is not None and told.sentence.startswith("the worker of board-2 ended with code 3; its log ends with")


def test_a_task_tells_why_it_fails(cause):
    failed = json.dumps({"event": "failed", "kind": "data", "sentence": "no such images"})
    told = cause(ps=LIVES, worker=LIVES, chief=f"echo '{failed}' >>relay.txt; exit 1")
    assert told == Cause("data", "no such images")
