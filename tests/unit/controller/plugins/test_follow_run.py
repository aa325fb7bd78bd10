"""Following a run on a board: what ends it, what is told of it, and the controller's copies of its records."""

import json
import os
import shutil
import subprocess
from itertools import pairwise

import pytest
from ansible.errors import AnsibleConnectionFailure

from controller.mirror import MARK, Mirror
from controller.plugins import clock_offset, follow_run, shared
from tests import PROJECT
from tests.unit.actions import Board, action, run
from trainer.contract import layout
from trainer.contract.layout import EMULATED

GOLDEN = PROJECT / "tests/data/rehearsal_of_schema1/20261121T185346Z-rehearsal-w1-s1"
RUN = {"boards": ["orin-1", "orin-2"], "workers": 2, "config": {"epochs": 2}}


class Looked(Board):
    """A board here; `looks` are what happens to it before the first look, the second one, and so on."""

    def __init__(self, *looks):
        super().__init__()
        self.looks = list(looks)

    def execute(self, command, **options):
        if MARK in command and self.looks:
            answer = self.looks.pop(0)()
            if answer is not None:
                return answer
        return super().execute(command, **options)


@pytest.fixture
def here(tmp_path, monkeypatch):
    """The run's folder is runs/r in it on the controller, and board/r on the board."""
    monkeypatch.setattr(shared.constants, "DEFAULT_LOCAL_TMP", str(tmp_path))
    (tmp_path / "runs/r").mkdir(parents=True)
    (tmp_path / "board/r").mkdir(parents=True)
    (tmp_path / "runs/r/run.json").write_text(json.dumps(RUN))
    (tmp_path / "board/r/run.json").write_text("{}")
    return tmp_path


@pytest.fixture
def supervisor(here):
    """A process that passes for the run's supervisor."""
    process = subprocess.Popen(["tail", "-f", here / "board/r/run.json"], stdout=subprocess.DEVNULL)
    (here / "board/r/supervisor.pid").write_text(str(process.pid))
    yield process
    process.kill()
    process.wait()


def follow(here, board=None, host="orin-2", **options):
    given = {
        "run_dir": str(here / "runs/r"),
        "board_dir": str(here / "board/r"),
        "unreachable_limit_s": 60,
        "poll_s": 0.01,
    }
    return run("follow_run", board or Board(), {**given, **options}, host=host)


def end(here, **result):
    whole = {"exit_code": 0, "started_s": 1.0, "ended_s": 2.0, "epochs_completed": 1, "facts": {}, **result}
    (here / "board/r/result.json").write_text(json.dumps(whole))


def lost(here, *places):
    path = here.joinpath("runs/r", *places, layout.LOST)
    return json.loads(path.read_text()) if path.exists() else None


def test_a_run_that_succeeded_leaves_its_records_and_the_clock_at_both_ends(here):
    (here / "board/r/events.jsonl").write_text('{"event": "end"}\n')
    (here / "board/r" / layout.TELEMETRY).write_text('{"time_s": 1}\n')
    end(here, status="succeeded", cause=None)
    assert follow(here) == {"changed": True, "status": "succeeded"}
    copies = here / "runs/r/boards/orin-2"
    assert (copies / "events.jsonl").read_text() == '{"event": "end"}\n'
    assert (copies / layout.TELEMETRY).read_text() == '{"time_s": 1}\n'
    assert set(json.loads((copies / layout.CLOCK).read_text())) == {"start", "end"}
    assert lost(here) is None


def test_records_are_copied_once_and_in_order_while_they_grow(here, supervisor):
    records = "".join(f'{{"event": "window", "step": {n}, "é": "ü"}}\n' for n in range(100))
    log = here / "board/r/events.jsonl"
    content = records.encode()
    cuts = [0, 10, 11, 31, 700, len(content)]  # within a line and within a character as well

    def grow(start, to):
        with log.open("ab") as file:
            file.write(content[start:to])
        if to == len(content):
            end(here, status="succeeded", cause=None)

    looks = [lambda start=start, to=to: grow(start, to) for start, to in pairwise(cuts)]
    assert follow(here, Looked(*looks))["status"] == "succeeded"
    assert (here / "runs/r/boards/orin-2/events.jsonl").read_text() == records


def test_what_was_copied_by_a_controller_before_is_not_copied_again(here):
    (here / "runs/r/boards/orin-2").mkdir(parents=True)
    (here / "runs/r/boards/orin-2/events.jsonl").write_text('{"event": "start"}\n')
    (here / "board/r/events.jsonl").write_text('{"event": "start"}\n{"event": "end"}\n')
    end(here, status="succeeded", cause=None)
    follow(here)
    assert (here / "runs/r/boards/orin-2/events.jsonl").read_text() == '{"event": "start"}\n{"event": "end"}\n'


def test_a_board_that_failed_first_says_so_to_the_others(here):
    end(here, status="failed", cause="out of memory")
    outcome = follow(here)
    assert outcome["failed"] and outcome["msg"] == "orin-2: out of memory" and lost(here) == {"board": "orin-2"}


def test_the_end_of_a_board_that_is_a_worker_alone_stops_no_other(here):
    boards = {"boards": ["orin-1", "orin-2", "orin-3"], "workers": 3}
    (here / "runs/r/run.json").write_text(json.dumps({**boards, "config": {"epochs": 2, "servers": 1}}))
    end(here, status="failed", cause="killed")
    outcome = follow(here)
    assert not outcome.get("failed") and lost(here) is None
    assert outcome["msg"] == "orin-2 is lost, and the others go on without it: killed"
    assert follow(here, host="orin-3")["failed"] and lost(here) == {"board": "orin-3"}, "a server takes all along"


def test_a_failure_is_the_supervisors_to_tell_once_it_has_heard_the_other_boards(here, supervisor):
    end(here, status="failed", cause="connection reset")

    def hear():
        supervisor.kill()
        supervisor.wait()
        end(here, status="failed", cause="orin-1 had no memory left")

    assert follow(here, Looked(lambda: None, hear))["msg"] == "orin-2: orin-1 had no memory left"


def test_a_board_whose_peer_failed_has_some_time_to_end_by_itself(here, supervisor, monkeypatch):
    monkeypatch.setattr(follow_run, "_VERDICT_S", 0.1)
    (here / "runs/r" / layout.LOST).write_text('{"board": "orin-1"}')
    outcome = follow(here)
    assert (outcome["status"], outcome["msg"]) == ("lost", "orin-2: stopped, because orin-1 failed")
    assert lost(here) == {"board": "orin-1"} and lost(here, "boards/orin-2") is None
    board = Looked(lambda: None, lambda: end(here, status="succeeded", cause=None))
    assert follow(here, board)["status"] == "succeeded"


def test_a_supervisor_that_never_began_is_told_by_what_it_said(here):
    board = Board()
    outcome = follow(here, board, started={"rc": 124, "stderr": "no\n module"})
    assert outcome["msg"] == "orin-2: its supervisor ended with code 124: no module" and board.commands == []
    assert lost(here, "boards/orin-2")["cause_kind"] == "never_started" and lost(here) == {"board": "orin-2"}


def test_nothing_left_of_a_run_is_believed_at_the_second_look(here):
    board = Looked(lambda: None, lambda: end(here, status="succeeded", cause=None))
    assert follow(here, board)["status"] == "succeeded"
    (here / "board/r/result.json").unlink()
    assert follow(here)["msg"] == "orin-2: no process and no result of the run is left"


def test_a_connection_that_breaks_costs_nothing_until_the_limit(here, supervisor):
    def gone():
        raise AnsibleConnectionFailure("no route to host")

    def torn():
        return {"rc": 0, "stdout": f"running\n{MARK}\n", "stderr": ""}

    board = Looked(gone, torn, gone, lambda: end(here, status="succeeded", cause=None))
    assert follow(here, board)["status"] == "succeeded"
    (here / "board/r/result.json").unlink()
    outcome = follow(here, Looked(*[gone] * 1000), unreachable_limit_s=0.1)
    assert outcome["msg"] == "orin-2: the board has been unreachable for 0 s"
    assert lost(here, "boards/orin-2")["cause_kind"] == "unreachable"


def test_ctrl_c_ends_the_following_and_claims_no_failure(here, supervisor):
    outcome = follow(here, Looked(lambda: None, lambda: shared.interrupted().touch()))
    assert (outcome["status"], outcome["msg"]) == ("interrupted", "orin-2: stopped from the controller")
    assert outcome["failed"] and lost(here) is None


def live(here, board="orin-2"):
    return json.loads((here / "runs/r/boards" / board / layout.LIVE).read_text())


def test_the_latest_look_is_told_to_whoever_watches(here, supervisor):
    (here / "board/r/heartbeat.json").write_text('{"still_s": 3}')

    def gone():
        told = live(here)
        assert (told["following"], told["why"], told["heartbeat"]) == (True, None, {"still_s": 3})
        assert told["result"] is None and told["emulated"] is EMULATED.exists()
        raise AnsibleConnectionFailure("no route\nto host")

    def back():
        told = live(here)
        assert told["why"] == "no route to host" and told["seen_s"] < told["due_s"]
        end(here, status="succeeded", cause=None)

    assert follow(here, Looked(lambda: None, gone, back))["status"] == "succeeded"
    told = live(here)
    assert (told["following"], told["why"], told["result"]["status"]) == (False, None, "succeeded")


def test_a_controller_that_is_killed_says_nothing_of_an_end(here, supervisor, monkeypatch):
    monkeypatch.setattr(follow_run.os, "getppid", iter([1, 2]).__next__)
    with pytest.raises(SystemExit):
        follow(here)
    assert live(here)["following"] is True


def test_what_a_stranger_may_have_written_harms_nothing_but_what_it_stands_in(here):
    board = Looked()
    odd = b'\xff\xfe\n[1]\n{"event": "epoch"}\n' + b'{"event": "start", "time_s": "now"}\n'
    (here / "board/r/events.jsonl").write_bytes(odd)
    (here / "board/r/heartbeat.json").write_text('{"still_s": NaN}')
    (here / "board/r/result.json").write_text("[" * 100_000)
    outcome = follow(here, board)
    assert outcome["msg"] == "orin-2: no process and no result of the run is left"
    assert (here / "runs/r/boards/orin-2/events.jsonl").read_bytes() == odd
    assert {path.name for path in (here / "runs/r/boards/orin-2").iterdir()} <= {
        "events.jsonl",
        layout.CLOCK,
        layout.LIVE,
        f"{layout.LIVE}.part",
    }


def test_a_look_takes_a_piece_and_the_next_one_what_follows(here, monkeypatch):
    monkeypatch.setattr("controller.mirror._PIECE", 100)
    (here / "board/r/events.jsonl").write_text("".join(f'{{"n": {n}}}\n' for n in range(100)))
    end(here, status="succeeded", cause=None)
    assert follow(here)["status"] == "succeeded"
    copied = (here / "runs/r/boards/orin-2/events.jsonl").read_bytes()
    assert copied == (here / "board/r/events.jsonl").read_bytes()


def test_a_controller_that_can_keep_nothing_still_learns_how_a_run_ended(here, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    opened = os.open
    monkeypatch.setattr("controller.mirror.os.open", lambda *to: full() if to[1] & os.O_WRONLY else opened(*to))
    monkeypatch.setattr("controller.mirror.write_json", full)
    monkeypatch.setattr("controller.mirror._PIECE", 10)
    (here / "board/r/events.jsonl").write_text("a record that is longer than a piece\n")
    end(here, status="succeeded", cause=None)
    assert follow(here)["status"] == "succeeded"
    assert not (here / "runs/r/boards/orin-2/events.jsonl").exists()


def test_a_file_that_shrinks_on_the_board_costs_nothing_that_was_copied(here):
    events = here / "board/r/events.jsonl"
    events.write_text("one\ntwo\n")
    end(here, status="succeeded", cause=None)
    follow(here)
    events.write_text("one\n")
    follow(here)
    assert (here / "runs/r/boards/orin-2/events.jsonl").read_text() == "one\ntwo\n"


def test_two_that_copy_at_once_do_not_double_a_record(here):
    records = here / "board/r/events.jsonl"
    records.write_text("one\n")
    (here / "copy").mkdir()
    one, two = (Mirror(here / "copy", str(here / "board/r"), 1) for _ in range(2))
    board = Board()

    def look(mirror):
        return mirror.take(board.execute(mirror.command())["stdout"]).lines

    assert look(one) == look(two) == [b"one"]
    records.write_text("one\ntwo\n")
    assert look(one) == [b"two"]
    records.write_text("one\ntwo\nthree\n")
    assert look(two) == [b"two", b"three"] and look(one) == [b"three"]
    assert (here / "copy/events.jsonl").read_text() == records.read_text()


@pytest.mark.parametrize("watched", [True, False])
def test_the_chief_tells_of_each_epoch_where_somebody_reads_it(here, watched, monkeypatch):
    said = []
    monkeypatch.setattr(follow_run._display, "display", said.append)
    shutil.copy(GOLDEN / "run.json", here / "runs/r")
    (here / "runs/r" / layout.PREDICTION).write_text("{}")  # else it looks for what was measured before
    for name in ("events.jsonl", layout.TELEMETRY, "result.json"):
        shutil.copy(GOLDEN / "boards/board-1" / name, here / "board/r")
    if watched:
        shared.watched().touch()
    assert follow(here, host="board-1")["status"] == "succeeded"
    epochs = (GOLDEN / "boards/board-1/events.jsonl").read_text().count('"event": "epoch"')
    assert epochs and sum("loss" in line for line in said) == (epochs if watched else 0)


@pytest.mark.parametrize("content", ["", "[]", "{", '{"other": 1}'])
def test_a_note_that_a_full_disk_left_empty_still_says_that_a_board_failed(tmp_path, content):
    (tmp_path / "lost.json").write_text(content)
    follow_run._claim(tmp_path / "lost.json", "orin-2")
    assert (tmp_path / "lost.json").read_text() == content
    assert follow_run._first(tmp_path / "lost.json") == "another board"


@pytest.mark.parametrize("time_s", ["1e999", "nan", "-1", "9" * 5000, "soon"])
def test_a_board_that_tells_no_time_costs_its_clock_only(time_s):
    with pytest.raises(AnsibleConnectionFailure, match="when asked for its time"):
        clock_offset.ask_time(action("clock_offset", Board({"stdout": time_s})))


@pytest.fixture
def going_on(here):
    config = {**RUN["config"], "on_board_loss": "continue"}
    (here / "runs/r/run.json").write_text(json.dumps({**RUN, "config": config}))
    return here


def test_a_lost_board_of_a_run_that_goes_on_is_a_warning_and_stops_no_other(going_on):
    end(going_on, status="failed", cause="no power")
    answer = follow(going_on)
    assert not answer.get("failed") and answer["status"] == "failed"
    assert answer["msg"] == "orin-2 is lost, and the others go on without it: no power"
    assert lost(going_on) is None


def test_the_last_board_that_fails_fails_the_run(going_on):
    end(going_on, status="failed", cause="no power")
    assert not follow(going_on, host="orin-1").get("failed")
    answer = follow(going_on, host="orin-2")
    assert answer["failed"] and lost(going_on) == {"board": "orin-2"}


def test_a_board_without_a_supervisor_is_started_again_with_the_key_of_this_start(going_on):
    shared.peers_key().write_bytes(b"k" * 32)
    end(going_on, status="succeeded", cause=None)
    there, kept = going_on / "board/r", going_on / "kept.json"
    (there / "result.json").rename(kept)
    script = f'echo "$1" >{going_on}/argument; cp {there}/peers.key {going_on}/key; cp {kept} {there}/result.json'
    answer = follow(going_on, restart=["sh", "-c", script, "sh"], trainer_dir=str(going_on))
    assert answer["status"] == "succeeded"
    assert (going_on / "argument").read_text() == "--rejoin\n"
    assert (going_on / "key").read_bytes() == b"k" * 32


def test_a_board_that_cannot_be_started_again_or_does_not_stay_is_lost(going_on):
    assert follow(going_on, restart=["true"], trainer_dir=str(going_on))["status"] == "failed", "no key"
    shared.peers_key().write_bytes(b"k" * 32)
    count = going_on / "count"
    answer = follow(going_on, restart=["sh", "-c", f"echo >>{count}"], trainer_dir=str(going_on))
    assert answer["status"] == "failed" and len(count.read_text()) == 3


def test_one_board_is_named_for_a_generation_of_which_half_asks(going_on, supervisor):
    (going_on / "board/r/heartbeat.json").write_text('{"asks": 2}')
    grant = going_on / "board/r/grant.json"
    looks = (lambda: None, lambda: None, lambda: end(going_on, status="succeeded", cause=None))
    assert follow(going_on, Looked(*looks), host="orin-1")["status"] == "succeeded"
    assert json.loads(grant.read_text()) == {"number": 2}
    grant.unlink()
    (going_on / "board/r/result.json").unlink()
    assert follow(going_on, Looked(*looks), host="orin-2")["status"] == "succeeded"
    assert not grant.exists(), "orin-1 was named for it"
    assert [path.name for path in (going_on / "runs/r").glob(".grant-*")] == [".grant-2"]
