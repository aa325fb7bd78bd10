"""Installs with pip on a board and notes pip's progress."""

from __future__ import annotations

import re
import shlex
from typing import Any
from urllib.parse import unquote

from controller.answer import ask
from controller.notes import noting, share
from controller.plugins.base import Action

# pip's messages about its stages, in all versions; its log has more
_STAGES = (
    "Collecting|Downloading|Using cached|Installing build|Getting requirements|Preparing|Building wheel|"
    "Installing collected|Attempting uninstall|Successfully"
)
_UNITS = {"bytes": 1, "kB": 1e3, "MB": 1e6, "GB": 1e9}
_LONGEST = 80  # characters of a line


class ActionModule(Action):
    def act(self, options: dict[str, Any]) -> dict[str, Any]:
        # a name that no other account can have taken
        made = ask(self, "mktemp -d -t cluster-kit-pip.XXXXXX")
        folder = "".join(made["stdout"].split()[-1:])  # a board's shell may print something before
        if made["rc"] or not folder.startswith("/"):
            why = (made["stderr"] or made["stdout"]).strip()
            return {"failed": True, "msg": f"cannot create a folder for pip's temporary files on the board: {why}"}
        self._task.environment = [*(self._task.environment or []), {"TMPDIR": folder, "PIP_LOG": f"{folder}/log"}]
        try:
            with noting(lambda: self._stage(folder), self.board):
                done: dict[str, Any] = self._execute_module(
                    "ansible.builtin.pip", self._task.args, task_vars=self.task_vars
                )
                return done
        finally:
            ask(self, f"rm -rf {shlex.quote(folder)}")

    def _stage(self, folder: str) -> str:
        log, files = shlex.quote(f"{folder}/log"), shlex.quote(folder)
        look = (
            f"grep -E '^[^ ]+ +({_STAGES}) ' {log} | tail -n 1; find {files} -path '*/pip-unpack-*' -printf '%s %f\\n'"
        )
        return stage(ask(self, look)["stdout"])


def stage(look: str) -> str:
    """pip's progress, from the latest stage in its log, and the sizes and names of downloads."""
    look = look.replace("\r", "")  # ssh may have given the board a terminal
    said = (re.findall(r"^\d+-\d+-\d+T\S+ +(.*)", look, re.MULTILINE) or [""])[-1]
    sizes = {name: int(size) for size, name in re.findall(r"^(\d+) (\S+)$", look, re.MULTILINE)}
    file = re.fullmatch(rf"Downloading (\S+) \(([\d.]+) ({'|'.join(_UNITS)})\)", said)
    name = unquote(file[1].rpartition("/")[2]) if file else ""
    if file and name in sizes:
        return share(sizes[name], round(float(file[2]) * _UNITS[file[3]]), name)
    return said if len(said) <= _LONGEST else f"{said[:_LONGEST]}..."
