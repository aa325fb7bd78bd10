"""Files that the kernel lets be opened and not be read, as the thermal zone of a part without power."""

import io
from pathlib import Path

import pytest


class _NothingNow(io.RawIOBase):
    """Answers a read with EAGAIN, of which Python's raw files make None."""

    def readable(self):
        return True

    def readinto(self, buffer):
        return None


def answer_with_eagain(monkeypatch: pytest.MonkeyPatch, refused: Path) -> None:
    """Make every read of this file fail with EAGAIN."""
    really_open = Path.open

    def open_(path, mode="r", *arguments, **options):
        if path != refused:
            return really_open(path, mode, *arguments, **options)
        buffered = io.BufferedReader(_NothingNow())
        return buffered if "b" in mode else io.TextIOWrapper(buffered, encoding="utf-8")

    monkeypatch.setattr(Path, "open", open_)
