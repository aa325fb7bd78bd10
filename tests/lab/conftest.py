"""Labs of the tests' own, beside one that the user may have: other folder, interface, network."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

PROJECT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(PROJECT / "roles/lab"))  # so that tests can import its module_utils

from module_utils import lab_processes  # noqa: E402

ANSIBLE = Path(sys.executable).parent


@dataclass(frozen=True)
class Outcome:
    """What a playbook did."""

    ok: bool
    changed: int
    output: str


TAKEN: set[str] = set()  # by labs of this session, started or not


def free_network(start: int) -> str:
    """Returns the first three numbers of a network that no lab has, whoever's."""
    shown = subprocess.run(["ip", "-oneline", "-4", "address"], capture_output=True, text=True, check=True).stdout
    networks = (f"198.19.{(start + n) % 256}" for n in range(256))
    network = next(network for network in networks if network not in TAKEN and f" {network}." not in shown)
    TAKEN.add(network)
    return network


class Lab:
    """A copy of the inventory, and the lab that is made from it."""

    def __init__(self, project: Path, number: int, boards: int, python_env: Path) -> None:
        self.inventory = project / "inventory/lab"
        self.folder = project / ".lab"
        # Of this session's own as well: another one may run, or have been killed.
        self.interface = f"cklabt{os.getpid() % 10**7}-{number}"
        self.network = free_network(2 * os.getpid() + number)
        self.settings = {
            # By name, so that not even a lost inventory could mean the user's lab.
            "lab_dir": str(self.folder),
            "lab_added_file": str(self.inventory / "hosts_added.yml"),
            "lab_interface": self.interface,
            "lab_address": f"{self.network}.1/24",
            "lab_python_env": str(python_env),
            "lab_link_rate": "1gbit",
        }
        hosts = {f"board-{n}": {"ansible_host": self.address(n)} for n in range(1, boards + 1)}
        group_vars = self.inventory / "group_vars"
        group_vars.mkdir(parents=True)
        (self.inventory / "hosts.yml").write_text(json.dumps({"boards": {"hosts": hosts}}))
        for path in (PROJECT / "inventory/lab/group_vars").iterdir():
            (group_vars / path.name).write_text(path.read_text())

    def address(self, board: int) -> str:
        return f"{self.network}.{10 + board}"

    def ansible(self, *arguments: str) -> Outcome:
        done = subprocess.run(
            [ANSIBLE / arguments[0], "-i", self.inventory, *arguments[1:]],
            cwd=PROJECT,
            env={**os.environ, "ANSIBLE_NOCOLOR": "1"},
            capture_output=True,
            text=True,
            timeout=120,
        )
        output = done.stdout + done.stderr
        recap = re.search(r"^localhost .* changed=(\d+) ", output, re.MULTILINE)
        return Outcome(done.returncode == 0, int(recap[1]) if recap else 0, output)

    def up(self, *arguments: str, **settings: object) -> Outcome:
        variables = json.dumps({**self.settings, **settings})
        return self.ansible("ansible-playbook", "playbooks/lab_up.yml", "-e", variables, *arguments)

    def down(self) -> Outcome:
        variables = json.dumps(self.settings)
        return self.ansible("ansible-playbook", "playbooks/lab_down.yml", "-e", variables)

    def ssh_command(self, board: int, user: str = "board") -> list[str]:
        return [
            *("ssh", "-n", "-F", "none", "-i", str(self.folder / "ssh/id_ed25519")),
            *("-o", f"UserKnownHostsFile={self.folder}/ssh/known_hosts"),
            *("-o", "StrictHostKeyChecking=yes", "-o", "BatchMode=yes", "-o", "ConnectTimeout=5"),
            f"{user}@{self.address(board)}",
        ]

    def ssh(self, board: int, script: str, user: str = "board") -> str:
        """Runs a script on a board and returns what it prints, errors included."""
        return subprocess.run(
            [*self.ssh_command(board, user), script],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=60,
        ).stdout.strip()

    def processes(self) -> list[lab_processes.Owner]:
        return lab_processes.owners(str(self.folder))

    def init(self, board: int) -> int:
        """Returns the pid of a board's first process."""
        return next(
            owner.pid for owner in self.processes() if owner.part.get("board") == f"board-{board}" and owner.is_init
        )

    def kill_switch(self) -> None:
        pids = [owner.pid for owner in self.processes() if "interface" in owner.part]
        for pid in pids:
            os.kill(pid, signal.SIGKILL)


def require_root() -> None:
    if sys.platform != "linux" or os.geteuid() != 0:
        pytest.skip("emulated boards need root on Linux")


@pytest.fixture(scope="session")
def python_env(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty environment that stands in for the boards' one."""
    path = tmp_path_factory.mktemp("python") / "env"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", path], check=True)
    return path


@pytest.fixture(scope="session")
def lab(tmp_path_factory: pytest.TempPathFactory, python_env: Path) -> Iterator[Lab]:
    """Two boards, which the tests leave as they find them."""
    require_root()
    lab = Lab(tmp_path_factory.mktemp("lab"), 0, 2, python_env)
    try:
        started = lab.up()
        assert started.ok, started.output
        yield lab
    finally:
        ended = lab.down()
    assert ended.ok, ended.output


@pytest.fixture
def other_lab(tmp_path: Path, python_env: Path) -> Iterator[Lab]:
    """A lab beside the first one, not started, to be broken."""
    require_root()
    lab = Lab(tmp_path, 1, 2, python_env)
    yield lab
    if lab.processes() or lab.folder.exists():
        lab.down()
