"""What people see of a playbook: lines of tasks, and what Ctrl-C does while boards train."""

import os
import signal
from types import SimpleNamespace

import pytest

from controller.plugins import brief, interrupt, shared


@pytest.fixture(autouse=True)
def command(tmp_path, monkeypatch):
    """A command of Ansible's with a temporary folder of its own."""
    monkeypatch.setattr(shared.constants, "DEFAULT_LOCAL_TMP", str(tmp_path))


def task(action, name="train : Watch it", role="train"):
    of_role = SimpleNamespace(get_name=lambda: role) if role else None
    return SimpleNamespace(action=action, get_name=lambda: name, _uuid=name, _role=of_role)


@pytest.mark.parametrize("action, lines", [("follow_run", 1), ("run_study", 1), ("direct_command", 0)])
def test_an_action_that_prints_lines_is_named_before_them_whatever_its_task_is_called(action, lines):
    callback, shown = brief.CallbackModule(), []
    callback._display = SimpleNamespace(display=shown.append, verbosity=0)
    named = task(action, "train : Follow it" if action == "direct_command" else "train : Watch it")
    callback.v2_playbook_on_task_start(named, False)
    assert shown == [f"  {named.get_name()}"] * lines
    callback.v2_runner_on_ok(SimpleNamespace(task=named, is_changed=lambda: True, result={}))
    assert shown == [f"  {named.get_name()}"]


@pytest.mark.parametrize("terminal", [True, False])
def test_lines_for_people_come_where_there_is_a_terminal(terminal, monkeypatch):
    monkeypatch.setattr("sys.stdout", SimpleNamespace(isatty=lambda: terminal, fileno=lambda: 1, write=print))
    brief.CallbackModule()
    assert shared.watched().exists() is terminal


def test_ctrl_c_while_boards_train_is_left_for_the_actions_and_the_second_one_is_ansibles():
    theirs = []
    before = signal.signal(signal.SIGINT, lambda *_: theirs.append(1))
    try:
        callback = interrupt.CallbackModule()
        callback._display = SimpleNamespace(display=lambda text: None)
        callback.v2_playbook_on_task_start(task("direct_command", role="check"), False)
        os.kill(os.getpid(), signal.SIGINT)
        assert theirs == [1] and not shared.interrupted().exists()
        callback.v2_playbook_on_task_start(task("direct_command"), False)
        os.kill(os.getpid(), signal.SIGINT)
        assert theirs == [1] and shared.interrupted().exists()
        os.kill(os.getpid(), signal.SIGINT)
        assert theirs == [1, 1]
        callback.v2_playbook_on_stats(None)
        assert not shared.interrupted().exists()
    finally:
        signal.signal(signal.SIGINT, before)
