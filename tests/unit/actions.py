"""An action of the kit as Ansible calls it, with a shell of this machine in place of a board."""

from __future__ import annotations

import importlib
import shutil
import subprocess
from pathlib import Path
from typing import Any

from ansible.playbook.task import Task
from ansible.plugins.loader import shell_loader


class Board:
    """A connection that keeps what it was asked to do; `answers` take the place of what a command would do."""

    transport = "ssh"

    def __init__(self, *answers: dict[str, Any] | Exception) -> None:
        self._shell = shell_loader.get("sh")
        self.answers, self.commands, self.put = list(answers), [], []

    def execute(self, command: str, in_data: bytes | None = None, sudoable: bool = True) -> dict[str, Any]:
        self.commands.append(command)
        if self.answers:
            answer = self.answers.pop(0)
            if isinstance(answer, Exception):
                raise answer
            return {"rc": 0, "stdout": "", "stderr": "", **answer}
        done = subprocess.run(["sh", "-c", command], input=in_data or b"", capture_output=True)
        stdout, stderr = (stream.decode(errors="surrogateescape") for stream in (done.stdout, done.stderr))
        return {"rc": done.returncode, "stdout": stdout, "stderr": stderr}

    def exec_command(self, command: str, in_data: bytes | None = None, sudoable: bool = True):
        self.commands.append(command)
        done = subprocess.run(command, shell=True, input=in_data or b"", capture_output=True)
        return done.returncode, done.stdout, done.stderr

    def put_file(self, source: str, path: str) -> None:
        self.put.append(path)
        shutil.copyfile(source, path)


def action(name: str, board: Board, options: dict[str, Any] | None = None, check: bool = False) -> Any:
    """The action of this name, for a task with these options."""
    task = Task()
    task.action, task.args, task.check_mode = name, options or {}, check
    module = importlib.import_module(f"controller.plugins.{name}")
    made = module.ActionModule(task, board, None, None, None)
    made._load_name, made.board = name, "orin-1"
    made._low_level_execute_command = board.execute
    return made


def run(name: str, board: Board, options: dict[str, Any], check: bool = False, host: str = "orin-1") -> dict[str, Any]:
    """The task's result for a host of this name."""
    return action(name, board, options, check).run(task_vars={"inventory_hostname": host})


def snapshot(folder: Path) -> dict[str, bytes | None]:
    """All that is in a folder: contents of files by their paths in it."""
    return {str(path.relative_to(folder)): path.read_bytes() if path.is_file() else None for path in folder.rglob("*")}
