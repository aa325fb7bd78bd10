"""Gives a checkpoint to a board that comes back into a run. Standard library only.

A board of the new generation serves it on TensorFlow's port, which is free until the trainer starts and which the
firewall keeps for the boards. Both sides prove that they have the key of the heartbeats, by an HMAC over a number that
the server has just drawn; the content has one, too.
"""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import os
import socket
import struct
import time
from pathlib import Path
from typing import Set, Tuple

from trainer.contract.checkpoints import Place

_NONCE_BYTES = _MAC_BYTES = 32
_ASKED = struct.Struct("!HII")  # rank, and the place: epoch, images
_SIZE = struct.Struct("!Q")  # bytes of the checkpoint
_PIECE = 1 << 16
_STILL_S = 10.0  # without a byte
_AGAIN_S = 0.2
MOST_BYTES = 1 << 34


class TransferError(OSError):
    """The other side broke off, or does not have the key."""


def serve(address: str, path: Path, place: Place, key: bytes, ranks: Set[int], limit_s: float) -> Set[int]:
    """Give the place's checkpoint at `path` to these boards, each once; returns those that did not fetch it in time.

    Raises OSError if the port is taken.
    """
    left, deadline = set(ranks), time.monotonic() + limit_s
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(_pair(address))
        listener.listen()
        while left and time.monotonic() < deadline:
            listener.settimeout(max(0.01, deadline - time.monotonic()))
            with contextlib.suppress(OSError):  # of one that gave up: another one may come
                connection, _ = listener.accept()
                with connection:
                    connection.settimeout(_STILL_S)
                    left.discard(_give(connection, path, place, key, left))
    return left


def fetch(address: str, path: Path, rank: int, place: Place, key: bytes, limit_s: float) -> None:
    """Fetch the place's checkpoint from the board that serves it there. Raises OSError, also at the limit."""
    deadline = time.monotonic() + limit_s
    while True:
        try:
            with socket.create_connection(_pair(address), timeout=_STILL_S) as connection:
                _take(connection, path, rank, place, key)
            return
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(_AGAIN_S)


def _give(connection: socket.socket, path: Path, place: Place, key: bytes, ranks: Set[int]) -> int:
    nonce = os.urandom(_NONCE_BYTES)
    connection.sendall(nonce)
    asked = _exactly(connection, _ASKED.size)
    rank, *wanted = _ASKED.unpack(asked)
    proof = _exactly(connection, _MAC_BYTES)
    if not hmac.compare_digest(proof, _mac(key, b"asked", nonce, asked)) or rank not in ranks or wanted != list(place):
        raise TransferError("who asks has no key, or asks for another checkpoint")
    digest = hashlib.sha256()
    size = path.stat().st_size
    connection.sendall(_SIZE.pack(size))
    with path.open("rb") as file:
        for piece in iter(lambda: file.read(_PIECE), b""):
            digest.update(piece)
            connection.sendall(piece)
    connection.sendall(_mac(key, b"content", nonce, digest.digest()))
    if _exactly(connection, 1) != b"+":  # it has all of it
        raise TransferError("it was not taken")
    return int(rank)


def _take(connection: socket.socket, path: Path, rank: int, place: Place, key: bytes) -> None:
    nonce = _exactly(connection, _NONCE_BYTES)
    asked = _ASKED.pack(rank, *place)
    connection.sendall(asked + _mac(key, b"asked", nonce, asked))
    (size,) = _SIZE.unpack(_exactly(connection, _SIZE.size))
    if size > MOST_BYTES:
        raise TransferError(f"a checkpoint of {size} bytes")
    path.parent.mkdir(exist_ok=True)
    draft, digest = path.with_suffix(".part"), hashlib.sha256()
    try:
        with draft.open("wb") as file:
            while size:
                piece = _exactly(connection, min(size, _PIECE))
                digest.update(piece)
                file.write(piece)
                size -= len(piece)
            file.flush()
            os.fsync(file.fileno())
        if not hmac.compare_digest(_exactly(connection, _MAC_BYTES), _mac(key, b"content", nonce, digest.digest())):
            raise TransferError("the checkpoint was changed on its way")
        draft.replace(path)
    finally:
        with contextlib.suppress(FileNotFoundError):
            draft.unlink()
    connection.sendall(b"+")


def _exactly(connection: socket.socket, count: int) -> bytes:
    parts = []
    while count:
        part = connection.recv(count)
        if not part:
            raise TransferError("the other side broke off")
        parts.append(part)
        count -= len(part)
    return b"".join(parts)


def _mac(key: bytes, purpose: bytes, *parts: bytes) -> bytes:
    return hmac.digest(key, b"checkpoint " + purpose + b" " + b"".join(parts), "sha256")


def _pair(address: str) -> Tuple[str, int]:
    host, _, port = address.rpartition(":")
    return host, int(port)
