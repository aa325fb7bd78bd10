"""A witness between two halves of a run's boards: it names one board for each generation, and no other afterwards.

The witness is the controller that follows the run (`Controller`), or a host outside the group (`Host`), on which
`python3 witness.py FOLDER SECONDS ADDRESS` answers the boards at that address. This file is copied to that host alone,
so that it needs nothing but the standard library. FOLDER has the key of the heartbeats, which is deleted; what was
granted is kept there on disk before it is said.

A datagram is an HMAC-SHA256 of the key over the rest: number of the generation, rank of the board that asks or that is
named, and a nonce that the answer repeats. Who hears the network can repeat a question, whose answer is the same.
"""

from __future__ import annotations

import contextlib
import hmac
import json
import os
import signal
import socket
import struct
import sys
import time
from pathlib import Path
from typing import Callable, Dict, Optional, Tuple

_MAC_BYTES = 32
_CONTENT = struct.Struct("!IH16s")  # number, rank, nonce
_ASKS, _NAMES = b"witness asks", b"witness names"  # what an HMAC is over, before the content
_AGAIN_S = 0.5  # until a question without an answer is asked again
KEY, PID, GRANTED = "key", "pid", "granted-"  # files in the witness' folder


class Controller:
    """The controller that follows the run; it looks at heartbeats, and leaves a file on the board that it names."""

    name = "the controller"

    def __init__(self, rank: int, beat: Callable[[float, Optional[int]], None], grant: Path) -> None:
        """`beat` writes the heartbeat with the generation that the board asks for; `grant`: the controller's file."""
        self._rank, self._beat, self._grant = rank, beat, grant

    def named(self, number: int, asks: bool, now_s: float) -> Optional[int]:
        """The rank that is named for a generation, as far as this board knows; asks for itself if it is to."""
        self._beat(now_s, number if asks else None)
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
            if json.loads(self._grant.read_text(encoding="utf-8"))["number"] == number:
                return self._rank
        return None


class Host:
    """A host that answers questions."""

    name = "the witness"

    def __init__(self, rank: int, address: str, key: bytes) -> None:
        """`address`: host:port. Raises ValueError for another one."""
        host, _, port = address.rpartition(":")
        self._rank, self._address, self._key = rank, (host, int(port)), key
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.setblocking(False)
        self._nonce, self._asked_s = os.urandom(16), -_AGAIN_S
        self._named: Dict[int, int] = {}

    def named(self, number: int, asks: bool, now_s: float) -> Optional[int]:
        """See `Controller.named`."""
        with contextlib.suppress(OSError):  # nothing has come, or the host cannot be reached
            while True:
                content = _opened(self._key, _NAMES, self._socket.recv(_MAC_BYTES + _CONTENT.size + 1))
                if content is not None and content[2] == self._nonce:
                    self._named[content[0]] = content[1]
        if asks and number not in self._named and now_s - self._asked_s >= _AGAIN_S:
            self._asked_s = now_s
            with contextlib.suppress(OSError):
                question = _sealed(self._key, _ASKS, number, self._rank, self._nonce)
                self._socket.sendto(question, self._address)
        return self._named.get(number)


def answer(folder: Path, key: bytes, question: bytes) -> Optional[bytes]:
    """The answer to a datagram; None if it is not from a board of the run. Raises OSError if the disk fails."""
    asked = _opened(key, _ASKS, question)
    if asked is None:
        return None
    number, rank, nonce = asked
    return _sealed(key, _NAMES, number, _grant(folder / f"{GRANTED}{number}", rank), nonce)


def _grant(note: Path, rank: int) -> int:
    """The rank that has a note: this one, if none had it before."""
    draft = note.with_name(f"draft-{rank}")
    with draft.open("w", encoding="ascii") as file:
        file.write(str(rank))
        file.flush()
        os.fsync(file.fileno())
    with contextlib.suppress(FileExistsError):
        os.link(str(draft), str(note))  # whole or not at all, and once only
    draft.unlink()
    return int(note.read_text(encoding="ascii"))


def _sealed(key: bytes, purpose: bytes, number: int, rank: int, nonce: bytes) -> bytes:
    content = _CONTENT.pack(number, rank, nonce)
    return hmac.digest(key, purpose + content, "sha256") + content


def _opened(key: bytes, purpose: bytes, datagram: bytes) -> Optional[Tuple[int, int, bytes]]:
    mac, content = datagram[:_MAC_BYTES], datagram[_MAC_BYTES:]
    if len(content) != _CONTENT.size or not hmac.compare_digest(mac, hmac.digest(key, purpose + content, "sha256")):
        return None
    number, rank, nonce = _CONTENT.unpack(content)
    return number, rank, nonce


def serve(folder: Path, key: bytes, listener: socket.socket, limit_s: float) -> None:
    """Answer boards for `limit_s` seconds."""
    deadline = time.monotonic() + limit_s
    while time.monotonic() < deadline:
        listener.settimeout(max(0.01, deadline - time.monotonic()))
        with contextlib.suppress(OSError):  # at the limit; or of a disk, or of who cannot be reached
            question, sender = listener.recvfrom(_MAC_BYTES + _CONTENT.size + 1)
            told = answer(folder, key, question)
            if told is not None:
                listener.sendto(told, sender)


def main() -> int:
    """Answer in the background; prints the UDP port."""
    folder, limit_s, address = Path(sys.argv[1]), float(sys.argv[2]), sys.argv[3]
    key = (folder / KEY).read_bytes()
    (folder / KEY).unlink()
    listener = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    listener.bind((address, 0))  # towards the boards alone
    pid = os.fork()
    if pid:
        (folder / PID).write_text(f"{pid}\n", encoding="ascii")
        print(listener.getsockname()[1])
        return 0
    os.setsid()
    nothing = os.open(os.devnull, os.O_RDWR)
    for standard in (0, 1, 2):
        os.dup2(nothing, standard)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    serve(folder, key, listener, limit_s)
    return 0


if __name__ == "__main__":
    sys.exit(main())
