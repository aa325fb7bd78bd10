"""Reads new records of a board from growing copies, or from collected files."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from analysis.watch.board import Board
from trainer.contract import results
from trainer.contract.layout import CLOCK, EVENTS, LIVE, LOST, RESULT, TELEMETRY
from trainer.contract.reading import MAX_BYTES, Unreadable, known, opened, parse
from trainer.contract.records import MAX_FILE, MAX_LINE


class Tail:
    """The lines of a growing file."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._offset = 0  # bytes that were read
        self.rest = b""  # bytes of an incomplete line

    def lines(self) -> tuple[list[bytes], bool]:
        """The new complete lines since the last call, and whether the file was replaced by a shorter one."""
        try:
            size = self._path.stat().st_size
            anew = size < self._offset
            if anew:
                self._offset, self.rest = 0, b""
            with opened(self._path) as file:
                file.seek(self._offset)
                new = file.read(min(size - self._offset, MAX_FILE))
        except OSError:
            return [], False
        self._offset += len(new)
        *lines, rest = (self.rest + new).split(b"\n")
        self.rest = rest[-MAX_LINE:]  # a longer line is no record
        return lines, anew


class Reader:
    """Updates a board's state from new content of its folder."""

    def __init__(self, board: Board, home: Path) -> None:
        self.board, self._home = board, home
        self._events, self._samples = Tail(home / EVENTS), Tail(home / TELEMETRY)

    def look(self) -> None:
        now_s = time.monotonic()
        events, anew = self._events.lines()
        if anew:
            self.board.restart()
        for line in events:
            self.board.take_event(line, now_s)
        for line in self._samples.lines()[0]:
            self.board.take_sample(line, now_s)
        self.board.take_live(as_object(self._content(LIVE)) or {}, now_s, time.time())
        self.board.result = as_result(self._content(RESULT)) or as_result(self._content(LOST)) or self.board.result
        self.board.clock = as_object(self._content(CLOCK))

    def close(self) -> None:
        """The end: an incomplete line will not be completed."""
        self.board.odd_lines += sum(bool(tail.rest.strip()) for tail in (self._events, self._samples))

    def _content(self, name: str) -> bytes:
        try:
            with opened(self._home / name) as file:
                return file.read(MAX_BYTES + 1)
        except OSError:
            return b""


def collected(board: Board, home: Path) -> Board:
    """The board's state from its folder on the controller."""
    reader = Reader(board, home)
    reader.look()
    reader.close()
    board.reached = True
    return board


def as_object(content: bytes | str) -> dict[str, Any] | None:
    """The JSON object in the content, with null for numbers that are not finite, or None."""
    try:
        value = known(parse(content), [])
    except Unreadable:
        return None
    return value if isinstance(value, dict) else None


def as_result(content: bytes | str) -> dict[str, Any] | None:
    """A board's result in the content of result.json, or None."""
    try:
        return results.as_result(as_object(content))[0]
    except ValueError:
        return None
