"""Records an emulated board's state, to compare it later."""

from __future__ import annotations

import hashlib
import os
import re
import stat
from pathlib import Path

from .lab_processes import LabError, inside, owners, run

# State from its programs and kernel: settings, rules, services.
COMMANDS = (
    "nvpmodel -q",
    "jetson_clocks --show | sed 's/CurrentFreq=[0-9]*//'",
    "nft list ruleset",
    "iptables-legacy -S",
    "ip6tables-legacy -S",
    "ip -4 route",
    "cat /sys/class/net/eth0/mtu",
    "systemctl is-enabled chrony systemd-timesyncd cluster-kit-firewall cluster-kit-clocks",
    "systemctl is-active chrony systemd-timesyncd cluster-kit-firewall apt-daily.timer apt-daily-upgrade.timer",
)
# What changes without anybody changing the board, and what restoring leaves: logs, caches, what runs, Ansible's own;
# apt and its packages, which docs/boards.md says; the time that was set.
COMES_AND_GOES = re.compile(
    r"(var/log|var/cache|var/lib/(apt|dpkg|sudo)|run|tmp|home/\w+/[.]ansible|root/[.]ansible|usr/share/doc|usr/local/cuda"
    r"(-[\d.]+)?|etc/ld[.]so[.]\w+([.]d)?|etc/faketime\w*([.]env)?)(/|$)"
)


def snapshot(lab_dir: str | Path, board: str) -> dict[str, str]:
    """What is asked of a board and what it answers; and of each file of its own the mode, owner and checksum.

    Raises:
        LabError: there is no such board.
    """
    pid = next((owner.pid for owner in owners(str(lab_dir)) if owner.is_init and owner.part["board"] == board), None)
    if pid is None:
        raise LabError(f"{board} is not running in {lab_dir}: start it with lab_up")
    enter = inside(pid, "mount", "uts", "ipc", "net", "pid")
    found = {command: run([*enter, "sh", "-c", f"{command} 2>&1 || true"]).strip() for command in COMMANDS}
    upper = Path(lab_dir, "boards", board, "upper")
    for path in sorted(upper.rglob("*")):
        name = str(path.relative_to(upper))
        if COMES_AND_GOES.match(name):
            continue
        told, below = _file(path), Path("/", name)
        # what is as on this machine is as it was, even if it was another meanwhile
        if not os.path.lexists(below) or told != _file(below):
            found[f"/{name}"] = told
    return found


def differences(before: dict[str, str], now: dict[str, str]) -> dict[str, str]:
    """The differences between two snapshots of a board, as text."""
    return {
        what: f"was {before.get(what, 'not there')!r}, is {now.get(what, 'not there')!r}"
        for what in sorted(before.keys() | now.keys())
        if before.get(what) != now.get(what)
    }


def _file(path: Path) -> str:
    status = path.lstat()
    if stat.S_ISCHR(status.st_mode):
        return "deleted"  # an overlay's sign for it
    content = ""
    if path.is_symlink():
        content = f"-> {path.readlink()}"
    elif path.is_file():
        content = hashlib.sha256(path.read_bytes()).hexdigest()
    return f"{stat.filemode(status.st_mode)} {status.st_uid}:{status.st_gid} {content}".strip()
