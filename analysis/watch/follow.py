"""Takes what is new of a run, board by board, while the files grow on the boards and after they have been collected."""

from __future__ import annotations

import copy
import json
import threading
import time
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Protocol

from analysis.watch.board import Board
from analysis.watch.remote import Files, LostError, RefusedError
from trainer.events import LOST
from trainer.telemetry import NAME as TELEMETRY
from trainer.watch import HEARTBEAT

POLL_S = 1.0
_RETRY_S = 3.0
_EVENTS, _RESULT, _CLOCK = "events.jsonl", "result.json", "clock.json"


class Folder(Protocol):
    """What is needed of a run's folder of one board, wherever it is."""

    def size(self, name: str) -> int | None:
        """Bytes in a file, None where there is none."""

    def read(self, name: str, offset: int = 0) -> bytes:
        """What follows so many bytes; nothing where there is no such file."""


class LocalFolder:
    """The folder of a board in the run's folder on the controller."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def size(self, name: str) -> int | None:
        try:
            return (self._path / name).stat().st_size
        except FileNotFoundError:
            return None

    def read(self, name: str, offset: int = 0) -> bytes:
        try:
            with (self._path / name).open("rb") as file:
                file.seek(offset)
                return file.read()
        except FileNotFoundError:
            return b""


class Tail:
    """The lines of a growing file."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.offset = 0  # bytes that were read
        self.rest = b""  # of them, those of a line that is not whole yet

    def restarted(self, folder: Folder) -> bool:
        """Whether the file is another one than before, since it is shorter than what was read of it."""
        size = folder.size(self.name)
        if size is None or size >= self.offset:
            return False
        self.offset, self.rest = 0, b""
        return True

    def lines(self, folder: Folder) -> list[bytes]:
        """Those that have become whole since the last call."""
        if folder.size(self.name) in (None, self.offset):
            return []
        new = folder.read(self.name, self.offset)
        self.offset += len(new)
        *lines, self.rest = (self.rest + new).split(b"\n")
        return lines


class Reader:
    """Takes what is new in a run's folder of a board into what is known of that board."""

    def __init__(self, board: Board) -> None:
        self.board = board
        self._events, self._samples = Tail(_EVENTS), Tail(TELEMETRY)

    def look(self, folder: Folder) -> None:
        """Take over what is new. The folder may be another one than before, with the same files in it."""
        now_s = time.monotonic()
        if self._events.restarted(folder):
            self.board.restart()
        self._samples.restarted(folder)
        for line in self._events.lines(folder):
            self.board.take_event(line, now_s)
        for line in self._samples.lines(folder):
            self.board.take_sample(line, now_s)
        self.board.take_heartbeat(_json(folder.read(HEARTBEAT)), now_s)
        self.board.result = _json(folder.read(_RESULT)) or _json(folder.read(LOST)) or self.board.result

    def close(self) -> None:
        """Nothing follows: a line that is not whole will never be."""
        self.board.odd_lines += sum(bool(tail.rest.strip()) for tail in (self._events, self._samples))


def collected(board: Board, path: Path) -> Board:
    """The board, with all that the controller has of it in this folder."""
    reader = Reader(board)
    reader.look(LocalFolder(path))
    reader.close()
    board.clock = _json(LocalFolder(path).read(_CLOCK))
    return board


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
            self._reader.board.clock = _json(self._local.read(_CLOCK))
            self._tell()
            self._over.wait(POLL_S)

    def _tell(self) -> None:
        self.board = copy.deepcopy(self._reader.board)
        self.looked.set()

    def stop(self) -> None:
        """Look no more."""
        self._over.set()


def _json(content: bytes) -> dict[str, Any] | None:
    try:
        value = json.loads(content)
    except ValueError:
        return None
    return value if isinstance(value, dict) else None
