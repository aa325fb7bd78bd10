"""Measures round-trip time and throughput between boards: `python3 - REQUEST < measure.py`, on all boards at once.

All boards connect first, and then go through the same list of pairs, so that no board is in two pairs at once.
Throughput is measured by iperf3 if both boards of a pair have it, else by the kit. Only TensorFlow's port is used,
which the boards' firewall allows. The request (JSON) has: name (this board's), addresses (name to address, in rank
order), port, seconds (of sending, in each direction of a pair; iperf3 takes whole ones), limit_s (for which a board
waits for another).
"""

from __future__ import annotations

import contextlib
import itertools
import json
import math
import socket
import statistics
import subprocess
import sys
import time
from typing import Any, Dict, Iterator, List, Sequence, Tuple, Union

ALL_PAIRS_UP_TO = 4  # boards; with more, only neighbours in a ring in rank order
PINGS = 50
CHUNK = 1 << 16
PATIENCE = 5  # seconds that iperf3's server may take to start, and times as long as planned that a pair may take
BUFFER = 1 << 18  # bytes; limits what is in flight at the end


def pairs(names: Sequence[str]) -> List[Tuple[str, str]]:
    """The pairs to measure, ordered so that pairs without a common board run in parallel."""
    count = len(names)
    if count > ALL_PAIRS_UP_TO:
        ring = [(n, (n + 1) % count) for n in (*range(0, count, 2), *range(1, count, 2))]
        return [(names[first], names[second]) for first, second in ring]
    every = sorted(itertools.combinations(range(count), 2), key=lambda pair: (pair[0] ^ pair[1], pair))
    return [(names[first], names[second]) for first, second in every]


class Measurement:
    """This board's part in all of its pairs."""

    def __init__(self, request: Dict[str, Any]) -> None:
        self._request, self._name = request, request["name"]
        self._pairs = [pair for pair in pairs(list(request["addresses"])) if self._name in pair]
        self._limit_s = request["limit_s"]
        self._iperf3 = _has_iperf3()

    def run(self) -> List[Dict[str, Any]]:
        """A record for each direction: from, to, bit_per_s, tool, round_trip_s, or error."""
        try:
            peers = self._meet()
        except OSError as error:
            reason = f"port {self._request['port']}: {error.strerror}"
            return [self._record(pair, error=reason) for pair in self._pairs]
        records = []
        for pair in self._pairs:
            peer = peers[self._other(pair)]
            if isinstance(peer, OSError):
                records.append(self._record(pair, error=peer.strerror or str(peer) or type(peer).__name__))
                continue
            try:
                with peer:
                    records.append(self._record(pair, **self._measure(peer, pair)))
            except OSError as error:
                records.append(self._record(pair, error=error.strerror or str(error) or type(error).__name__))
        return records

    def _other(self, pair: Tuple[str, str]) -> str:
        return pair[0] if self._name == pair[1] else pair[1]

    def _record(self, pair: Tuple[str, str], **values: Any) -> Dict[str, Any]:
        return {"from": self._other(pair), "to": self._name, **values}

    def _meet(self) -> Dict[str, Union[socket.socket, OSError]]:
        """A connection to every other board, or the error; afterwards the port is free for iperf3."""
        called = [second for first, second in self._pairs if self._name == first]
        others = [self._other(pair) for pair in self._pairs]
        peers: Dict[str, socket.socket] = {}
        errors: Dict[str, OSError] = {}
        deadline = time.monotonic() + self._limit_s
        with socket.socket() as listener:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, BUFFER)
            listener.bind((self._request["addresses"][self._name], self._request["port"]))
            listener.listen(len(others) + 1)
            listener.settimeout(0.05)
            # in turns, so that a board that does not answer does not block the others
            while not peers.keys() >= set(others) and time.monotonic() < deadline:
                for name in called:
                    if name not in peers:
                        try:
                            peers[name] = self._call(name)
                        except OSError as error:  # it may not have started yet
                            errors[name] = error
                with contextlib.suppress(OSError):
                    peer, _ = listener.accept()
                    peer.settimeout(1)
                    peers[_line(peer)] = peer
                    peer.sendall(b"!")
        for name in called:
            if name in peers:
                peers[name].settimeout(max(1.0, deadline - time.monotonic()))
                try:
                    if peers[name].recv(1) != b"!":
                        raise ConnectionError("the kit does not answer at the port")
                except OSError as error:
                    errors[name] = error
                    peers.pop(name).close()
        return {name: peers.get(name) or errors.get(name) or TimeoutError("no connection") for name in others}

    def _call(self, name: str) -> socket.socket:
        peer = socket.socket()
        peer.settimeout(1)
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, BUFFER)
        try:
            peer.connect((self._request["addresses"][name], self._request["port"]))
            peer.sendall(f"{self._name}\n".encode())
        except OSError:
            peer.close()
            raise
        return peer

    def _measure(self, peer: socket.socket, pair: Tuple[str, str]) -> Dict[str, Any]:
        """This board's measurements: the round trip that it starts, and the throughput that it receives."""
        first, seconds = self._name == pair[0], self._request["seconds"]
        peer.settimeout(self._limit_s + PATIENCE * math.ceil(seconds) * len(self._request["addresses"]) ** 2)
        peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, BUFFER)
        peer.sendall(b"iperf3\n" if self._iperf3 else b"own\n")  # both are ready for this pair
        theirs = _line(peer)
        seen: Dict[str, Any] = {"tool": "iperf3" if self._iperf3 and theirs == "iperf3" else "own"}
        for mine in (first, not first):
            if mine:
                seen["round_trip_s"] = statistics.median(_pings(peer))
            else:
                for _ in range(PINGS):
                    peer.sendall(_read(peer, 1))
        addresses = [str(self._request["addresses"][name]) for name in (self._name, self._other(pair))]
        for mine in (first, not first):
            if seen["tool"] == "iperf3":
                if mine:
                    peer.sendall(f"{_iperf3_send(addresses[1], self._request['port'], seconds)}\n".encode())
                else:
                    seen["bit_per_s"] = _iperf3_receive(peer, addresses[0], self._request["port"])
            elif mine:
                _send(peer, seconds)
            else:
                seen["bit_per_s"] = _receive(peer)
        return seen


def _line(peer: socket.socket) -> str:
    """A line from the other board, without its end; incomplete if it hangs up or is too long."""
    text = b""
    while not text.endswith(b"\n") and len(text) < 1000:
        byte = peer.recv(1)
        if not byte:
            break
        text += byte
    return text.decode(errors="replace").strip()


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
    """Send chunks for some seconds; the first byte of each says whether it is the last."""
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


def _has_iperf3() -> bool:
    """Whether the program is iperf 3."""
    try:
        said = subprocess.run(["iperf3", "--version"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, timeout=10)
    except (OSError, subprocess.TimeoutExpired):
        return False
    return said.stdout.startswith(b"iperf 3")


def _iperf3_send(address: str, port: int, seconds: float) -> str:
    """Sends to the other board's server; returns its received bits per second of payload, or an error."""
    command = ["iperf3", "-c", address, "-p", str(port), "-t", str(math.ceil(seconds)), "-J"]
    end = time.monotonic() + PATIENCE
    said: Any = None
    while True:
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        try:
            said = json.loads(done.stdout)
            return str(float(said["end"]["sum_received"]["bits_per_second"]))
        except (ValueError, KeyError, TypeError):
            if time.monotonic() > end:
                error = said.get("error") if isinstance(said, dict) else None
                return f"iperf3: {error or f'ended with {done.returncode}'}".replace("\n", " ")
        time.sleep(0.05)  # the server has not started yet


def _iperf3_receive(peer: socket.socket, address: str, port: int) -> float:
    """Serves the other board once; returns the reported bits per second of payload."""
    command = ["iperf3", "-s", "-1", "-B", socket.gethostbyname(address), "-p", str(port)]
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        told = _line(peer)
    finally:
        server.kill()  # it has normally ended
        server.wait()
    try:
        return float(told)
    except ValueError:
        raise ConnectionError(told or "the other board hung up") from None


if __name__ == "__main__":
    print(json.dumps(Measurement(json.loads(sys.argv[1])).run()))
