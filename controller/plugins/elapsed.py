"""Prints a line every ten seconds of a task: elapsed time, busy hosts and their progress."""

from __future__ import annotations

import atexit
import io
import sys
import threading
import time
from dataclasses import dataclass, field
from typing import Any

from ansible.plugins.callback import CallbackBase

from controller import notes
from controller.plugins.shared import TALKING, notes_folder

PERIOD_S = 10.0
_HOSTS = 3  # hosts named in a line
_ALONE = ("pause", *TALKING)  # actions that wait for input or print lines of their own


@dataclass
class _Task:
    """A running task."""

    name: str
    began_s: float
    due_s: float  # time of its next line
    hosts: dict[str, str] = field(default_factory=dict)  # hosts not done yet, by inventory name: where the task runs


class CallbackModule(CallbackBase):
    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "aggregate"
    CALLBACK_NAME = "elapsed"

    def __init__(self) -> None:
        super().__init__()
        self._lock = threading.Lock()  # Ansible calls from two threads
        self._tasks: dict[str, _Task] = {}
        self._ended = threading.Event()
        self._thread: threading.Thread | None = None
        notes.folder = notes_folder()  # the workers are forks of this process
        if isinstance(sys.stdout, io.TextIOWrapper):
            sys.stdout.reconfigure(line_buffering=True)  # a pipe would buffer lines until the next task

    def v2_playbook_on_start(self, playbook: Any) -> None:
        self._ended.clear()
        self._thread = threading.Thread(target=self._tell, daemon=True)
        self._thread.start()
        atexit.register(self._end)  # after Ctrl-C, which Ansible does not report to callbacks

    def v2_playbook_on_stats(self, stats: Any) -> None:
        self._end()

    def v2_runner_on_start(self, host: Any, task: Any) -> None:
        if task.action.removeprefix("ansible.builtin.") in _ALONE:
            return
        where = "localhost" if task.delegate_to == "localhost" else host.get_name()
        now = time.monotonic()
        with self._lock:
            if not self._tasks:
                notes.clear()
            going = self._tasks.setdefault(task._uuid, _Task(task.get_name(), now, now + PERIOD_S))
            going.hosts[host.get_name()] = where

    def v2_runner_on_ok(self, result: Any) -> None:
        self._done(result)

    def v2_runner_on_failed(self, result: Any, ignore_errors: bool = False) -> None:
        self._done(result)

    def v2_runner_on_skipped(self, result: Any) -> None:
        self._done(result)

    def v2_runner_on_unreachable(self, result: Any) -> None:
        self._done(result)

    def _done(self, result: Any) -> None:
        with self._lock:
            task = self._tasks.get(result.task._uuid)
            if task is not None:
                task.hosts.pop(result.host.get_name(), None)
                if not task.hosts:
                    del self._tasks[result.task._uuid]

    def _tell(self) -> None:
        while not self._ended.wait(PERIOD_S / 20):
            for line in self._lines(time.monotonic()):
                self._display.display(line)  # Ansible holds its display lock while it forks

    def _lines(self, now: float) -> list[str]:
        with self._lock:
            due = [task for task in self._tasks.values() if task.due_s <= now]
            for task in due:
                task.due_s += PERIOD_S
            noted = notes.read() if due else {}
            return [f"  {task.name}: {now - task.began_s:.0f} s so far ({_where(task, noted)})" for task in due]

    def _end(self) -> None:
        if self._thread is not None:
            self._ended.set()
            self._thread.join()
            self._thread = None
            atexit.unregister(self._end)


def _where(task: _Task, noted: dict[str, str]) -> str:
    """The busy hosts with their notes, those with a note first."""
    hosts = sorted(dict.fromkeys(task.hosts.values()), key=lambda host: host not in noted)
    named = hosts if len(hosts) <= _HOSTS else hosts[: _HOSTS - 1]
    told = [f"{host}: {noted[host]}" if host in noted else host for host in named]
    more = f" and {len(hosts) - len(named)} more" if len(named) < len(hosts) else ""
    return ("; " if noted else ", ").join(told) + more
