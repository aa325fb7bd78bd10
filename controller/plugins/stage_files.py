"""Copies files to a board unless it has them."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

from ansible.errors import AnsibleActionFail

from controller.answer import ask
from controller.notes import noting, share
from controller.plugins.base import Action


class ActionModule(Action):
    def act(self, options: dict[str, Any]) -> dict[str, Any]:
        missing = self._missing(options["files"])
        for file in missing:
            self._put(file)
        return {"changed": bool(missing), "staged": [file["path"] for file in missing]}

    def preview(self, options: dict[str, Any]) -> dict[str, Any]:
        missing = self._missing(options["files"])
        return {"changed": bool(missing), "staged": [file["path"] for file in missing]}

    def _missing(self, files: list[dict[str, str]]) -> list[dict[str, str]]:
        there = self._checksums([file["path"] for file in files]) if files else {}
        return [file for file in files if there.get(file["path"]) != file["sha256"]]

    def _put(self, file: dict[str, str]) -> None:
        path, part = file["path"], f"{file['path']}.part"
        self._execute(f"umask 022; mkdir -p {shlex.quote(path.rpartition('/')[0])}")
        with noting(lambda: self._arrived(file["source"], part), self.board):
            self._connection.put_file(file["source"], part)
        if self._checksums([part]).get(part) != file["sha256"]:
            raise AnsibleActionFail(f"{path} arrived corrupt: check the board's free space and disk")
        self._execute(f"chmod 644 {shlex.quote(part)} && mv {shlex.quote(part)} {shlex.quote(path)}")

    def _arrived(self, source: str, part: str) -> str:
        size = ask(self, f"stat -c %s {shlex.quote(part)}")["stdout"].split()[-1]
        return share(int(size), Path(source).stat().st_size, Path(source).name)

    def _checksums(self, paths: list[str]) -> dict[str, str]:
        """SHA-256 by path of the existing files."""
        done = ask(self, f"sha256sum -- {shlex.join(paths)} 2>/dev/null; true")
        return {path: checksum for checksum, path in (line.split("  ", 1) for line in done["stdout"].splitlines())}

    def _execute(self, command: str) -> None:
        done = ask(self, command)
        if done["rc"]:
            raise AnsibleActionFail(
                f"'{command}' failed on the board ({' '.join(done['stderr'].split())}): check that its "
                "disk has free space, and that ansible_user may write there"
            )
