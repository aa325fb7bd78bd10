"""Measures the offset of a board's clock over the connection that Ansible keeps open."""

from __future__ import annotations

import functools
import json
import shlex
import time
from contextlib import suppress
from typing import Any

from ansible.errors import AnsibleConnectionFailure

from controller.answer import ask
from controller.plugins.base import Action
from trainer.contract.clocks import ASK, Round, measure
from trainer.contract.records import is_moment


class ActionModule(Action):
    def act(self, options: dict[str, Any]) -> dict[str, Any]:
        if options["rounds"] < 1:
            return {"failed": True, "msg": f"rounds is {options['rounds']}: give 1 or more"}
        clock = measure(functools.partial(ask_time, self), options["rounds"])
        if options["dest"]:
            self._write(options["dest"], json.dumps(clock))
        # The file has the time of the measurement and always differs, but the board has not changed.
        return {"changed": False, **clock}

    def preview(self, options: dict[str, Any]) -> dict[str, Any]:
        return self.act({**options, "dest": ""})

    def _write(self, path: str, text: str) -> None:
        """Write a file on the board atomically."""
        target, part = shlex.quote(path), shlex.quote(f"{path}.part")
        done = ask(self, f"echo {shlex.quote(text)} >{part} && mv {part} {target}")
        if done["rc"]:
            raise AnsibleConnectionFailure(f"{path} cannot be written: {done.get('stderr', '').strip()}")


def ask_time(action: Action) -> Round:
    """Ask the action's board for its time once. Raises AnsibleConnectionFailure without an answer."""
    sent_s = time.time()
    done = ask(action, ASK, sudoable=False)  # sudo would only add to the delay
    received_s = time.time()
    with suppress(ValueError):
        board_s = float(done["stdout"])
        if is_moment(board_s):
            return Round(sent_s, board_s, received_s)
    told = (done["stdout"] + done.get("stderr", "")).strip()[:200]
    raise AnsibleConnectionFailure(f"the board answered {told!r} when asked for its time ({ASK})")
