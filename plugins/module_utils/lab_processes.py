"""The lab's processes. Outside its folder they are all there is of a lab: whatever a board or the
switch has (mounts, networks, programs) the kernel removes with its first process. Nothing is
recorded in files: a process says in its environment which lab it belongs to, and as what.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import select
import signal
import subprocess
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

LAB = "CLUSTER_KIT_LAB"  # environment variable: the lab's folder
PART = "CLUSTER_KIT_LAB_PART"  # environment variable: what the process is the owner of, as JSON
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
END_TIMEOUT_S = 10.0  # a killed process needs milliseconds; one in a stuck disk call may need more
# What root on a board must not do, because this machine shares its kernel with the boards:
# set the clock, load modules, reach memory and devices.
DROPPED_CAPABILITIES = "-sys_time,-sys_module,-sys_rawio,-mknod"


class LabError(Exception):
    """An error with its remedy."""


class CommandError(LabError):
    """A program ended with an error."""

    def __init__(self, arguments: list[str], printed: str) -> None:
        self.reason = " ".join(printed.split())
        super().__init__(f"'{' '.join(arguments)}' failed: {self.reason}")


@dataclass(frozen=True)
class Owner:
    """A process that a part of a lab belongs to."""

    pid: int
    lab: str  # the lab's folder
    part: dict[str, Any]
    is_init: bool  # the first process of a PID namespace: a board ends with it


def read_owner(pid: int) -> Owner | None:
    """Returns what the process owns, or None if it is not a lab's process (or has ended).

    A variable in the environment could also come from a user's shell, so the process must be in
    another network namespace than this one as well.
    """
    try:
        entries = os.fsdecode(Path(f"/proc/{pid}/environ").read_bytes()).split("\0")
        environment = dict(entry.split("=", 1) for entry in entries if "=" in entry)
        if LAB not in environment or PART not in environment:
            return None
        if Path(f"/proc/{pid}/ns/net").samefile("/proc/self/ns/net"):
            return None
        status = Path(f"/proc/{pid}/status").read_text()
        part = json.loads(environment[PART])
    except (OSError, ValueError):
        return None
    pids = re.search(r"^NSpid:(.*)$", status, re.MULTILINE)
    is_init = pids is not None and len(pids[1].split()) > 1 and pids[1].split()[-1] == "1"
    return Owner(pid, str(Path(environment[LAB]).resolve()), part, is_init)


def owners(lab: str | None = None) -> list[Owner]:
    """Returns the processes of one lab, or of every lab on this machine."""
    folder = lab and str(Path(lab).resolve())
    found = (read_owner(int(path.name)) for path in Path("/proc").glob("[0-9]*"))
    return [owner for owner in found if owner and folder in (None, owner.lab)]


def end(pids: Iterable[int], ours: Callable[[int], bool], signal_number: int) -> int:
    """Ends the processes for which `ours` holds, waits, and returns how many there were."""
    handles = []
    for pid in pids:
        try:
            handle = os.pidfd_open(pid)
        except ProcessLookupError:
            continue
        # A pid can have gone to another process since it was found; what the handle means cannot.
        if ours(pid):
            with contextlib.suppress(ProcessLookupError):  # it ended by itself, or with another one
                signal.pidfd_send_signal(handle, signal_number)
            handles.append((pid, handle))
        else:
            os.close(handle)
    deadline = time.monotonic() + END_TIMEOUT_S
    for pid, handle in handles:
        if not select.select([handle], [], [], max(0.0, deadline - time.monotonic()))[0]:
            raise LabError(
                f"process {pid} has not ended {END_TIMEOUT_S:.0f} s after signal {signal_number}: "
                "check what it waits for (ps -o stat,wchan), then repeat"
            )
        os.close(handle)
    return len(handles)


def end_owners(found: list[Owner]) -> int:
    """Kills a lab's processes, and with them all that runs on the boards."""
    known = {owner.pid: owner for owner in found}
    return end(known, lambda pid: read_owner(pid) == known[pid], signal.SIGKILL)


def end_ssh_masters(network: str, check: bool = False) -> int:
    """Ends this machine's ssh ControlMaster processes that are connected to `network`.

    One that outlives its board would hang the next connection to it. Returns their number; with
    `check`, ends none.
    """

    def is_master(pid: int) -> bool:
        try:
            return b"[mux]" in Path(f"/proc/{pid}/cmdline").read_bytes()
        except OSError:
            return False

    connections = run(["ss", "-Htnp", "dst", network])
    clients = {int(pid) for pid in re.findall(r'"ssh",pid=(\d+)', connections)}
    masters = list(filter(is_master, clients))
    return len(masters) if check else end(masters, is_master, signal.SIGTERM)


def run(arguments: list[str], text: str | None = None) -> str:
    """Runs a program and returns what it prints.

    Raises:
        LabError: it could not be started or ended with an error.
    """
    try:
        done = subprocess.run(arguments, input=text, capture_output=True, text=True, check=False, env={"PATH": PATH})
    except OSError as error:
        raise CommandError(arguments, str(error)) from error
    if done.returncode:
        raise CommandError(arguments, done.stderr or done.stdout)
    return done.stdout


def inside(pid: int, *namespaces: str) -> list[str]:
    """Returns the words to put before a command that is to run in the namespaces of `pid`.

    A mount namespace comes with the root of `pid`: in a chroot it would be another one.
    """
    root = ("root", "wd") if "mount" in namespaces else ()
    return ["nsenter", f"--target={pid}", *(f"--{name}" for name in (*namespaces, *root)), "--"]


def start(arguments: list[str], lab: str, part: dict[str, Any], folder: Path) -> subprocess.Popen[bytes]:
    """Starts a process that owns `part`, in `folder`, detached from this one.

    What it prints goes to `init.log` in the folder.
    """
    with (folder / "init.log").open("wb") as log:
        return subprocess.Popen(
            arguments,
            cwd=folder,
            env={"PATH": PATH, LAB: lab, PART: json.dumps(part, sort_keys=True)},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
            umask=0o022,
        )
