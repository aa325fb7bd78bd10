"""A board's lock, held as long as any process of the run lives: one run at a time. Standard library only.

Supervisor and trainer hold the kernel's lock on a file, which cannot outlive them. The file names the run and its
owner.
"""

from __future__ import annotations

import fcntl
import json
import os
import time
from pathlib import Path
from typing import Any, Dict, Optional

NAME = "lock.json"  # in the folder of all runs on a board


class Locked(Exception):
    """Another run uses the board; the message names it."""


class Lock:
    """The lock, held until `release` or until the last process with its descriptor ends."""

    def __init__(self, folder: Path, run_id: str, owner: str) -> None:
        """Take the lock in `folder`, also from a dead run, whatever its file has.

        Raises Locked if another run lives, and OSError, without a file, if the lock cannot be written.
        """
        self._path = folder / NAME
        while True:
            self.descriptor = os.open(str(self._path), os.O_RDWR | os.O_CREAT, 0o644)
            try:
                fcntl.flock(self.descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                os.close(self.descriptor)
                raise Locked(_told(read(folder))) from None
            if self._is_ours():
                break
            os.close(self.descriptor)  # the previous run has just removed it
        content = {"run_id": run_id, "owner": owner, "since_s": time.time(), "trainer_dir": str(Path.cwd())}
        try:
            os.truncate(self.descriptor, 0)
            with os.fdopen(os.dup(self.descriptor), "wb") as file:
                file.write(json.dumps(content).encode())
        except OSError:  # a full disk
            self.release()
            raise

    def release(self) -> None:
        self._path.unlink()
        os.close(self.descriptor)

    def _is_ours(self) -> bool:
        try:
            return os.path.samestat(os.fstat(self.descriptor), self._path.stat())
        except FileNotFoundError:
            return False


def read(folder: Path) -> Optional[Dict[str, Any]]:
    """The content of this folder's lock file, None without one; it does not tell whether the lock is held."""
    try:
        content = json.loads((folder / NAME).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None
    return content if isinstance(content, dict) else None


def _told(content: Optional[Dict[str, Any]]) -> str:
    try:
        content = content or {}
        minutes = (time.time() - content["since_s"]) / 60
        return f"run {content['run_id']} of {content['owner']} has used this board for {minutes:.0f} min"
    except (KeyError, TypeError):
        return "another run uses this board"
