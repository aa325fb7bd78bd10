"""The board's network interface: which one carries the training traffic, and its byte counters."""

from __future__ import annotations

import fcntl
import socket
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Optional

_SIOCGIFADDR = 0x8915  # linux/sockios.h


@dataclass(frozen=True)
class Bytes:
    """Counters of an interface since it came up."""

    sent: int
    received: int


def interface_with(address: str) -> Optional[str]:
    """Name of the interface that has this IPv4 address, None where there is none."""
    for _, name in socket.if_nameindex():
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            try:
                answer = fcntl.ioctl(probe.fileno(), _SIOCGIFADDR, struct.pack("256s", name.encode()[:15]))
            except OSError:  # an interface without an address
                continue
        if socket.inet_ntoa(answer[20:24]) == address:
            return name
    return None


def counters(interface: Optional[str]) -> Optional[Bytes]:
    """The interface's counters now, from /proc/net/dev; None where it cannot be read."""
    try:
        lines = Path("/proc/net/dev").read_text(encoding="ascii").splitlines()
    except OSError:
        return None
    for line in lines:
        name, _, numbers = line.partition(":")
        if name.strip() == interface:
            fields = numbers.split()
            return Bytes(sent=int(fields[8]), received=int(fields[0]))
    return None
