"""Heartbeats between the boards' supervisors, so that a dead board or link is noticed before TensorFlow does.

One datagram per second to every other board, on the port after TensorFlow's, on the training network only. Each begins
with its HMAC-SHA256, by a key that the controller makes for each start of the run; what has another one is dropped
unread. Who has the wire can hold heartbeats back, which ends the run, but not make any. Standard library only.
"""

from __future__ import annotations

import contextlib
import hmac
import socket
import struct
import sys
import time
from typing import Collection, Dict, List, NamedTuple, Optional, Tuple

from trainer.contract.causes import Cause
from trainer.contract.cluster import Cluster
from trainer.contract.layout import PEERS_KEY_BYTES

RUNNING, SUCCEEDED, FAILED, INTERRUPTED = "running", "succeeded", "failed", "interrupted"
CHANGING = "changing"  # about the next generation of boards, see elastic_peers.py
_STATES = (RUNNING, SUCCEEDED, FAILED, INTERRUPTED, CHANGING)
# A message: rank, start (of the supervisor, ns of its clock), count (of its messages), state, generation of boards;
# then the cause in UTF-8, or what the state is about.
# Start and count only grow. A restarted supervisor has a later start; what was heard before is not heard again.
_HEADER = struct.Struct("!HQQBI")
_MAC_BYTES = 32
_CAUSE_BYTES = 1024
_LONGEST = _MAC_BYTES + _HEADER.size + _CAUSE_BYTES  # bytes
_MOST = 1000  # datagrams read in one look, so that a flood cannot keep the watchdog from its limits
_EVERY_S = 1.0
_MEET_POLL_S = 0.02
_FAREWELLS = 5  # repeated, since datagrams get lost
_FAREWELL_S = 0.1


class Message(NamedTuple):
    """What another board said."""

    rank: int
    state: str
    cause: str
    generation: int


class Peers:
    """The other boards, and when each was last heard."""

    def __init__(
        self, cluster: Cluster, names: List[str], key: bytes, silence_s: float, spare: Collection[int] = ()
    ) -> None:
        """`names` in rank order; a board counts as cut off after `silence_s` without a heartbeat.

        Once training has begun, the others go on without boards of the ranks in `spare`, whose end is only printed.

        Raises OSError where the port is taken, and ValueError for a key of another length.
        """
        if len(key) != PEERS_KEY_BYTES:
            raise ValueError(f"the key of the heartbeats has {len(key)} bytes instead of {PEERS_KEY_BYTES}")
        self._names, self._key, self._rank, self._silence_s = names, key, cluster.rank, silence_s
        self._spare = spare
        self.begun = False
        self._addresses: Dict[int, Tuple[str, int]] = {}
        for rank, address in enumerate(cluster.addresses):
            host, _, port = address.rpartition(":")
            self._addresses[rank] = (host, int(port) + 1)
        own = self._addresses.pop(cluster.rank)
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.setblocking(False)
        try:
            self._socket.bind(own)
        except OSError:
            self._socket.close()
            raise
        self._heard_s: Dict[int, float] = {}  # only of boards that have been heard
        self._latest: Dict[int, Tuple[int, int]] = {}  # start and count of the latest message by rank
        self._sent_s, self._start, self._count = 0.0, time.time_ns(), 0
        self._generation = 1

    def meet(self, limit_s: float) -> Optional[Cause]:
        """Wait until all boards have been heard, up to a limit; return the cause to stop if a board failed."""
        deadline = time.monotonic() + limit_s
        while time.monotonic() < deadline:
            cause = self.exchange()
            if cause:
                return cause
            if all(rank in self._heard_s for rank in self._addresses):
                break
            time.sleep(_MEET_POLL_S)
        return None

    def exchange(self) -> Optional[Cause]:
        """Send a heartbeat and hear the others; return the cause to stop if a board failed."""
        now = time.monotonic()
        if now - self._sent_s >= _EVERY_S:
            self._send(RUNNING, None, list(self._addresses))
            self._sent_s = now
        cause = self._hear(now)
        if cause:
            return cause
        return self._silent(now)

    def _silent(self, now: float) -> Optional[Cause]:
        """The cause to stop if a board fell silent."""
        for rank, heard_s in list(self._heard_s.items()):
            if now - heard_s > self._silence_s:
                sentence = (
                    f"no word from {self._names[rank]} at {self._addresses[rank][0]} for {self._silence_s:.0f} s: "
                    f"the network between {self._names[self._rank]} and {self._names[rank]} is down, "
                    f"or {self._names[rank]} is"
                )
                if rank not in self._spare or not self.begun:
                    return Cause("network", sentence)
                self._go_on_without(rank, sentence)
        return None

    def _go_on_without(self, rank: int, why: str) -> None:
        print(f"supervisor: {why}; the others go on", file=sys.stderr, flush=True)
        self._leave(rank)

    def _leave(self, rank: int) -> None:
        self._heard_s.pop(rank, None)
        del self._addresses[rank]

    def farewell(self, state: str, cause: Optional[str]) -> None:
        """Tell the others how this board ended."""
        for _ in range(_FAREWELLS):
            self._send(state, cause, list(self._addresses))
            time.sleep(_FAREWELL_S)
        self._socket.close()

    def _send(self, state: str, cause: Optional[str], ranks: List[int]) -> None:
        self._count += 1
        code = _STATES.index(state if state in _STATES else FAILED)
        header = _HEADER.pack(self._rank, self._start, self._count, code, self._generation)
        content = header + (cause or "").encode(errors="replace")[:_CAUSE_BYTES]
        for rank in ranks:
            with contextlib.suppress(OSError):  # no route: the silence will show it
                self._socket.sendto(self._mac(content) + content, self._addresses[rank])

    def _mac(self, content: bytes) -> bytes:
        return hmac.digest(self._key, content, "sha256")

    def _hear(self, now: float) -> Optional[Cause]:
        for _ in range(_MOST):
            try:
                message = self._opened(self._socket.recv(_LONGEST + 1))
            except BlockingIOError:
                return None
            except OSError:
                continue
            cause = self._take(message, now) if message else None
            if cause:
                return cause
        return None

    def _take(self, message: Message, now: float) -> Optional[Cause]:
        """Note what another board said; return the cause to stop if it failed."""
        rank = message.rank
        if message.state == FAILED and rank in self._spare and self.begun:
            self._go_on_without(rank, f"{self._names[rank]} failed: {message.cause}")
            return None
        if message.state == FAILED:
            return Cause("peer", f"stopped, because {self._names[rank]} failed: {message.cause}")
        if message.state == INTERRUPTED:
            return Cause("interrupted", f"stopped, because {self._names[rank]} was: {message.cause}")
        if message.state == SUCCEEDED:
            self._leave(rank)
        else:
            if rank not in self._heard_s:  # it began later and has not heard this board
                self._send(RUNNING, None, [rank])
            self._heard_s[rank] = now
        return None

    def _opened(self, datagram: bytes) -> Optional[Message]:
        """A new message of another board; None for anything else. Only what is authentic is parsed."""
        content = datagram[_MAC_BYTES:]
        if not _HEADER.size <= len(content) <= _HEADER.size + _CAUSE_BYTES:
            return None
        if not hmac.compare_digest(datagram[:_MAC_BYTES], self._mac(content)):
            return None
        rank, start, count, code, generation = _HEADER.unpack_from(content)
        # own messages that are sent back have a rank that is not among the addresses
        if rank not in self._addresses or code >= len(_STATES) or (start, count) <= self._latest.get(rank, (0, 0)):
            return None
        self._latest[rank] = start, count
        said = content[_HEADER.size :].decode(errors="replace")
        return Message(rank, _STATES[code], said or "no cause given", generation)
