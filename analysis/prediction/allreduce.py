"""Time of an all-reduce: a ring, or rings in two levels, over one or several switches.

With N boards, B bytes of payload, a link of R bit/s, g the fraction of a link's bits that are payload, alpha the
latency of a message and gamma a board's time to copy and serialise a byte:

    ring:          2 (N - 1) alpha + 2 (N - 1) / N B (8 / (g R) + gamma)

Patarasuk and Yuan, "Bandwidth optimal all-reduce algorithms for clusters of workstations", 2009, section 3: each board
sends 2 (N - 1) messages of B / N bytes. Thakur, Rabenseifner and Gropp, "Optimization of collective communication
operations in MPICH", 2005, section 2: latency plus a time per byte, with full duplex links. TensorFlow 2.12's own
collectives run a ring over gRPC; `Network.hierarchical` is what the kit cannot do yet.

    two levels:    a ring's first half within each switch of m boards, a ring over the S switches with the B / m bytes
                   that each board then has, and the second half within the switch:
                   2 (m - 1) alpha + 2 (m - 1) / m B (8 / (g R) + gamma)
                   + 2 (S - 1) alpha + 2 (S - 1) / S B / m (8 / (g min(R, U / m)) + gamma)

The m boards of a switch share its uplink of U bit/s in the second part. In a plain ring over boards that follow each
other switch by switch (the inventory's order is the ring's) only one flow leaves a switch, and one enters it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from analysis.prediction.repeats import Error

Floats = npt.NDArray[np.float64]

# of a full frame on Ethernet: 1,500 bytes less 40 of IP and TCP and 12 of TCP's timestamps are payload; preamble,
# header, checksum and gap (IEEE 802.3) add 38
GOODPUT = (1500 - 52) / (1500 + 38)
_BURST_BYTES = 2**18  # emulated links let 2^17 bytes pass at once, and queue as many
_APART = 16  # ratio of payloads from which latency and time per byte can be separated
_DISTINCT = 1.01  # below this ratio they are the same payload
_SURE = 0.95  # that latency is not zero, where payloads are nearer to each other


@dataclass(frozen=True)
class Network:
    """Links and switches between boards; a central switch connects all uplinks at full rate."""

    link_bit_per_s: float
    switch_ports: int | None = None  # boards on a switch; null: all boards are on one
    uplink_bit_per_s: float | None = None  # uplink of a switch; null: no bottleneck
    scattered: bool = False  # neighbours in the ring are on different switches
    hierarchical: bool = False  # two levels of rings; the kit does not support it

    def switches(self, workers: int) -> int:
        """Number of switches that a number of boards needs."""
        return math.ceil(workers / self._on_switch(workers))

    def ring_bit_per_s(self, workers: int) -> float:
        """Bit/s of the slowest flow in one ring over all boards."""
        if self.switches(workers) == 1 or self.uplink_bit_per_s is None:
            return self.link_bit_per_s
        flows = self._on_switch(workers) if self.scattered else 1
        return min(self.link_bit_per_s, self.uplink_bit_per_s / flows)

    def levels(self, workers: int) -> tuple[int, int, float]:
        """Boards on a switch, switches, and bit/s of each of the rings over the switches."""
        boards = self._on_switch(workers)
        uplink = math.inf if self.uplink_bit_per_s is None else self.uplink_bit_per_s
        return boards, self.switches(workers), min(self.link_bit_per_s, uplink / boards)

    def _on_switch(self, workers: int) -> int:
        return workers if self.switch_ports is None else min(workers, self.switch_ports)


@dataclass(frozen=True)
class Point:
    payload_bytes: float
    seconds: float
    workers: int
    link_bit_per_s: float
    error: Error | None = None  # of the seconds; null: measured once


@dataclass(frozen=True)
class AllReduce:
    """Costs of an all-reduce beyond the wire: constants of the boards and their software."""

    latency_s: float  # alpha: of one of the 2 (N - 1) messages of a ring
    per_byte_s: float  # gamma: for each byte that a board sends

    def seconds(self, payload_bytes: float, workers: int, network: Network) -> float:
        """Seconds of an all-reduce of that payload; 0 on one board."""
        if network.hierarchical and network.switches(workers) > 1:
            boards, switches, across = network.levels(workers)
            within_s = self._ring(payload_bytes, boards, network.link_bit_per_s)
            return within_s + self._ring(payload_bytes / boards, switches, across)
        return self._ring(payload_bytes, workers, network.ring_bit_per_s(workers))

    def _ring(self, payload_bytes: float, workers: int, bit_per_s: float) -> float:
        sent = wire_bytes(payload_bytes, workers)
        return hops(workers) * self.latency_s + sent * (8 / (GOODPUT * bit_per_s) + self.per_byte_s)


def wire_bytes(payload_bytes: float, workers: int) -> float:
    """Bytes that a board sends in a ring all-reduce of the payload."""
    return 2 * (workers - 1) / workers * payload_bytes


def hops(workers: int) -> int:
    """Number of consecutive messages in a ring."""
    return 2 * (workers - 1)


def fit(points: Sequence[Point]) -> AllReduce:
    """The non-negative constants with the least squared relative error over the points.

    Payloads that are alike cannot tell latency from time per byte (see `tells_latency`): all that the wire does not
    explain is then taken to be time per byte, and what follows for many boards is the least it can be. A small
    message that is faster than its wire was let through by a burst, as shaped links have them: it measures latency
    alone.
    """
    if not points:
        return AllReduce(0.0, 0.0)
    (latency_ms, per_byte_ns), _ = _solved(points, apart=tells_latency(points))
    return AllReduce(1e-3 * float(latency_ms), 1e-9 * float(per_byte_ns))


def _solved(points: Sequence[Point], *, apart: bool) -> tuple[Floats, float]:
    """Latency in ms (0 unless `apart`), nanoseconds per byte, and the standard error of the latency; NaN: unknown."""
    from scipy.optimize import nnls  # imported late: takes a second

    rows, values = [], []
    for point in points:
        sent = wire_bytes(point.payload_bytes, point.workers)
        wire_s = 8 * sent / (GOODPUT * point.link_bit_per_s)
        if wire_s > point.seconds and point.payload_bytes <= _BURST_BYTES:
            sent, wire_s = 0.0, 0.0
        # scales both unknowns (milliseconds, nanoseconds) to similar size
        rows.append((1e-3 * hops(point.workers) * apart / point.seconds, 1e-9 * sent / point.seconds))
        values.append((point.seconds - wire_s) / point.seconds)
    found, left = nnls(np.array(rows), np.array(values))
    freedom = len(points) - 2
    if not apart or freedom < 1:
        return found, math.nan
    inverse = np.linalg.pinv(np.array(rows).T @ np.array(rows))
    return found, float(left * math.sqrt(inverse[0, 0] / freedom))


def tells_latency(points: Sequence[Point]) -> bool:
    """Whether latency is known apart from time per byte.

    It is where payloads differ 16-fold; where they differ less, if the latency that they fit is above zero by what its
    standard error allows (Student's t, one-sided, 95 %).
    """
    from scipy import special  # imported late: takes a second

    payloads = [point.payload_bytes for point in points]
    if not payloads or max(payloads) < _DISTINCT * min(payloads):
        return False
    if max(payloads) >= _APART * min(payloads):
        return True
    (latency_ms, _), error_ms = _solved(points, apart=True)
    return bool(latency_ms > special.stdtrit(max(len(points) - 2, 1), _SURE) * error_ms)
