"""Checks what this machine lacks for a lab, with remedies. Changes nothing."""

from __future__ import annotations

import contextlib
import ipaddress
import os
import platform
import shutil
import tempfile
from pathlib import Path

from .lab_processes import PATH, CommandError, owners, run
from .lab_settings import Settings

PACKAGES = {  # Debian's package -> the programs that we need of it
    "openssh-server": ["sshd"],
    "openssh-client": ["ssh", "ssh-keygen"],
    "iproute2": ["ip", "tc", "ss"],
    "nftables": ["nft"],
    "tini": ["tini"],
    "util-linux": ["unshare", "nsenter", "taskset", "setpriv"],
    "python3": ["/usr/bin/python3"],
}
LOOK_PACKAGES = {  # and of dressed boards, or of boards with a password
    "sudo": ["sudo"],
    "openssl": ["openssl"],
    "dpkg": ["dpkg-deb"],
    "python3-apt": ["/usr/lib/python3/dist-packages/apt/__init__.py"],
    "iptables": ["iptables-legacy"],
    "faketime": ["faketime"],
}
ALONE = "run on the machine itself, or in a container started with --privileged"
MODULE = f"load it (modprobe NAME; some kernels have it in a package of extra modules), or {ALONE}"
DISK = f"put the lab on a disk's file system, such as ext4, with -e lab_dir=DIR, or {ALONE}"
SHAPING = "root tbf rate 1mbit burst 128kb latency 20ms"
NEIGHBOURS = Path("/proc/sys/net/ipv4/neigh/default/gc_thresh3")
OVERLAY = """\
test -z "$2" || mount -t tmpfs tmpfs "$1"
cd "$1"
mkdir upper work root
mount -t overlay -o lowerdir=/,upperdir=upper,workdir=work trial root
test -x root/usr/bin/env || { echo "/usr is a file system of its own" >&2; exit 1; }
"""


def missing_packages(look: bool = False) -> list[str]:
    """Returns the Debian packages that have a program we need and cannot find.

    Args:
        look: whether boards are dressed or have a password
    """
    packages = {**PACKAGES, **LOOK_PACKAGES} if look else PACKAGES
    return [package for package, programs in packages.items() if not all(map(_is_there, programs))]


def _is_there(program: str) -> bool:
    return Path(program).exists() if program.endswith(".py") else shutil.which(program, path=PATH) is not None


def machine_problems(look: bool = False) -> list[str]:
    """Returns what this machine lacks, as far as that needs no root to find out."""
    system = platform.system()
    if system != "Linux":
        return [
            f"emulated boards need Linux, this is {system}: use a Linux machine (possibly a virtual one), "
            "or real boards with -i inventory/boards"
        ]
    problems = []
    if os.geteuid() != 0 and not shutil.which("sudo", path=PATH):
        problems.append("not root, and there is no sudo to become root: run this as root")
    missing = missing_packages(look)
    if missing and not shutil.which("apt-get", path=PATH):
        programs = ", ".join(program for package in missing for program in {**PACKAGES, **LOOK_PACKAGES}[package])
        problems.append(
            f"of the programs {programs} some are missing, and there is no apt-get: install what "
            f"Debian calls {', '.join(missing)} with this machine's package manager"
        )
    return problems


def network_problems(settings: Settings) -> list[str]:
    """Returns what has the lab's interface name or network already. Needs root and programs."""
    if settings.host is None:
        return []  # reported with the settings
    same_name = [owner for owner in owners() if owner.part.get("interface") == settings.interface]
    for owner in same_name:
        if owner.lab != str(Path(settings.lab_dir).resolve()):
            return [
                f"lab_interface={settings.interface} belongs to the lab in {owner.lab}: run "
                "lab_down there, or give this lab another lab_interface and lab_address, and "
                "addresses of the boards to match"
            ]
    if not same_name and Path("/sys/class/net", settings.interface).exists():
        return [
            f"the network interface {settings.interface} exists and is not a lab's: give another name with "
            "-e lab_interface=NAME"
        ]
    problems = []
    for line in run(["ip", "-oneline", "-4", "address", "show"]).splitlines():
        _, device, _, address, *_ = line.split()
        other = ipaddress.IPv4Interface(address).network
        own = {owner.part.get("interface") for owner in owners(settings.lab_dir)}
        if device not in own and other.overlaps(settings.host.network):
            problems.append(
                f"lab_address={settings.address} overlaps with {other} on {device}: give another "
                "lab_address, and addresses of the boards to match"
            )
    return problems


def neighbour_problems(boards: int) -> list[str]:
    """Returns whether the kernel keeps too few neighbours, in all namespaces together, for so many boards."""
    wanted = boards * (boards + 1)  # each board and this machine talk to all others
    with contextlib.suppress(OSError, ValueError):  # absent in a container: nothing can be told, or done
        kept = int(NEIGHBOURS.read_text(encoding="ascii"))
        if kept < wanted:
            return [
                f"{boards} boards that talk to each other need {wanted} entries in this machine's table of "
                f"neighbours, which holds {kept}: run 'sysctl -w net.ipv4.neigh.default.gc_thresh3={2 * wanted}' "
                "as root, or use fewer boards"
            ]
    return []


def kernel_problems(lab_dir: str) -> list[str]:
    """Tries in throw-away namespaces what boards need of the kernel. Needs root and programs."""
    namespaces = "--net --uts --mount --pid --ipc --fork --kill-child"
    problems = _tried(f"unshare {namespaces} true", "namespaces", ALONE)
    if problems:
        return problems  # nothing else can be tried
    pair = "ip link add pair0 type veth peer name pair1"
    for what, script, name in (
        ("a veth pair", pair, "veth"),
        ("a bridge", "ip link add bridge0 type bridge", "bridge"),
        ("a link of a given rate", f"{pair} && tc qdisc add dev pair0 {SHAPING}", "sch_tbf"),
    ):
        problems += _tried(f"unshare --net sh -ec '{script}'", what, MODULE.replace("NAME", name))
    in_folder = _overlay_problem(lab_dir)
    if in_folder and _overlay_problem(lab_dir, in_memory=True):
        problems.append(in_folder)
    return problems


def needs_memory(lab_dir: str) -> bool:
    """Tells whether boards must keep their changes in memory: lab_dir lies where an overlay cannot keep them.

    So it is in a container, whose root is an overlay itself. Needs root and programs.
    """
    return _overlay_problem(lab_dir) is not None and _overlay_problem(lab_dir, in_memory=True) is None


def _overlay_problem(lab_dir: str, in_memory: bool = False) -> str | None:
    parent = next(folder for folder in (Path(lab_dir), *Path(lab_dir).parents) if folder.is_dir())
    with tempfile.TemporaryDirectory(prefix=".lab-trial-", dir=parent) as scratch:
        found = _tried(
            f'unshare --mount --propagation private sh -ec \'{OVERLAY}\' sh "$1" "$2"',
            f"an overlay of / that keeps its changes in {lab_dir}, or in memory",
            DISK,
            scratch,
            "in memory" if in_memory else "",
        )
    return found[0] if found else None


def _tried(script: str, what: str, remedy: str, *arguments: str) -> list[str]:
    try:
        run(["sh", "-c", script, "sh", *arguments])
    except CommandError as error:
        return [f"this machine cannot make {what} ({error.reason}): {remedy}"]
    return []
