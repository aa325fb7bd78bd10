"""Ansible's default output, shortened for people who watch a run: a line per task, all of every failure."""

from __future__ import annotations

import os
import sys
from typing import Any

from ansible.plugins.callback.default import CallbackModule as Default

DOCUMENTATION = """
name: brief
type: stdout
short_description: A line per task, and failures in full
description:
  - Like C(default), but a task that went well is one line, however many hosts and items it had, and a message of
    C(debug) is printed as it is. With C(-v) everything is printed as by C(default).
extends_documentation_fragment:
  - default_callback
  - result_format_callback
"""


class CallbackModule(Default):
    """See DOCUMENTATION."""

    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "stdout"
    CALLBACK_NAME = "brief"

    def __init__(self) -> None:
        super().__init__()
        if sys.stdout.isatty() or self._is_verbose():
            os.environ["CLUSTER_KIT_TALKS"] = "1"  # runs/progress.py: a line per epoch, where somebody reads it

    def v2_playbook_on_play_start(self, play: Any) -> None:
        if self._is_verbose():
            super().v2_playbook_on_play_start(play)
        else:
            self._display.display(play.get_name())

    def v2_playbook_on_task_start(self, task: Any, is_conditional: bool) -> None:
        self._named: str | None = None
        if self._is_verbose():
            super().v2_playbook_on_task_start(task, is_conditional)
        elif task.get_name().rpartition(": ")[2].startswith("Follow "):
            self._name(task)  # its lines come before its result

    def v2_playbook_on_handler_task_start(self, task: Any) -> None:
        self._named = None
        if self._is_verbose():
            super().v2_playbook_on_handler_task_start(task)

    def v2_runner_on_ok(self, result: Any) -> None:
        if self._is_verbose():
            super().v2_runner_on_ok(result)
        elif result.task.action in ("debug", "ansible.builtin.debug"):
            message = result.result["msg"] if "results" not in result.result else []
            for line in message if isinstance(message, list) else [message]:
                self._display.display(f"  {line}")
        elif result.is_changed():
            self._name(result.task)

    def v2_runner_item_on_ok(self, result: Any) -> None:
        if self._is_verbose():
            super().v2_runner_item_on_ok(result)
        elif result.task.action in ("debug", "ansible.builtin.debug"):
            self.v2_runner_on_ok(result)

    def v2_playbook_on_include(self, included_file: Any) -> None:
        if self._is_verbose():
            super().v2_playbook_on_include(included_file)

    def _name(self, task: Any) -> None:
        if self._named != task._uuid:
            self._named = task._uuid
            self._display.display(f"  {task.get_name()}")

    def _is_verbose(self) -> bool:
        return bool(self._display.verbosity)
