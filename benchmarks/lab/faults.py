"""Faults of emulated boards during a run, and when they happen."""

from __future__ import annotations

import ipaddress
import json
import os
import random
import signal
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from plugins.module_utils import lab_link, lab_processes

RUNS = "/opt/cluster-kit/runs"  # on a board
TRAINER_KILLED, SUPERVISOR_KILLED, BOARD_KILLED = "trainer killed", "supervisor killed", "both killed"
STOPPED, LINK, REBOOT = "trainer stopped", "link down", "reboot"
KINDS = (TRAINER_KILLED, SUPERVISOR_KILLED, BOARD_KILLED, STOPPED, LINK, REBOOT)
LINK_S = 60.0  # for which a link is down


@dataclass(frozen=True)
class Fault:
    """A fault that is to happen."""

    at_s: float  # since all boards began to train
    kind: str  # one of KINDS
    board: int  # its place among the boards, from 0


def schedule(seed: int, mean_s: float, lasts_s: float, boards: int) -> Iterator[Fault]:
    """Faults with exponentially distributed times between them; each kind once before one comes again."""
    chance = random.Random(seed)
    at_s = chance.expovariate(1 / mean_s)
    kinds: list[str] = []
    while at_s < lasts_s:
        kinds = kinds or chance.sample(KINDS, len(KINDS))
        yield Fault(at_s, kinds.pop(), chance.randrange(boards))
        at_s += chance.expovariate(1 / mean_s)


class Board:
    """An emulated board that is up."""

    def __init__(self, lab: Path, name: str) -> None:
        """`lab`: the lab's folder."""
        self._lab, self.name = lab, name

    def _part(self) -> dict[str, Any]:
        parts = (owner.part for owner in lab_processes.owners(str(self._lab)))
        return next(part for part in parts if part.get("board") == self.name)

    def ssh(self, script: str) -> str:
        """What a script on the board prints; nothing if the board cannot be reached."""
        keys = self._lab / "ssh"
        command = [
            *("ssh", "-n", "-F", "none", "-i", str(keys / "id_ed25519"), "-o", "StrictHostKeyChecking=yes"),
            *("-o", f"UserKnownHostsFile={keys}/known_hosts", "-o", "BatchMode=yes", "-o", "ConnectTimeout=5"),
            f"board@{self.address}",
        ]
        try:
            return subprocess.run([*command, script], capture_output=True, text=True, timeout=30).stdout.strip()
        except subprocess.TimeoutExpired:
            return ""

    @property
    def address(self) -> str:
        """Its address."""
        return str(ipaddress.ip_interface(self._part()["address"]).ip)

    def signal_trainer(self, name: str) -> None:
        """Send the trainer a signal, such as STOP."""
        self.ssh(f"kill -{name} {self._trainer()}")

    def kill_supervisor(self) -> None:
        """Kill the supervisor, and leave the trainer."""
        self.ssh(f"kill -9 $(cat {RUNS}/*/supervisor.pid)")

    def kill_both(self) -> None:
        """Kill all of the run on this board."""
        self.ssh(f"kill -9 $(cat {RUNS}/*/supervisor.pid) {self._trainer()}")

    def set_link(self, state: str) -> None:
        """Pull its cable out of the switch (down), or put it in (up)."""
        port = lab_link.port(self.address)
        (switch,) = (it for it in lab_processes.owners(str(self._lab)) if "interface" in it.part)
        lab_processes.run([*lab_processes.inside(switch.pid, "net"), "ip", "link", "set", port, state])

    def cut_power(self) -> None:
        """End all of its processes, as if its power failed; lab_up boots it again."""
        owners = lab_processes.owners(str(self._lab))
        os.kill(next(it.pid for it in owners if it.part.get("board") == self.name and it.is_init), signal.SIGKILL)

    def wait_for_ssh(self, limit_s: float = 120.0) -> None:
        """Wait until it can be reached. Raises TimeoutError."""
        deadline = time.monotonic() + limit_s
        while self.ssh("echo up") != "up":
            if time.monotonic() > deadline:
                raise TimeoutError(f"{self.name} cannot be reached after {limit_s:.0f} s")
            time.sleep(0.5)

    def _trainer(self) -> str:
        """The number of the trainer's process on the board; empty without one."""
        try:
            return str(int(json.loads(self.ssh(f"cat {RUNS}/*/heartbeat.json"))["trainer"]))
        except (ValueError, KeyError, TypeError):
            return ""
