"""Follows a run on the boards, over connections that may be lost, and in the controller's folder afterwards."""

from __future__ import annotations

import copy
import threading
import time
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Protocol

from analysis.watch.board import Board
from analysis.watch.tail import LocalFolder, Reader, as_object
from controller.watch.remote import Files, LostError, RefusedError
from trainer.contract.layout import CLOCK

POLL_S = 1.0
_RETRY_S = 3.0


class Connection(Protocol):
    """How a board's files are reached; each call is a new connection."""

    def __call__(self) -> AbstractContextManager[Files]: ...


class Follower(threading.Thread):
    """Follows one board in a thread, over one connection as long as it lasts, and over the next one after that."""

    def __init__(self, board: Board, local: Path, connect: Connection) -> None:
        super().__init__(name=f"watch-{board.name}", daemon=True)
        self._reader, self._local, self._connect = Reader(board), LocalFolder(local), connect
        self._over = threading.Event()
        self.looked = threading.Event()  # there was an answer, or it is known that there is none
        self.refused: RefusedError | None = None
        self.board = copy.deepcopy(board)  # as it was at the last look; never changed, only replaced

    def run(self) -> None:
        while not self._over.is_set():
            try:
                with self._connect() as files:
                    self._follow(files)
            except LostError as error:
                self._reader.board.lose(str(error), time.monotonic())
            except RefusedError as error:
                self.refused = error
                self._over.set()
            self._tell()
            self._over.wait(_RETRY_S)

    def _follow(self, files: Files) -> None:
        while not self._over.is_set():
            self._reader.board.reach(time.monotonic(), files.emulated)
            # what the board does not have (any more), the controller has if anybody has
            self._reader.look(files if files.exists() else self._local)
            self._reader.board.clock = as_object(self._local.read(CLOCK))
            self._tell()
            self._over.wait(POLL_S)

    def _tell(self) -> None:
        self.board = copy.deepcopy(self._reader.board)
        self.looked.set()

    def stop(self) -> None:
        """Look no more."""
        self._over.set()
