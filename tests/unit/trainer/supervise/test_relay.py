"""What the tasks of parameter servers tell of a board, as the board's records."""

import json

import pytest

from trainer.contract.causes import Cause
from trainer.contract.cluster import Cluster
from trainer.contract.config import parse
from trainer.contract.events import Start
from trainer.contract.records import read_records
from trainer.contract.run import Run
from trainer.supervise import relay as module
from trainer.supervise.relay import Relay, tell_failure

CHANGING, STEP_BYTES = 1000, 8400
EPOCH = {"loss": 2.5, "accuracy": 0.25, "val_loss": 3.0, "val_accuracy": 0.125, "learning_rate": 0.001}
STARTED = {
    **dict.fromkeys(Start.__annotations__, None),
    **{"board": "a", "rank": 0, "workers": 3, "steps_per_epoch": 4, "board_batch": 8, "sync": "asynchronous"},
    **{"trainable_parameters": 900, "total_parameters": 1100, "gradient_bytes": 3600, "startup_s": 9.5},
    **{"train_images": 64, "validation_images": 8, "classes": 5, "synthetic": True, "precision": "float32"},
    **{"xla": "none", "changing_parameters": CHANGING, "strategy": "parameter_server", "server_bytes": [4000]},
}
STARTED.pop("KIND", None)


class Told:
    """A board's relay, and what its tasks append."""

    def __init__(self, folder, rank, **fields):
        config = parse(
            {"strategy": "parameter_server", "sync": {"method": "asynchronous"}, "window_steps": 2, **fields}
        )
        run = Run("r", "train", "x", 3, 1, ["a", "b", "c"], config, {}, "", None, None)
        self.folder = folder
        self.relay = Relay(folder, run, Cluster([f"10.0.0.{number}:12345" for number in (1, 2, 3)], rank))

    def append(self, text):
        with (self.folder / "relay.txt").open("a") as file:
            file.write(text)
        self.relay.poll()

    def say(self, event, **fields):
        self.append(json.dumps({"event": event, **fields}) + "\n")

    def step(self, *, begun=10.0, loss=16.0, stale=1):
        moments = f"{begun} {begun + 0.2} {begun + 0.7} {begun + 0.8}"
        self.append(f"{moments} {loss} 2.0 8.0 {stale} 0.001\n")

    def records(self, kind):
        return [record for record in read_records(self.folder / "events.jsonl")[0] if record["event"] == kind]


@pytest.fixture
def begun(tmp_path, monkeypatch):
    counted = iter(range(0, 10**9, 100))
    monkeypatch.setattr(module, "counters", lambda _: module.Bytes(next(counted), 7))

    def begin(rank=1, resumed=None, **fields):
        told = Told(tmp_path, rank, **fields)
        told.say("start", **{**STARTED, "resumed": resumed, "step_bytes": STEP_BYTES})
        told.say("begin", epoch=1)
        return told

    return begin


def test_a_start_is_that_of_the_board(begun):
    (start,) = begun().records("start")
    assert (start["board"], start["rank"], start["steps_per_epoch"]) == ("b", 1, 4)
    assert start["server_bytes"] == [4000] and start["strategy"] == "parameter_server"


def test_steps_become_windows_with_their_times_and_bytes(begun):
    told = begun()
    told.step(stale=0)
    assert told.records("window") == []
    told.step(begun=11.0, loss=24.0, stale=3)
    (window,) = told.records("window")
    assert (window["epoch"], window["first_step"], window["steps"], window["images"]) == (1, 0, 2, 16)
    assert (window["loss"], window["accuracy"], window["learning_rate"]) == (2.5, 0.25, 0.001)
    assert window["compute_s"] == pytest.approx(1.0) and window["communication_s"] == pytest.approx(0.6)
    assert window["elapsed_s"] == pytest.approx(window["compute_s"] + window["communication_s"] + window["waiting_s"])
    assert window["payload_bytes"] == 2 * STEP_BYTES and window["staleness"] == 1.5
    assert window["sent_bytes"] > 0 and window["received_bytes"] == 0


def test_an_epoch_has_this_boards_steps_and_the_results_of_all(begun):
    told = begun()
    for _ in range(3):
        told.step()
    told.say("trained")
    assert [window["steps"] for window in told.records("window")] == [2, 1]
    told.say("epoch", epoch=1, validation_s=0.5, **EPOCH)
    (epoch,) = told.records("epoch")
    assert (epoch["steps"], epoch["images"], epoch["staleness"]) == (3, 24, 1.0)
    assert {name: epoch[name] for name in EPOCH} == EPOCH and epoch["validation_s"] == 0.5
    told.say("end", epochs=1, train_s=5.0, total_s=9.0)
    assert told.relay.ended and told.records("end")[0]["epochs"] == 1


def test_without_step_times_only_whole_steps_are_timed(begun):
    told = begun(sync={"method": "asynchronous", "step_times": False})
    told.step()
    told.step()
    (window,) = told.records("window")
    assert window["compute_s"] is window["communication_s"] is window["waiting_s"] is None


def test_a_dedicated_server_records_what_went_through_its_link(begun):
    told = begun(rank=2, servers=1)
    assert told.records("start")[0]["steps_per_epoch"] == 0
    told.say("trained")
    told.say("epoch", epoch=1, validation_s=0.5, **EPOCH)
    (served,) = told.records("served")
    assert served["epoch"] == 1 and served["sent_bytes"] == 200 and told.records("epoch") == []


def test_a_lost_worker_has_epochs_without_steps(begun):
    told = begun()
    told.step()
    told.relay.lose("the worker of b was ended by SIGKILL")
    told.say("trained")
    told.say("epoch", epoch=1, validation_s=0.5, **EPOCH)
    told.say("begin", epoch=2)
    told.say("trained")
    told.say("epoch", epoch=2, validation_s=0.5, **EPOCH)
    assert told.records("lost")[0]["epoch"] == 1
    assert [epoch["steps"] for epoch in told.records("epoch")] == [1, 0]


def test_a_resumed_run_has_no_second_start(begun):
    told = begun(resumed=4)
    assert told.records("start") == [] and told.records("resume")[0]["epoch"] == 4


def test_a_half_written_line_waits_for_its_rest(begun):
    told = begun()
    told.append("10.0 10.2 10.7 ")
    told.append("10.8 16.0 2.0 8.0 1 0.001\n")
    told.step()
    assert told.records("window")[0]["steps"] == 2


def test_a_loss_that_is_not_finite_and_a_failed_task_are_causes(begun, tmp_path):
    told = begun()
    told.step(loss="nan")
    told.step()
    assert told.relay.cause == Cause("nan", "the loss is nan in epoch 1, step 2 of this board's worker")
    other = begun()
    tell_failure(tmp_path, Cause("disk_full", "no space"))
    other.relay.poll()
    assert other.relay.cause == Cause("disk_full", "no space")
