"""Heartbeats between the boards' supervisors, so that a dead board or link is noticed before TensorFlow does.

One datagram per second to every other board, on the port after TensorFlow's, on the training network only.
Standard library only.
"""

from __future__ import annotations

import contextlib
import json
import socket
import time
from typing import Dict, List, Optional, Tuple

from trainer.contract.causes import Cause
from trainer.contract.cluster import Cluster

RUNNING, SUCCEEDED, FAILED, INTERRUPTED = "running", "succeeded", "failed", "interrupted"
_EVERY_S = 1.0
_MEET_POLL_S = 0.02
_FAREWELLS = 5  # repeated, since datagrams get lost
_FAREWELL_S = 0.1


class Peers:
    """The other boards, and when each was last heard."""

    def __init__(self, cluster: Cluster, names: List[str], run_id: str, silence_s: float) -> None:
        """`names` in rank order; a board counts as cut off after `silence_s` without a heartbeat.

        Raises OSError where the port is taken.
        """
        self._names, self._run_id, self._rank, self._silence_s = names, run_id, cluster.rank, silence_s
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
        self._sent_s = 0.0

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
        for rank, heard_s in self._heard_s.items():
            if now - heard_s > self._silence_s:
                return Cause(
                    "network",
                    f"no word from {self._names[rank]} at {self._addresses[rank][0]} for {self._silence_s:.0f} s: "
                    f"the network between {self._names[self._rank]} and {self._names[rank]} is down, "
                    f"or {self._names[rank]} is",
                )
        return None

    def farewell(self, state: str, cause: Optional[str]) -> None:
        """Tell the others how this board ended."""
        for _ in range(_FAREWELLS):
            self._send(state, cause, list(self._addresses))
            time.sleep(_FAREWELL_S)
        self._socket.close()

    def _send(self, state: str, cause: Optional[str], ranks: List[int]) -> None:
        message = {"run_id": self._run_id, "rank": self._rank, "state": state, "cause": cause}
        content = json.dumps(message).encode()
        for rank in ranks:
            with contextlib.suppress(OSError):  # no route: the silence will show it
                self._socket.sendto(content, self._addresses[rank])

    def _hear(self, now: float) -> Optional[Cause]:
        while True:
            try:
                message = json.loads(self._socket.recv(2048))
                run_id, rank, state = message["run_id"], message["rank"], message["state"]
            except BlockingIOError:
                return None
            except (OSError, ValueError, KeyError, TypeError):
                continue  # not a message of the kit
            if run_id != self._run_id or rank not in self._addresses:
                continue
            if state == FAILED:
                return Cause("peer", f"stopped, because {self._names[rank]} failed: {message.get('cause')}")
            if state == INTERRUPTED:
                return Cause("interrupted", f"stopped, because {self._names[rank]} was: {message.get('cause')}")
            if state == SUCCEEDED:
                self._heard_s.pop(rank, None)
                del self._addresses[rank]
            else:
                if rank not in self._heard_s:  # it began later and has not heard this board
                    self._send(RUNNING, None, [rank])
                self._heard_s[rank] = now
