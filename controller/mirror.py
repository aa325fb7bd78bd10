"""Copies a board's records to the controller during the run, for `cluster-kit watch`.

The collect stage overwrites the copies of events.jsonl and telemetry.jsonl with the board's files. If a board is never
collected, the copies remain.
"""

from __future__ import annotations

import os
import shlex
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from analysis.runs.unpacking import MAX_BYTES
from analysis.watch.tail import as_object, as_result
from trainer.contract.layout import EMULATED, EVENTS, HEARTBEAT, LIVE, RESULT, TELEMETRY, write_json

MARK = "---end---"
_PIECE = 1 << 20  # bytes of a file per look; the rest comes with the next look
_SMALL = 1 << 16  # bytes of a file with one JSON object


@dataclass(frozen=True)
class Look:
    """The result of a look at a board."""

    running: bool  # the run's supervisor lives
    result: dict[str, Any] | None
    lines: list[bytes]  # new complete lines of events.jsonl
    whole: bool  # all records were read
    asks: int | None = None  # the generation for which the board asks to be named


class Mirror:
    """Copies the new part of a board's records with each look.

    Several processes may copy the same board: each writes at the offset that it read.
    """

    def __init__(self, home: Path, board_dir: str, poll_s: float) -> None:
        """`home`: the board's folder on the controller; `board_dir`: the run's on the board."""
        self._home, self._board_dir, self._poll_s = home, board_dir, poll_s
        self._sizes = {name: _size(home / name) for name in (EVENTS, TELEMETRY)}
        self._rest = b""
        self._live: dict[str, Any] = {"seen_s": time.time(), "emulated": None, "heartbeat": None, "result": None}

    def command(self) -> str:
        """The shell command (POSIX) that prints a board's new records, for `take`."""
        folder, emulated = shlex.quote(self._board_dir), shlex.quote(str(EMULATED))
        asked = [
            f"pid=$(cat {folder}/supervisor.pid 2>/dev/null); "
            f"grep -qs {folder}/run.json /proc/${{pid:-none}}/cmdline && echo running; "
            f"test -e {emulated} && echo emulated"
        ]
        for name, size in self._sizes.items():
            most = min(_PIECE, max(0, MAX_BYTES - size))
            asked.append(f"tail -c +{size + 1} {folder}/{name} 2>/dev/null | head -c {most}")
        asked += [f"head -c {_SMALL} {folder}/{name} 2>/dev/null" for name in (HEARTBEAT, RESULT)]
        return f"; echo {MARK}; ".join(asked) + "; true"

    def take(self, printed: str) -> Look | None:
        """Write the board's answer to the copies; None if it is incomplete. Bytes that are not UTF-8 are surrogates."""
        parts = [part.removeprefix("\n") for part in printed.split(MARK)]
        if len(parts) != 5:
            self.lose("the connection broke in the middle of an answer")
            return None
        said, *records = parts[:3]
        heartbeat, result = as_object(parts[3]), as_result(parts[4])
        events, samples = (part.encode(errors="surrogateescape")[:_PIECE] for part in records)
        lines: list[bytes] = []
        kept = self._keep(TELEMETRY, samples)
        if self._keep(EVENTS, events):
            *lines, self._rest = (self._rest + events).split(b"\n")
        else:
            kept = False
        self._live = {
            "seen_s": time.time(),
            "emulated": "emulated" in said,
            "heartbeat": heartbeat,
            "result": result,
        }
        self._note(None)
        # what cannot be written is left to the collect stage
        asks = (heartbeat or {}).get("asks")
        whole = not kept or max(len(events), len(samples)) < _PIECE
        return Look("running" in said, result, lines, whole, asks if isinstance(asks, int) else None)

    def lose(self, why: str) -> None:
        """Note that the board does not answer."""
        self._note(" ".join(why.split()))

    def end(self) -> None:
        """Note that the board is done and no longer looked at."""
        self._note(None, following=False)

    def _keep(self, name: str, content: bytes) -> bool:
        """Whether the content could be written; if not, it is asked for again."""
        offset = self._sizes[name]
        try:
            if content:
                with os.fdopen(
                    os.open(self._home / name, os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW, 0o644), "wb"
                ) as file:
                    file.seek(offset)
                    file.write(content)
        except OSError:
            return False
        self._sizes[name] = offset + len(content)
        return True

    def _note(self, why: str | None, following: bool = True) -> None:
        live = {**self._live, "due_s": time.time() + self._poll_s, "following": following, "why": why}
        with suppress(OSError, ValueError):  # neither a full disk nor a number like NaN may stop a run
            write_json(self._home / LIVE, live)


def _size(path: Path) -> int:
    return path.stat().st_size if path.is_file() else 0
