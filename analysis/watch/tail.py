"""Takes what is new of a run, board by board, while the files grow on the boards and after they have been collected."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any, Protocol

from analysis.watch.board import Board
from trainer.contract.layout import CLOCK, EVENTS, HEARTBEAT, LOST, RESULT, TELEMETRY


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
        self._events, self._samples = Tail(EVENTS), Tail(TELEMETRY)

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
        self.board.take_heartbeat(as_object(folder.read(HEARTBEAT)), now_s)
        self.board.result = as_object(folder.read(RESULT)) or as_object(folder.read(LOST)) or self.board.result

    def close(self) -> None:
        """Nothing follows: a line that is not whole will never be."""
        self.board.odd_lines += sum(bool(tail.rest.strip()) for tail in (self._events, self._samples))


def collected(board: Board, path: Path) -> Board:
    """The board, with all that the controller has of it in this folder."""
    reader = Reader(board)
    reader.look(LocalFolder(path))
    reader.close()
    board.clock = as_object(LocalFolder(path).read(CLOCK))
    return board


def as_object(content: bytes) -> dict[str, Any] | None:
    try:
        value = json.loads(content)
    except ValueError:
        return None
    return value if isinstance(value, dict) else None
