"""A task that takes long says so: how long, on which hosts, and what they are doing."""

import os
import re
import signal
import subprocess
import threading
import time
from types import SimpleNamespace

import pytest
import yaml

from controller import notes
from controller.plugins import elapsed, shared
from tests import PROJECT


class Playbook:
    """The callback as Ansible would call it, and the lines that it displays."""

    def __init__(self):
        self.lines, self.threads = [], threading.active_count()
        self.callback = elapsed.CallbackModule()
        self.callback._display = SimpleNamespace(display=self.lines.append)
        self.callback.v2_playbook_on_start(None)

    def start(self, task, *hosts):
        for host in hosts:
            self.callback.v2_runner_on_start(SimpleNamespace(get_name=lambda host=host: host), task)

    def end(self, task, host, how="ok"):
        result = SimpleNamespace(task=task, host=SimpleNamespace(get_name=lambda: host))
        getattr(self.callback, f"v2_runner_on_{how}")(result)

    def after(self, seconds):
        """The lines that come in this time."""
        begin = len(self.lines)
        time.sleep(seconds)
        return self.lines[begin:]


def task(name, action="ansible.builtin.apt", delegate_to=None):
    return SimpleNamespace(get_name=lambda: name, _uuid=name, action=action, delegate_to=delegate_to)


@pytest.fixture
def playbook(tmp_path, monkeypatch):
    monkeypatch.setattr(elapsed, "PERIOD_S", 0.1)
    monkeypatch.setattr(shared.constants, "DEFAULT_LOCAL_TMP", str(tmp_path))
    monkeypatch.setattr(notes, "folder", None)  # set by the callback, and taken back after the test
    playbook = Playbook()
    yield playbook
    playbook.callback.v2_playbook_on_stats(None)
    assert threading.active_count() == playbook.threads
    assert playbook.after(0.2) == []


def test_a_line_comes_in_time():
    assert elapsed.PERIOD_S + elapsed.PERIOD_S / 20 < 15


def test_lines_name_the_task_the_seconds_and_the_hosts_that_are_not_done(playbook, monkeypatch):
    apt = task("jetpack : packages | Install")
    playbook.start(apt, "orin-1", "orin-2")
    lines = playbook.after(0.45)
    assert 2 <= len(lines) <= 4
    assert set(lines) == {"  jetpack : packages | Install: 0 s so far (orin-1, orin-2)"}
    playbook.end(apt, "orin-1")
    began = time.monotonic()
    monkeypatch.setattr(elapsed.time, "monotonic", lambda: began + 44.4)
    time.sleep(0.05)
    assert "  jetpack : packages | Install: 45 s so far (orin-2)" in playbook.after(0.2)


@pytest.mark.parametrize("how", ["ok", "failed", "skipped", "unreachable"])
def test_a_host_is_done_however_it_ended(playbook, how):
    apt = task("Install")
    playbook.start(apt, "orin-1")
    assert playbook.after(0.25)
    playbook.end(apt, "orin-1", how)
    playbook.lines.clear()
    assert playbook.after(0.3) == []


def test_a_quick_task_says_nothing_and_the_next_one_counts_anew(playbook):
    for name in "abcdefgh":
        playbook.start(task(name), "orin-1")
        time.sleep(0.05)
        playbook.end(task(name), "orin-1")
    assert playbook.lines == []


def test_of_many_hosts_a_few_are_named_those_with_a_note_first(playbook):
    playbook.start(task("Install"), *(f"orin-{n}" for n in range(1, 9)))
    assert playbook.after(0.25)[0].endswith("(orin-1, orin-2 and 6 more)")
    notes.note("120 of 475 MB of tensorflow.whl", "orin-5")
    assert playbook.after(0.25)[-1].endswith("(orin-5: 120 of 475 MB of tensorflow.whl; orin-1 and 6 more)")


def test_what_the_controller_does_for_boards_is_said_once_and_with_its_own_note_only(playbook):
    fetch = task("Fetch it", delegate_to="localhost")
    playbook.start(fetch, "orin-1", "orin-2")
    notes.note("42 of 169 MB of cifar.tar.gz")
    assert playbook.after(0.25)[-1] == "  Fetch it: 0 s so far (localhost: 42 of 169 MB of cifar.tar.gz)"
    playbook.end(fetch, "orin-1")
    playbook.end(fetch, "orin-2")
    playbook.start(task("Check it", delegate_to="localhost"), "orin-1")
    assert playbook.after(0.25)[-1] == "  Check it: 0 s so far (localhost)"


@pytest.mark.parametrize("action", ["pause", "ansible.builtin.pause", "follow_run", "run_study"])
def test_nothing_is_written_over_a_question_or_between_lines_of_a_tasks_own(playbook, action):
    playbook.start(task("Ask", action), "orin-1")
    assert playbook.after(0.3) == []
    playbook.end(task("Ask", action), "orin-1")


def test_actions_that_print_by_themselves_are_the_kits_own():
    assert set(shared.TALKING) <= {path.stem for path in PROJECT.glob("plugins/action/*.py")}


def test_a_second_playbook_of_the_same_command_has_its_lines_as_well(playbook):
    playbook.callback.v2_playbook_on_stats(None)
    playbook.callback.v2_playbook_on_start(None)
    playbook.start(task("Install"), "orin-1")
    assert playbook.after(0.25)


PLAY = [
    {
        "hosts": "all",
        "gather_facts": False,
        "tasks": [
            {"name": "Wait", "ansible.builtin.command": {"argv": ["sleep", "{{ wait }}"]}},
            {"name": "Fail", "ansible.builtin.fail": {"msg": "on purpose"}},
        ],
    }
]


def start(folder, *arguments, **environment):
    """A real playbook, with its output through a pipe."""
    (folder / "play.yml").write_text(yaml.safe_dump(PLAY))
    own = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    return subprocess.Popen(
        [PROJECT / ".venv/bin/ansible-playbook", "-i", "here,", "-c", "local", *arguments, folder / "play.yml"],
        env={**own, "ANSIBLE_CONFIG": str(PROJECT / "ansible.cfg"), **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


@pytest.mark.slow
@pytest.mark.parametrize("output", ["brief", "default"])
def test_through_a_pipe_lines_come_while_the_task_is_at_work_whatever_prints_the_rest(tmp_path, output):
    began = time.monotonic()
    with start(tmp_path, "-e", "wait=13", ANSIBLE_STDOUT_CALLBACK=output) as play:
        came = {line.strip(): time.monotonic() - began for line in play.stdout}
    line = next(line for line in came if "so far" in line)
    assert re.fullmatch(r"Wait: 1[01] s so far \(here\)", line)
    assert came[line] < max(came.values()) - 1.5
    assert play.returncode == 2 and max(came.values()) < 45, "it ends at once, though a task failed"


@pytest.mark.slow
def test_ctrl_c_leaves_no_thread_that_holds_the_playbook_up(tmp_path):
    with start(tmp_path, "-e", "wait=60") as play:
        assert play.stdout.readline() == "all\n"  # comes with the first task
        time.sleep(1)
        play.send_signal(signal.SIGINT)
        said = play.communicate(timeout=10)[0]
    assert "Traceback" not in said and "Fatal Python error" not in said, said
