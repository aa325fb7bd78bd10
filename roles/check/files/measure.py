"""Round-trip time and throughput between boards, as JSON: `python3 - REQUEST < measure.py`, on all boards at once.

Every board walks the same list of pairs, so that none is in two at once. The kit's own instead of iperf3, because it
then needs one port only: TensorFlow's, which the boards' firewall lets the other boards reach, and no others. The
request (JSON) has: name (this board's), addresses (name to address, in rank order), port, seconds (of sending, in
each direction of a pair), limit_s (for which a board waits for another).
"""

from __future__ import annotations

import itertools
import json
import socket
import statistics
import sys
import time
from typing import Any, Dict, Iterator, List, Sequence, Tuple

ALL_PAIRS_UP_TO = 4  # boards; of more, only neighbours in rank order, in a ring
PINGS = 50
CHUNK = 1 << 16
BUFFER = 1 << 18  # bytes; what is still on its way when the time is over


def pairs(names: Sequence[str]) -> List[Tuple[str, str]]:
    """Who is measured with whom, in an order that lets pairs without a common board go on together."""
    count = len(names)
    if count > ALL_PAIRS_UP_TO:
        ring = [(n, (n + 1) % count) for n in (*range(0, count, 2), *range(1, count, 2))]
        return [(names[first], names[second]) for first, second in ring]
    every = sorted(itertools.combinations(range(count), 2), key=lambda pair: (pair[0] ^ pair[1], pair))
    return [(names[first], names[second]) for first, second in every]


class Measurement:
    """This board's part in every pair that it is in."""

    def __init__(self, request: Dict[str, Any]) -> None:
        self._request, self._name = request, request["name"]
        self._deadline = time.monotonic() + request["limit_s"]
        self._waiting: Dict[str, socket.socket] = {}  # that have called before their turn
        self._listener = socket.socket()
        self._listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, BUFFER)

    def run(self) -> List[Dict[str, Any]]:
        """A record for each direction: from, to, bit_per_s, round_trip_s, or error."""
        mine = [pair for pair in pairs(list(self._request["addresses"])) if self._name in pair]
        records = []
        try:
            self._listener.bind(("", self._request["port"]))
            self._listener.listen(len(mine) + 1)
        except OSError as error:
            return [self._record(pair, error=f"port {self._request['port']}: {error.strerror}") for pair in mine]
        for pair in mine:
            self._deadline = max(self._deadline, time.monotonic() + 5 * self._request["seconds"])
            try:
                with self._connect(pair[1]) if self._name == pair[0] else self._accept(pair[0]) as peer:
                    records.append(self._record(pair, **self._measure(peer, first=self._name == pair[0])))
            except OSError as error:
                records.append(self._record(pair, error=error.strerror or str(error) or type(error).__name__))
        return records

    def _record(self, pair: Tuple[str, str], **values: Any) -> Dict[str, Any]:
        other = pair[0] if self._name == pair[1] else pair[1]
        return {"from": other, "to": self._name, **values}

    def _left_s(self) -> float:
        left_s = self._deadline - time.monotonic()
        if left_s <= 0:
            raise TimeoutError("no connection")
        return left_s

    def _connect(self, name: str) -> socket.socket:
        while True:
            peer = socket.socket()
            peer.settimeout(self._left_s())
            peer.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, BUFFER)
            try:
                peer.connect((self._request["addresses"][name], self._request["port"]))
            except ConnectionRefusedError:  # it has not started yet
                peer.close()
                time.sleep(min(0.05, self._left_s()))
                continue
            peer.sendall(f"{self._name}\n".encode())
            if peer.recv(1) != b"!":
                raise ConnectionError("no kit answers at the port")
            return peer

    def _accept(self, name: str) -> socket.socket:
        while name not in self._waiting:
            self._listener.settimeout(self._left_s())
            peer, _ = self._listener.accept()
            peer.settimeout(self._left_s())
            caller = b""
            while not caller.endswith(b"\n"):
                byte = peer.recv(1)
                if not byte:
                    break
                caller += byte
            self._waiting[caller.decode(errors="replace").strip()] = peer
        peer = self._waiting.pop(name)
        peer.sendall(b"!")
        return peer

    def _measure(self, peer: socket.socket, first: bool) -> Dict[str, float]:
        """What this board sees of the other: the round trip that it starts, and what it receives."""
        peer.settimeout(5 + 5 * self._request["seconds"])
        peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, BUFFER)
        seen: Dict[str, float] = {}
        for mine in (first, not first):
            if mine:
                seen["round_trip_s"] = statistics.median(_pings(peer))
            else:
                for _ in range(PINGS):
                    peer.sendall(_read(peer, 1))
        for mine in (first, not first):
            if mine:
                _send(peer, self._request["seconds"])
            else:
                seen["bit_per_s"] = _receive(peer)
        return seen


def _pings(peer: socket.socket) -> Iterator[float]:
    for _ in range(PINGS):
        began = time.perf_counter()
        peer.sendall(b".")
        _read(peer, 1)
        yield time.perf_counter() - began


def _read(peer: socket.socket, count: int) -> bytes:
    data = b""
    while len(data) < count:
        new = peer.recv(count - len(data))
        if not new:
            raise ConnectionError("the other board hung up")
        data += new
    return data


def _send(peer: socket.socket, seconds: float) -> None:
    """Chunks for so long; the first byte of each tells whether it is the last."""
    end = time.perf_counter() + seconds
    more = b"\1" * CHUNK
    while time.perf_counter() < end:
        peer.sendall(more)
    peer.sendall(b"\0" * CHUNK)


def _receive(peer: socket.socket) -> float:
    """Bits per second of payload, from the end of the first chunk to the end of the last."""
    _read(peer, CHUNK)
    began, count, chunk = time.perf_counter(), 0, b"\1"
    while chunk[0]:
        chunk = _read(peer, CHUNK)
        count += len(chunk)
    return 8 * count / (time.perf_counter() - began)


if __name__ == "__main__":
    print(json.dumps(Measurement(json.loads(sys.argv[1])).run()))
