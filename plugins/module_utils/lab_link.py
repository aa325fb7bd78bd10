"""The boards' network: one switch in a network namespace of its own, a cable per board, and the
rate of each cable. The switch is not in this machine's namespace, so that this machine's firewall
(Docker's, say) does not filter what boards send each other, and so that it ends with its process.
"""

from __future__ import annotations

import ipaddress
import os
import re
import time
from pathlib import Path

from .lab_processes import LabError, inside, run

RATE = re.compile(r"(\d+(?:\.\d+)?)(bit|kbit|mbit|gbit)")
UNITS = {"bit": 1, "kbit": 10**3, "mbit": 10**6, "gbit": 10**9}
WIRELESS = "10.42.0.{}/24"  # NetworkManager's usual network for what is not wired
# What every Orin has of its own, with the same address each: for a PC at its USB port, and for Docker's containers.
OWN_NETWORKS = {"l4tbr0": "192.168.55.1/24", "docker0": "172.17.0.1/16"}
ORIN_MTU = 1466  # bytes: of 1500 an Orin's driver keeps 34 for MACsec
SLOWEST_BIT_PER_S = 10**6  # below this, ssh and Ansible's modules take minutes
FASTEST_BIT_PER_S = 10**11
# tc prints rates with four digits or more, so a reading can be this far off, relatively
READING_ERROR = 0.001


def bit_per_s(rate: str) -> int:
    """Returns the rate, given in tc's syntax, in bit/s.

    Raises:
        LabError: it is not a rate, or out of range.
    """
    match = RATE.fullmatch(rate.strip().lower())
    if not match:
        raise LabError(f"'{rate}' is not a rate: give a number and one of {', '.join(UNITS)}, such as 120mbit")
    value = round(float(match[1]) * UNITS[match[2]])
    if not SLOWEST_BIT_PER_S <= value <= FASTEST_BIT_PER_S:
        raise LabError(f"'{rate}' is out of range: give a rate from 1mbit to 100gbit")
    return value


def port(address: str) -> str:
    """Returns the name of the switch's port for the board with this address."""
    return f"port{int(ipaddress.ip_address(address)) & 0xFFFF}"


def shaped_bit_per_s(pid: int, device: str) -> int | None:
    """Returns the rate of a device in the namespace of `pid`: 0 if not shaped, None if missing."""
    try:
        shown = run([*inside(pid, "net"), "tc", "qdisc", "show", "dev", device])
    except LabError:
        return None
    match = re.search(r"^qdisc tbf \S+ root .*\brate ([\d.]+)([KMGT]?)bit", shown, re.MULTILINE)
    if not match:
        return 0
    return round(float(match[1]) * 10.0 ** (3 * " KMGT".index(match[2] or " ")))


def is_shaped(pid: int, device: str, rate_bit_per_s: int) -> bool:
    """Tells whether the device has this rate."""
    shaped = shaped_bit_per_s(pid, device)
    return shaped is not None and abs(shaped - rate_bit_per_s) <= READING_ERROR * rate_bit_per_s


def shape(pid: int, device: str, rate_bit_per_s: int) -> None:
    """Gives the device a rate. Connections live on."""
    shaping = f"root tbf rate {rate_bit_per_s}bit burst 128kb latency 20ms".split()
    run([*inside(pid, "net"), "tc", "qdisc", "replace", "dev", device, *shaping])


def connect(switch: int, board: int, address: str, prefix: int, rate_bit_per_s: int) -> None:
    """Lays the cable between the switch and a board (given by their pids), instead of an old one.

    The shaping comes last, so that what is shaped is also complete.
    """
    name = port(address)
    # Made from the address, so that neighbours' ARP entries stay right when a board is rebuilt.
    mac = "02:00:" + ":".join(f"{byte:02x}" for byte in ipaddress.ip_address(address).packed)
    for pid, device in ((switch, name), (board, "eth0")):
        if shaped_bit_per_s(pid, device) is not None:
            run([*inside(pid, "net"), "ip", "link", "delete", device])
    _ip(
        switch,
        f"link add {name} type veth peer name eth0 address {mac} netns {board}",
        f"link set {name} master switch up",
    )
    _ip(
        board,
        "link set lo up",
        f"address add {address}/{prefix} dev eth0",
        "link set eth0 up",
    )
    for pid, device in ((switch, name), (board, "eth0")):
        shape(pid, device, rate_bit_per_s)


def connect_as_orin(switch: int, board: int, address: str) -> None:
    """Gives a board the MTU of an Orin, a wlan0 that leads nowhere, in a network of its own, and networks inside it."""
    name = port(address).replace("port", "air")
    host = ipaddress.ip_address(address).packed[-1]
    _ip(
        switch,
        f"link add {name} type veth peer name wlan0 netns {board}",
        f"link set {name} up",
    )
    _ip(
        board,
        f"address add {WIRELESS.format(host)} dev wlan0",
        "link set wlan0 up",
        f"link set eth0 mtu {ORIN_MTU}",
        *(
            command
            for bridge, own in OWN_NETWORKS.items()
            if shaped_bit_per_s(board, bridge) is None
            for command in (
                f"link add {bridge} type bridge",
                f"address add {own} dev {bridge}",
                f"link set {bridge} up",
            )
        ),
    )


def wire_switch(switch: int, interface: str, address: str) -> None:
    """Makes the bridge in the switch's namespace and connects this machine to it."""
    _ip(
        switch,
        "link add switch type bridge",
        f"link add uplink type veth peer name {interface} netns {os.getpid()}",
        "link set uplink master switch up",
        "link set switch up",
    )
    run(["ip", "address", "add", address, "dev", interface])
    run(["ip", "link", "set", interface, "up"])


def is_wired(interface: str, address: str) -> bool:
    """Tells whether this machine's end of the switch is complete."""
    try:
        shown = run(["ip", "-oneline", "-4", "address", "show", "dev", interface, "up"])
    except LabError:
        return False
    return f"inet {address} " in shown


def wait_until_gone(interface: str, timeout_s: float = 5.0) -> None:
    """Waits for the kernel, which removes an ended switch's interfaces a little later."""
    deadline = time.monotonic() + timeout_s
    while Path("/sys/class/net", interface).exists():
        if time.monotonic() > deadline:
            raise LabError(
                f"network interface {interface} is still there {timeout_s:.0f} s after its switch "
                f"ended: if nothing else uses it, run 'ip link delete {interface}'"
            )
        time.sleep(0.01)


def _ip(pid: int, *commands: str) -> None:
    run([*inside(pid, "net"), "ip", "-batch", "-"], text="\n".join(commands) + "\n")
