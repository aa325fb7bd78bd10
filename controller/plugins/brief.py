"""Ansible's default output, shortened: one line per task, failures in full."""

from __future__ import annotations

import sys
from typing import Any

from ansible.plugins.callback.default import CallbackModule as Default

from controller.plugins.shared import TALKING, watched
from trainer.contract.reading import printable


class CallbackModule(Default):
    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "stdout"
    CALLBACK_NAME = "brief"

    def __init__(self) -> None:
        super().__init__()
        if sys.stdout.isatty() or self._is_verbose():
            watched().touch()

    def v2_playbook_on_play_start(self, play: Any) -> None:
        if self._is_verbose():
            super().v2_playbook_on_play_start(play)
        else:
            self._display.display(play.get_name())

    def v2_playbook_on_task_start(self, task: Any, is_conditional: bool) -> None:
        self._named: str | None = None
        if self._is_verbose():
            super().v2_playbook_on_task_start(task, is_conditional)
        elif task.action in TALKING:
            self._name(task)  # the action prints lines before its result

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
                self._display.display(printable(f"  {line}", keep="\n"))
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

    def _dump_results(self, *arguments: Any, **options: Any) -> str:
        """A failure in full, of which a board may have written parts."""
        return printable(super()._dump_results(*arguments, **options), keep="\n")

    def _name(self, task: Any) -> None:
        if self._named != task._uuid:
            self._named = task._uuid
            self._display.display(f"  {task.get_name()}")

    def _is_verbose(self) -> bool:
        return bool(self._display.verbosity)
