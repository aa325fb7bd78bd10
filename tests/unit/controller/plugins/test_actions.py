"""Actions of the kit: options, check mode, and what they do on controller and board, without a lab."""

import json
import os
import sys
import tarfile
import time
from pathlib import Path

import pytest
from ansible.errors import AnsibleActionFail

from analysis.runs.errors import AnalysisError
from controller import notes
from controller.plugins import base, direct_command, enrol_board, shared
from tests import PROJECT
from tests.unit.actions import Board, action, run, snapshot
from trainer.contract.layout import PEERS_KEY
from trainer.supervise.watchdog import process_state
from trainer.supervise.witness import Host

ACTIONS = sorted(path.stem for path in (PROJECT / "plugins/action").glob("*.py"))
LOOKING = {"clock_offset", "stage_files"}  # ask the board in check mode, too
OF_THE_CONTROLLER = {"enrol_board", "resolve_run", "run_study"}  # below, and in test_boards_found.py, test_resolve.py


def options(name, folder):
    """Options with which the action would do something, to files of this folder and on the board."""
    (folder / "run").mkdir(exist_ok=True)
    (folder / "run/run.json").write_text('{"boards": ["orin-1"], "config": {"epochs": 2}, "workers": 1}')
    (folder / "image").write_text("pixels")
    given = {
        "type": "str",
        "str": "a-name",
        "path": str(folder / "new"),
        "int": 1,
        "float": 1.0,
        "bool": True,
        "list": [],
        "dict": {},
    }
    chosen = {
        "argv": ["touch", str(folder / "made")],
        "board_dir": str(folder / "run"),
        "files": [{"source": str(folder / "image"), "path": str(folder / "assets/image"), "sha256": "0" * 64}],
        "run_dir": str(folder / ("new" if name == "begin_run" else "run")),
        "trainer": {"source": str(folder / "image"), "path": str(folder / "trainer")},
    }
    spec = base.documented(name)
    return {
        option: chosen.get(option, given[about["type"]])
        for option, about in spec.items()
        if about.get("required") or option in ("dest", "chdir")
    }


@pytest.mark.parametrize("name", sorted({*ACTIONS} - OF_THE_CONTROLLER))
def test_check_mode_changes_nothing_on_controller_and_board(name, tmp_path):
    given, board = options(name, tmp_path), Board()
    before = snapshot(tmp_path)
    outcome = run(name, board, given, check=True)
    assert outcome["changed"] is (name != "clock_offset") and not outcome.get("failed")
    assert snapshot(tmp_path) == before and board.put == []
    assert bool(board.commands) is (name in LOOKING)


def test_every_action_is_one_of_the_kits():
    for name in ACTIONS:
        assert isinstance(action(name, Board()), base.Action)


@pytest.mark.parametrize("state", ["present", "absent"])
@pytest.mark.parametrize("check, look, looks", [(False, False, False), (False, True, True), (True, False, True)])
def test_enrolment_only_looks_in_check_mode_and_where_it_is_asked_to(check, look, looks, state, monkeypatch):
    seen = []
    name = "enrol" if state == "present" else "unenrol"
    monkeypatch.setattr(enrol_board, name, lambda board, *given: seen.append((board.ssh, given[-2])))
    monkeypatch.setattr(enrol_board.ActionModule, "_ssh", lambda self: ("ssh", self.board))
    required = ("known_hosts", "private_key_file", "public_key_file")
    outcome = run("enrol_board", Board(), {"look": look, "state": state, **dict.fromkeys(required, "/x")}, check)
    assert seen == [(("ssh", "orin-1"), looks)] and outcome["problem"] == "" and not outcome["changed"]


def test_the_witness_has_the_key_for_itself_answers_and_leaves_nothing(own_tmp, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    (tmp_path / "home").mkdir()
    key = os.urandom(32)
    (own_tmp / PEERS_KEY).write_bytes(key)
    with tarfile.open(tmp_path / "trainer.tar.gz", "w:gz") as archive:
        archive.add(PROJECT / "trainer/supervise/witness.py", "trainer/supervise/witness.py")
    given = {"run_id": "run-1", "trainer": str(tmp_path / "trainer.tar.gz"), "address": "127.0.0.1", "limit_s": 60}
    home = tmp_path / "home/.cluster-kit/witness/run-1"
    try:
        for attempt in (1, 2):  # the second one has another key, and ends what the first one left
            address = run("witness_host", Board(), {**given, "python": sys.executable})["address"]
            assert sorted(path.name for path in home.iterdir()) == ["pid", "witness.py"]
            assert home.stat().st_mode & 0o077 == 0
            board, end = Host(1, address, key), time.monotonic() + 5
            while board.named(2, True, time.monotonic()) is None:
                assert time.monotonic() < end, f"no answer at attempt {attempt}"
            process = int((home / "pid").read_text())
    finally:
        outcome = run("witness_host", Board(), {"run_id": "run-1", "state": "absent"})
    assert outcome["changed"] and not home.exists()
    deadline = time.monotonic() + 5
    while Path(f"/proc/{process}").exists() and process_state(process) != "Z":
        assert time.monotonic() < deadline, "it has not ended"
    failed = run("witness_host", Board(), {**given, "python": "/no/such/python"})
    assert failed["failed"] and failed["msg"].startswith("the witness does not start: ")


def test_options_are_checked_by_their_documentation(tmp_path):
    with pytest.raises(AnsibleActionFail, match="missing required arguments: argv"):
        run("direct_command", Board(), {})
    with pytest.raises(AnsibleActionFail, match="Unsupported parameters"):
        run("direct_command", Board(), {"argv": ["true"], "shell": "zsh"})
    with pytest.raises(AnsibleActionFail, match="rounds"):
        run("clock_offset", Board(), {"rounds": "many"})
    assert run("clock_offset", Board(), {"rounds": "2"})["rounds"] == 2


def test_an_error_of_the_kits_is_the_tasks_message(monkeypatch):
    def refuse(self, options):
        raise AnalysisError("no such study: give another")

    monkeypatch.setattr(direct_command.ActionModule, "act", refuse)
    outcome = run("direct_command", Board(), {"argv": ["true"]})
    assert outcome == {"failed": True, "msg": "no such study: give another"}


def test_a_command_has_its_input_folder_and_exit_code(tmp_path):
    given = {"argv": ["sh", "-c", "cat; pwd; echo no >&2; exit 3"], "stdin": "in\n", "chdir": str(tmp_path)}
    outcome = run("direct_command", Board(), given)
    assert (outcome["rc"], outcome["stdout_lines"], outcome["stderr"]) == (3, ["in", str(tmp_path)], "no")
    assert outcome["failed"] and outcome["msg"] == "ended with code 3" and outcome["changed"]


@pytest.mark.parametrize("noted, folder, words", [(True, "/n", ["--notes=/n"]), (True, None, []), (False, "/n", [])])
def test_a_program_that_takes_long_is_told_where_to_leave_notes_if_anybody_prints_them(
    noted, folder, words, monkeypatch
):
    monkeypatch.setattr(notes, "folder", folder and Path(folder))
    outcome = run("direct_command", Board(), {"argv": ["echo", "x"], "noted": noted})
    assert outcome["stdout"].split() == ["x", *words]


def test_a_clock_is_kept_on_the_board_whole_or_not_at_all(tmp_path):
    outcome = run("clock_offset", Board(), {"rounds": 2, "dest": str(tmp_path / "clock.json")})
    kept = json.loads((tmp_path / "clock.json").read_text())
    assert kept["offset_s"] == outcome["offset_s"] and abs(kept["offset_s"]) < 1 and not outcome["changed"]
    assert [path.name for path in tmp_path.iterdir()] == ["clock.json"]
    outcome = run("clock_offset", Board(), {"rounds": 0})
    assert outcome["failed"] and outcome["msg"] == "rounds is 0: give 1 or more"


@pytest.fixture
def own_tmp(tmp_path, monkeypatch):
    """Ansible's folder of this command."""
    (tmp_path / "tmp").mkdir()
    monkeypatch.setattr(shared.constants, "DEFAULT_LOCAL_TMP", str(tmp_path / "tmp"))
    return tmp_path / "tmp"


@pytest.mark.usefixtures("own_tmp")
class TestBegin:
    def test_a_run_has_its_configuration_and_what_the_gates_found(self, tmp_path):
        given = {"run_dir": str(tmp_path / "runs/r"), "run": {"seed": 1}, "gates": {"refused": False}}
        assert run("begin_run", Board(), given)["changed"]
        found = {path.name: json.loads(path.read_text()) for path in (tmp_path / "runs/r").iterdir()}
        assert found == {"run.json": {"seed": 1}, "gates.json": {"refused": False}}

    def test_a_name_is_given_once(self, tmp_path):
        given = {"run_dir": str(tmp_path / "r"), "run": {"seed": 1}}
        assert not run("begin_run", Board(), given).get("failed")
        again = run("begin_run", Board(), {**given, "run": {"seed": 2}})
        assert again["failed"] and again["msg"].endswith("cannot be created: File exists")
        assert json.loads((tmp_path / "r/run.json").read_text()) == {"seed": 1}

    def test_a_run_that_goes_on_keeps_its_configuration_and_has_new_findings_of_the_gates(self, tmp_path):
        (tmp_path / "r").mkdir()
        (tmp_path / "r/run.json").write_text("{}")
        given = {"run_dir": str(tmp_path / "r"), "run": {"seed": 2}, "gates": {"refused": False}, "resume": True}
        assert run("begin_run", Board(), given)["changed"]
        assert (tmp_path / "r/run.json").read_text() == "{}" and (tmp_path / "r/gates.json").exists()

    def test_each_start_has_a_key_of_its_own_which_only_this_account_may_read_and_nothing_else_has(
        self, tmp_path, own_tmp
    ):
        keys = []
        for resume in (False, True):
            given = {"run_dir": str(tmp_path / "r"), "run": {"seed": 2}, "resume": resume}
            outcome = run("begin_run", Board(), given)
            path = own_tmp / PEERS_KEY
            assert path.stat().st_mode & 0o777 == 0o600
            keys.append(path.read_bytes())
            told = repr(outcome).encode() + b"".join(content or b"" for content in snapshot(tmp_path / "r").values())
            assert keys[-1] not in told and keys[-1].hex().encode() not in told and repr(keys[-1]).encode() not in told
        assert [len(key) for key in keys] == [32, 32] and keys[0] != keys[1]


class TestPlace:
    @pytest.fixture
    def given(self, tmp_path, own_tmp):
        """Options for a board whose home is a folder here."""
        (tmp_path / "runs/r").mkdir(parents=True)
        (tmp_path / "runs/r/run.json").write_text('{"seed": 1}')
        (tmp_path / "__main__.py").write_text("print()")
        with tarfile.open(tmp_path / "trainer.tar.gz", "w:gz") as archive:
            archive.add(tmp_path / "__main__.py", "trainer/__main__.py")
        (own_tmp / PEERS_KEY).write_bytes(bytes(range(32)))
        home = tmp_path / "board/home"
        return {
            "run_dir": str(tmp_path / "runs/r"),
            "board_dir": str(home / "runs/r"),
            "home": str(home),
            "trainer": {"source": str(tmp_path / "trainer.tar.gz"), "path": str(home / "trainer/0123")},
            "tf_config": {"task": {"index": 0}},
        }

    def test_a_board_has_its_files_and_the_trainer_after_one_round_trip(self, given, tmp_path):
        board = Board()
        assert run("place_run", board, given) == {"changed": True}
        assert len(board.commands) == 1 and board.put == []
        found = {name: content for name, content in snapshot(tmp_path / "board/home").items() if content is not None}
        assert found == {
            "runs/r/peers.key": bytes(range(32)),
            "runs/r/run.json": b'{"seed": 1}',
            "runs/r/tf_config.json": b'{\n "task": {\n  "index": 0\n }\n}\n',
            "trainer/0123/trainer/__main__.py": b"print()",
        }

    def test_the_key_of_heartbeats_is_the_accounts_own_and_on_no_command_line(self, given, tmp_path):
        board = Board()
        run("place_run", board, given)
        placed = tmp_path / "board/home/runs/r" / PEERS_KEY
        assert placed.stat().st_mode & 0o777 == 0o600 and placed.with_name("run.json").stat().st_mode & 0o777 == 0o644
        assert not any("peers.key" in command for command in board.commands)

    def test_a_trainer_that_is_there_and_the_same_stays(self, given, tmp_path):
        run("place_run", Board(), given)
        there = tmp_path / "board/home/trainer/0123/trainer"
        (there / "__pycache__").mkdir()
        before = there.stat().st_ino
        assert run("place_run", Board(), {**given, "board_dir": given["board_dir"] + "2"}) == {"changed": True}
        assert there.stat().st_ino == before and (there / "__pycache__").exists()

    @pytest.mark.parametrize("edit", ["changed", "gone", "added", "link"])
    def test_a_trainer_that_somebody_changed_is_replaced_before_it_runs(self, given, tmp_path, edit):
        run("place_run", Board(), given)
        home = tmp_path / "board/home/trainer/0123"
        main = home / "trainer/__main__.py"
        if edit == "changed":
            main.write_text("print(1)")
        elif edit == "gone":
            main.unlink()
        elif edit == "added":
            (home / "json.py").write_text("")
        else:
            main.rename(tmp_path / "elsewhere.py")
            main.symlink_to(tmp_path / "elsewhere.py")
        outcome = run("place_run", Board(), {**given, "board_dir": given["board_dir"] + "2"})
        assert outcome["warnings"] == [f"somebody has changed {home} on orin-1: it has been replaced"]
        assert snapshot(home) == {"trainer": None, "trainer/__main__.py": b"print()"} and not main.is_symlink()
        assert not list((tmp_path / "board/home").glob(".incoming*"))

    def test_a_board_that_has_the_run_is_left_as_it_is(self, given, tmp_path):
        run("place_run", Board(), given)
        before = snapshot(tmp_path / "board")
        outcome = run("place_run", Board(), {**given, "tf_config": {}})
        assert outcome["failed"] and outcome["msg"].startswith("the run cannot be copied to the board: mv: ")
        assert snapshot(tmp_path / "board") == before

    def test_what_a_run_goes_on_from_is_nobodys_own(self, given, tmp_path):
        (tmp_path / "runs/r/boards/orin-1/checkpoints").mkdir(parents=True)
        (tmp_path / "runs/r/boards/orin-1/checkpoints/1.npz").write_text("weights")
        (tmp_path / "runs/r/boards/orin-1/checkpoints/1.npz").chmod(0o400)
        run("place_run", Board(), {**given, "records": str(tmp_path / "runs/r/boards/orin-1")})
        placed = tmp_path / "board/home/runs/r/checkpoints/1.npz"
        assert placed.read_text() == "weights" and placed.stat().st_mode & 0o777 == 0o644


def test_what_a_board_wrote_does_nothing_to_the_terminal(monkeypatch):
    evil = "\x1b]0;owned\x07\u202e"
    for outcome in ({"failed": True, "msg": evil, "warnings": [evil]}, AnalysisError(evil), AnsibleActionFail(evil)):

        def act(self, options, outcome=outcome):
            if isinstance(outcome, Exception):
                raise outcome
            return outcome

        monkeypatch.setattr(direct_command.ActionModule, "act", act)
        try:
            told = run("direct_command", Board(), {"argv": ["true"]})
        except AnsibleActionFail as error:
            told = {"msg": str(error)}
        assert told["msg"] == "?]0;owned??"
        assert told.get("warnings", []) in ([], ["?]0;owned??"])
