"""The board's network interface: which one carries the training traffic, and its byte counters; who listens."""

from __future__ import annotations

import array
import fcntl
import socket
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import List, Optional, Tuple

# linux/sockios.h: all IPv4 addresses, where SIOCGIFADDR tells only an interface's first one
_SIOCGIFCONF = 0x8912
_ENTRY = 16 + struct.calcsize("PPP")  # bytes of a struct ifreq: a name, then a union as large as a struct ifmap


@dataclass(frozen=True)
class Bytes:
    """Counters of an interface since it came up."""

    sent: int
    received: int


def addresses() -> List[Tuple[str, str]]:
    """(interface, IPv4 address) for every address of this board."""
    size = 64 * _ENTRY
    while True:
        entries = array.array("B", bytes(size))
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            answer = fcntl.ioctl(probe.fileno(), _SIOCGIFCONF, struct.pack("iP", size, entries.buffer_info()[0]))
        used: int = struct.unpack("iP", answer)[0]
        if used + _ENTRY <= size:
            break
        size *= 2  # the answer may have been cut off
    found = []
    for start in range(0, used, _ENTRY):
        label = entries[start : start + 16].tobytes().partition(b"\0")[0].decode(errors="replace")
        address = socket.inet_ntoa(entries[start + 20 : start + 24].tobytes())
        found.append((label.partition(":")[0], address))  # eth0:1 is a name of an address of eth0
    return found


def interface_with(address: str) -> Optional[str]:
    """The interface with this IPv4 address, or with one of this host name's; None without one."""
    try:
        wanted = {found[4][0] for found in socket.getaddrinfo(address, None, socket.AF_INET)}
    except (OSError, UnicodeError):  # the board cannot resolve the name
        return None
    return next((name for name, local in addresses() if local in wanted), None)


def counters(interface: Optional[str]) -> Optional[Bytes]:
    """The interface's current counters, from /proc/net/dev; None where it cannot be read."""
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


def listens(address: str) -> bool:
    """Whether a server listens at ip:port."""
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host, int(port)), timeout=1).close()
    except OSError:
        return False
    return True
