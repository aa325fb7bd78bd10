"""Runs a command on a board in one round trip, without a module and without Python on the board."""

from __future__ import annotations

import shlex
import time
from typing import Any

from controller import notes
from controller.answer import ask
from controller.plugins.base import Action


class ActionModule(Action):
    """direct_command: see plugins/modules/direct_command.py."""

    def act(self, options: dict[str, Any]) -> dict[str, Any]:
        argv = options["argv"]
        if options["noted"] and notes.folder:
            argv = [*argv, f"--notes={notes.folder}"]
        command = shlex.join(argv)
        environment = self._compute_environment_string({})
        if environment:
            command = f"{environment} {command}"
        if options["chdir"]:
            command = f"cd {shlex.quote(options['chdir'])} && {command}"
        sent_s = time.time()
        done = ask(self, command, in_data=options["stdin"].encode() or None)
        answer = {
            "cmd": argv,
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
