"""Measures a board's clock against the controller's, over the connection that Ansible keeps open."""

from __future__ import annotations

import json
import shlex
import sys
import time
from pathlib import Path
from typing import Any

from ansible.errors import AnsibleConnectionFailure
from ansible.plugins.action import ActionBase

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # the checkout

from controller.answer import ask
from trainer.contract.clocks import ASK, Round, measure


class ActionModule(ActionBase):
    """clock_offset: see plugins/modules/clock_offset.py."""

    def run(self, tmp: Any = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        answer: dict[str, Any] = super().run(tmp, task_vars)
        _, arguments = self.validate_argument_spec(
            {"rounds": {"type": "int", "default": 8}, "dest": {"type": "path", "default": ""}}
        )
        if arguments["rounds"] < 1:
            return {**answer, "failed": True, "msg": f"rounds is {arguments['rounds']}: give 1 or more"}
        clock = measure(self._ask, arguments["rounds"])
        if arguments["dest"] and not self._task.check_mode:
            self._write(arguments["dest"], json.dumps(clock))
        # The file says when it was measured, so it differs every time, and yet nothing of the board has changed.
        return {**answer, "changed": False, **clock}

    def _ask(self) -> Round:
        sent = time.time()
        done = ask(self, ASK, sudoable=False)  # sudo would only add to the delay
        received = time.time()
        try:
            return Round(sent, float(done["stdout"]), received)
        except ValueError:
            told = (done["stdout"] + done.get("stderr", "")).strip()
            raise AnsibleConnectionFailure(f"the board was asked for its time ({ASK}) and said: {told!r}") from None

    def _write(self, path: str, text: str) -> None:
        """Writes a file on the board whole or not at all."""
        target, part = shlex.quote(path), shlex.quote(f"{path}.part")
        done = ask(self, f"echo {shlex.quote(text)} >{part} && mv {part} {target}")
        if done["rc"]:
            raise AnsibleConnectionFailure(f"{path} could not be written: {done.get('stderr', '').strip()}")
