"""Checks boards' addresses in an inventory and says what to write instead.

TF_CONFIG, the heartbeats and the gates support IPv4 addresses and host names. Whether a name resolves is checked on the
boards. Standard library only.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping, Sequence
from typing import Any

_LABEL = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?")
_HERE = re.compile(r"localhost|.*\.localhost|localhost\..*|ip6-localhost", re.IGNORECASE)
_ELSEWHERE = "give the address at which the other boards reach it"
_BESIDE = {"@": "a user, which goes into ansible_user", ":": "a port, which goes into ansible_port", "/": "a prefix"}
_EVERYWHERE = {
    "192.168.55.1": "every Jetson has this network itself: l4tbr0, for a PC at its USB port",
    "172.17.0.1": "every machine with Docker has this network itself: docker0",
}
# Names of interfaces of networks inside a board, or between it and a PC at its USB port.
_OWN_NETWORK = re.compile(
    r"(l4tbr|usb|rndis|docker|podman|virbr|lxcbr|lxdbr|cni)\d+|docker_gwbridge|br-[0-9a-f]{12}|veth.+"
)


def problems_in(request: Mapping[str, Any], boards: Sequence[str]) -> list[str]:
    """A sentence for each invalid address of these boards, and for an invalid kit_home.

    `request` is that of controller.resolve.
    """
    named = [str(name) for name in request["boards"]]
    training, ssh = (dict(zip(named, request.get(key) or (), strict=False)) for key in ("addresses", "ssh_addresses"))
    problems = problems_with(boards, training, ssh)
    home = str(request["board_home"])
    if not re.fullmatch(r"/\S+", home):
        problems.append(f"kit_home is {home!r}; give the absolute path of a folder on the boards, without spaces")
    return problems


def problems_with(boards: Sequence[str], training: Mapping[str, Any], ssh: Mapping[str, Any]) -> list[str]:
    """A sentence for each invalid address of these boards, for training or for ssh."""
    problems = []
    by_address: dict[str, list[str]] = {}
    for board in boards:
        address = training.get(board)
        same = board in ssh and ssh[board] == address  # training_address was not given
        if board in ssh and not same:
            fault = _fault(ssh[board]) if not _is_ipv6(ssh[board]) else None  # ssh supports IPv6
            problems += [f"{_name(board, ssh[board])} is {ssh[board]!r}: {fault}"] if fault else []
        if board not in training:
            continue
        fault = _fault(address) or _useless(str(address), alone=len(boards) == 1)
        name = _name(board, address) if same else f"training_address of {board}"
        if fault:
            problems.append(f"{name} is {address!r}: {fault}")
        else:
            by_address.setdefault(str(address).lower(), []).append(board)
    return problems + [
        f"{' and '.join(names)} have the same training_address, {address!r}: give each board its own in hosts.yml"
        for address, names in by_address.items()
        if len(names) > 1
    ]


def peer_faults(addresses: Sequence[Any]) -> list[str]:
    """A sentence for each address that a firewall cannot use: names, and addresses that are not a board's own."""
    faults = []
    for address in addresses:
        fault = None if _is_plain_ipv6(address) else _fault(address) or _useless(str(address), len(addresses) == 1)
        if not fault and not re.fullmatch("[0-9.]+|.*:.*", str(address)):
            fault = "firewall rules need numbers, not names; give those boards an IPv4 address as training_address"
        faults += [f"{address!r}: {fault}"] if fault else []
    return faults


def is_own_network(interface: str) -> bool:
    """Whether this interface's network is inside a board (Docker, USB port) and reaches no other board."""
    return bool(_OWN_NETWORK.fullmatch(interface))


def _name(board: str, address: Any) -> str:
    return f"the inventory's name {board}" if address == board else f"ansible_host of {board}"


def _fault(address: Any) -> str | None:
    """Why this is neither an IPv4 address nor a host name, and the remedy."""
    if not isinstance(address, (str, type(None))):
        return "it is not text; give an IPv4 address such as 192.168.1.11, in quotes"
    if not address or not address.strip():
        return "it is empty; give the board's IPv4 address or host name"
    if _is_ipv6(address):
        return "it is an IPv6 address, but TF_CONFIG and the gates support only IPv4; give the board's IPv4 address"
    beside = re.search(r"[@:/\s]", address)
    if beside:
        return f"it has {_BESIDE.get(beside[0], 'a space')}; give the address alone"
    if re.fullmatch(r"[0-9.]*|(.*\.)?(0[xX][0-9A-Fa-f]*|[0-9]+)", address):
        try:
            ipaddress.IPv4Address(address)
        except ValueError as error:
            return f"{error}; give an IPv4 address such as 192.168.1.11, or a host name"
    elif len(address) > 253 or not all(_LABEL.fullmatch(label) for label in address.split(".")):
        return "it is neither an IPv4 address nor a host name; give one of them"
    return None


def _useless(address: str, alone: bool) -> str | None:
    """Why other boards cannot reach a board at this address, which is valid in itself."""
    if _HERE.fullmatch(address):
        return None if alone else f"every board has this address itself; {_ELSEWHERE}"
    if address in _EVERYWHERE:
        return None if alone else f"{_EVERYWHERE[address]}; {_ELSEWHERE}"
    try:
        number = ipaddress.IPv4Address(address)
    except ValueError:
        return None
    if number.is_loopback:
        return None if alone else f"every board has this address itself; {_ELSEWHERE}"
    if number in ipaddress.IPv4Network("0.0.0.0/8"):
        return "it is not a host's address; give the board's own"
    if number.is_multicast or number.is_reserved:  # 255.255.255.255, too
        return "it is a multicast, broadcast or reserved address; give the board's own"
    return None


def _is_plain_ipv6(address: Any) -> bool:
    try:
        return isinstance(address, str) and "%" not in address and not ipaddress.IPv6Address(address).is_loopback
    except ValueError:
        return False


def _is_ipv6(address: Any) -> bool:
    try:
        ipaddress.IPv6Address(re.split("[]%/]", str(address).lstrip("["))[0])
    except ValueError:
        return False
    return True
