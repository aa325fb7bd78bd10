"""Runs a playbook, with its output in a log, until it ends or the user wants to stop."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import FrameType

from controller.priority import give_way

_LOOK_S = 0.5  # boards take turns with whoever looks at them
_PATIENCE_S = 60.0  # for a playbook that was asked to stop: boards stop, and their records are collected
_MODULES_S = 20.0  # for modules that go on without it
_SHOWN = 25  # lines of the log after a failure
_PR_SET_CHILD_SUBREAPER = 36  # of Linux' prctl


class Stopped(Exception):
    """The user wants to stop."""


class PlaybookError(Exception):
    """A playbook failed; the message has the end of its output."""


class Wish:
    """Whether the user wants to stop: after Ctrl-C, or if the terminal closes."""

    def __init__(self) -> None:
        self.stop = False
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, self._take)

    def _take(self, number: int, frame: FrameType | None) -> None:
        self.stop = True


class Playbooks:
    """Runs playbooks on the emulated boards."""

    def __init__(self, project: Path, log: Path, wish: Wish) -> None:
        self._project, self._log, self._wish = project, log, wish
        ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)  # for `_wait_for_modules`
        log.write_text("", encoding="utf-8")

    @property
    def stopping(self) -> bool:
        """Whether the user wants to stop."""
        return self._wish.stop

    def play(
        self,
        name: str,
        look: Callable[[], None],
        variables: Sequence[str] = (),
        *,
        to_its_end: bool = False,
        beside_boards: bool = False,
    ) -> None:
        """Run playbooks/NAME.yml and call `look` meanwhile, twice a second.

        `to_its_end`: whatever the user wishes; `beside_boards`: boards train meanwhile. Raises PlaybookError if it
        fails, and Stopped if the user wants to stop.
        """
        if self._wish.stop and not to_its_end:
            raise Stopped
        before = self._log.stat().st_size
        with self._log.open("ab") as log:
            # a session of its own: Ctrl-C reaches it once, and only through here
            child = subprocess.Popen(
                [
                    str(self._project / ".venv/bin/ansible-playbook"),
                    *("-i", "inventory/lab"),
                    f"playbooks/{name}.yml",
                    *(word for variable in variables for word in ("-e", variable)),
                ],
                cwd=self._project,
                env={**os.environ, "ANSIBLE_CONFIG": str(self._project / "ansible.cfg")},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
            if beside_boards:
                give_way(child.pid)
            asked_s: float | None = None
            while child.poll() is None:
                look()
                if self._wish.stop and not to_its_end:
                    asked_s = _stop(child, asked_s)
                time.sleep(_LOOK_S)
        if asked_s is not None:
            _wait_for_modules()
            raise Stopped
        if child.returncode:
            raise PlaybookError(f"playbooks/{name}.yml failed:\n{self._end(before)}\nAll of its output: {self._log}")

    def _end(self, before: int) -> str:
        with self._log.open("rb") as log:
            log.seek(before)
            lines = log.read().decode(errors="replace").rstrip().split("\n")
        return "\n".join(f"  {line}" for line in lines[-_SHOWN:])


def _stop(child: subprocess.Popen[bytes], asked_s: float | None) -> float:
    """Ask a playbook to stop, and end it if it takes too long; returns when it was asked."""
    now = time.monotonic()
    if asked_s is None:
        child.send_signal(signal.SIGINT)  # Ansible alone: it passes that on to what it has started
        return now
    if now - asked_s > _PATIENCE_S:
        os.killpg(child.pid, signal.SIGKILL)
    return asked_s


def _wait_for_modules() -> None:
    """Wait for modules of a playbook that was stopped: what makes boards must end before they are removed."""
    until = time.monotonic() + _MODULES_S
    while time.monotonic() < until:
        with contextlib.suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        children = Path(f"/proc/self/task/{os.getpid()}/children")
        left = children.read_text(encoding="ascii").split() if children.exists() else []
        if all(_name(pid) in ("", "ssh") for pid in left):  # connections that are kept for later, and end with the lab
            return
        time.sleep(_LOOK_S)


def _name(pid: str) -> str:
    try:
        return Path(f"/proc/{pid}/comm").read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""  # it has just ended
