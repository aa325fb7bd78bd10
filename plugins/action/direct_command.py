"""Runs a command on a board in one round trip, without a module and so without Python on the board."""

from __future__ import annotations

import shlex
import sys
import time
from pathlib import Path
from typing import Any

from ansible.plugins.action import ActionBase

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # the checkout

from controller.answer import ask


class ActionModule(ActionBase):
    """direct_command: see plugins/modules/direct_command.py."""

    def run(self, tmp: Any = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        answer: dict[str, Any] = super().run(tmp, task_vars)
        _, arguments = self.validate_argument_spec(
            {
                "argv": {"type": "list", "elements": "str", "required": True},
                "stdin": {"type": "str", "default": ""},
                "chdir": {"type": "path", "default": ""},
            }
        )
        command = shlex.join(arguments["argv"])
        environment = self._compute_environment_string({})
        if environment:
            command = f"{environment} {command}"
        if arguments["chdir"]:
            command = f"cd {shlex.quote(arguments['chdir'])} && {command}"
        sent_s = time.time()
        done = ask(self, command, in_data=arguments["stdin"].encode() or None)
        answer |= {
            "cmd": arguments["argv"],
            "rc": done["rc"],
            "stdout": done["stdout"].rstrip("\n"),
            "stdout_lines": done["stdout"].splitlines(),
            "stderr": done["stderr"].rstrip("\n"),
            "sent_s": sent_s,
            "received_s": time.time(),
            "changed": True,
        }
        if done["rc"]:
            answer |= {"failed": True, "msg": f"ended with code {done['rc']}"}
        return answer
