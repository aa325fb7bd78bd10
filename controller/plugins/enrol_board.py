"""Makes a board that has only a password one that Ansible reaches with a key, and takes that back."""

from __future__ import annotations

from typing import Any

from analysis.runs.errors import AnalysisError
from controller import ssh
from controller.enrol import Board, RefusalError, enrol
from controller.plugins.base import Action
from controller.unenrol import unenrol


class ActionModule(Action):
    def act(self, options: dict[str, Any]) -> dict[str, Any]:
        look, state, traces = options.pop("look"), options.pop("state"), options.pop("traces")
        found: dict[str, Any] = {"host_key": "", "changed": False, "sudo": "", "problem": ""}
        found |= {"wants_password": False, "wants_confirmation": False}
        if state == "absent":
            found |= {"taken": [], "remarks": [], "pinned": 0}
        try:
            board = Board(ssh=self._ssh(), **options)
            if state == "absent":
                unenrol(board, traces, look, found)
            else:
                enrol(board, look, found)
        except AnalysisError as error:
            found["problem"] = str(error)
        except OSError as error:
            found["problem"] = f"something is missing on the controller: {error}"
        return found

    def preview(self, options: dict[str, Any]) -> dict[str, Any]:
        return self.act({**options, "look": True})

    def _ssh(self) -> tuple[str, ...]:
        """Ansible's ssh command for this board, from the connection's options."""
        if self._connection.transport != "ssh":
            raise RefusalError(
                f"{self.board} has ansible_connection={self._connection.transport}, but enrolment needs "
                "ssh: remove ansible_connection from the inventory"
            )
        return ssh.command(self._connection, str(self._connection.get_option("host") or self.board))
