"""Ctrl-C during training stops the boards and collects their logs. A second Ctrl-C quits at once."""

from __future__ import annotations

import os
import signal
from types import FrameType
from typing import Any

from ansible.plugins.callback import CallbackBase

from controller.plugins.shared import interrupted


class CallbackModule(CallbackBase):
    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "aggregate"
    CALLBACK_NAME = "interrupt"

    def __init__(self) -> None:
        super().__init__()
        self._ansibles: Any = None  # Ansible's handler while ours is installed
        self._main = os.getpid()

    def v2_playbook_on_task_start(self, task: Any, is_conditional: bool) -> None:
        training = task._role is not None and task._role.get_name() in ("train", "study")
        if training and self._ansibles is None:
            self._ansibles = signal.signal(signal.SIGINT, self._interrupted)
        elif not training:
            self._give_back()

    def v2_playbook_on_stats(self, stats: Any) -> None:
        self._give_back()
        interrupted().unlink(missing_ok=True)

    def _give_back(self) -> None:
        if self._ansibles is not None:
            signal.signal(signal.SIGINT, self._ansibles)
            self._ansibles = None

    def _interrupted(self, number: int, frame: FrameType | None) -> None:
        if os.getpid() != self._main:
            os._exit(1)  # in a worker that was just forked
        self._give_back()
        interrupted().touch()
        self._display.display("  Stopping the boards and collecting their logs. Press Ctrl-C again to quit at once.")
