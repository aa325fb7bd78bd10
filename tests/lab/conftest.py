"""Labs of the tests' own, beside one that the user may have: other folder, interface, network."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from plugins.module_utils import lab_processes
from tests import PROJECT

BEGIN = "---the-script-begins---"

ANSIBLE = Path(sys.executable).parent
MOUNTED_ENV = "/opt/mounted/venv"  # where dressed boards have the plain ones' environment, which is not theirs
PASSWORD = 'Geheim 7$x"y'  # of nvidia on dressed boards


@dataclass(frozen=True)
class Outcome:
    """What a playbook did."""

    ok: bool
    output: str

    @property
    def changes(self) -> dict[str, int]:
        """Number of changed tasks by host, from the recap."""
        recap = re.findall(r"^(\S+) +: .*\bchanged=(\d+) ", self.output, re.MULTILINE)
        return {host: int(number) for host, number in recap}

    @property
    def changed(self) -> int:
        return sum(self.changes.values())

    @property
    def told(self) -> dict[str, str]:
        """The message by host that failed, each on one line."""
        fatal = r"^fatal: \[([\w-]+)\]: FAILED! =>.*?^    msg: (.*?)(?=\n {0,4}\S|\n\n|\Z)"
        found = re.findall(fatal, self.output, re.MULTILINE | re.DOTALL)
        told = {host: " ".join(text.split()) for host, text in found}
        # YAML's quotes, where it needs some
        return {host: text[1:-1].replace("''", "'") if text[0] == "'" else text for host, text in told.items()}


CLAIMS: list[socket.socket] = []  # a name of the kernel's for each network of this session's labs, started or not


def free_network(start: int) -> str:
    """Returns the first three numbers of a network that no lab has or is about to have, whoever's."""
    shown = subprocess.run(["ip", "-oneline", "-4", "address"], capture_output=True, text=True, check=True).stdout
    networks = (f"198.19.{(start + n) % 256}" for n in range(256))
    return next(network for network in networks if f" {network}." not in shown and claimed(network))


def claimed(network: str) -> bool:
    """Takes a network for this session, until that ends; tells whether it was free."""
    claim = socket.socket(socket.AF_UNIX)
    try:
        claim.bind(f"\0cluster-kit-tests-{network}")
    except OSError:
        claim.close()
        return False
    CLAIMS.append(claim)
    return True


class Lab:
    """A copy of the inventory, and the lab that is made from it."""

    def __init__(self, project: Path, number: int, boards: int, python_env: Path) -> None:
        self.inventory = project / "inventory/lab"
        self.folder = project / ".lab"
        # Of this session's own as well: another one may run, or have been killed.
        self.interface = f"cklabt{os.getpid() % 10**7}-{number}"
        self.network = free_network(2 * os.getpid() + number)
        self.settings: dict[str, Any] = {
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

    def ansible(self, *arguments: str, limit_s: float = 1500) -> Outcome:
        done = subprocess.run(
            [ANSIBLE / arguments[0], "-i", self.inventory, *arguments[1:]],
            cwd=PROJECT,
            env={**os.environ, "ANSIBLE_NOCOLOR": "1"},
            capture_output=True,
            text=True,
            timeout=limit_s,
        )
        return Outcome(done.returncode == 0, done.stdout + done.stderr)

    def play(self, playbook: str, *arguments: str, **variables: object) -> Outcome:
        given = json.dumps(variables)
        return self.ansible("ansible-playbook", f"playbooks/{playbook}.yml", *arguments, "-e", given)

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
        """Runs a script on a board, in the user's home, and returns what it prints, errors included."""
        done = subprocess.run(
            # ssh itself mixes the two streams in any order; what a dressed board's ~/.bashrc prints and does is undone
            [*self.ssh_command(board, user), f"exec 2>&1\necho {BEGIN}\ncd\n{script}"],
            capture_output=True,
            text=True,
            timeout=60,
        )
        _, begun, printed = done.stdout.partition(f"{BEGIN}\n")
        return (printed if begun else done.stdout + done.stderr).strip()

    def root(self, board: int, script: str) -> str:
        return self.ssh(board, script, user="root")

    def write(self, board: int, path: str, content: bytes, mode: str) -> None:
        """Writes a file of root's on a board."""
        ssh = [argument for argument in self.ssh_command(board, "root") if argument != "-n"]
        subprocess.run([*ssh, f"cat >{path} && chmod {mode} {path}"], input=content, check=True, timeout=60)

    def set_clock(self, board: int) -> None:
        """Ends the wrong time of a fresh dressed board, for what comes to it from now on."""
        self.root(board, f"date --set=@{time.time():.3f}; pkill -u board,nvidia sshd")

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


@contextmanager
def running(lab: Lab, **settings: object) -> Iterator[Lab]:
    """The lab, up for as long as it is used."""
    require_root()
    try:
        started = lab.up(**settings)
        assert started.ok, started.output
        yield lab
    finally:
        ended = lab.down()
    assert ended.ok, ended.output


def training_lab(number: int, boards: int = 2) -> Any:
    """The fixture for a module's own boards with TensorFlow, which runs leave as they find them.

    A module assigns it to `lab`; `number` as in Lab.
    """

    @pytest.fixture(scope="module")
    def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
        with running(Lab(tmp_path_factory.mktemp("lab"), number, boards, PROJECT / ".board-venv")) as lab:
            yield lab

    return lab


@pytest.fixture(scope="session")
def python_env(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty environment that stands in for the boards' one."""
    path = tmp_path_factory.mktemp("python") / "env"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", path], check=True)
    return path


@pytest.fixture(scope="session")
def lab(tmp_path_factory: pytest.TempPathFactory, python_env: Path) -> Iterator[Lab]:
    """Two boards, which the tests leave as they find them."""
    with running(Lab(tmp_path_factory.mktemp("lab"), 0, 2, python_env)) as lab:
        yield lab


@pytest.fixture(scope="session")
def orins(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """Two boards dressed as Orins, with a user who has a password.

    They are fresh until test_journey provisions them, which gives back what playbooks/restore.yml does.
    """
    lab = Lab(tmp_path_factory.mktemp("orins"), 10, 2, PROJECT / ".board-venv")
    lab.settings["lab_more_envs"] = {MOUNTED_ENV: str(PROJECT / ".board-venv")}
    with running(lab, lab_dress="orin", lab_password=PASSWORD) as lab:
        yield lab


@pytest.fixture
def other_lab(tmp_path: Path, python_env: Path) -> Iterator[Lab]:
    """A lab beside the first one, not started, to be broken."""
    require_root()
    lab = Lab(tmp_path, 1, 2, python_env)
    yield lab
    if lab.processes() or lab.folder.exists():
        lab.down()


def add_packages(lab: Lab, board: int, *names: str) -> None:
    """Lays the files of packages of this machine's distribution onto a board, as it has no repository of them."""
    folder = lab.folder / "packages"
    folder.mkdir(exist_ok=True)
    fetched = subprocess.run(["apt-get", "download", *names], cwd=folder, capture_output=True, text=True, timeout=60)
    assert fetched.returncode == 0, f"this test needs packages that apt can download: {fetched.stderr}"
    for path in folder.glob("*.deb"):
        if path.name.split("_")[0] in names:
            subprocess.run(["dpkg-deb", "--extract", path, folder / "files"], check=True)
    packed = subprocess.run(["tar", "-c", "-C", folder / "files", "."], capture_output=True, check=True).stdout
    unpack = "tar -x -C / --keep-directory-symlink --no-overwrite-dir && ldconfig"
    ssh = [argument for argument in lab.ssh_command(board, "root") if argument != "-n"]
    subprocess.run([*ssh, unpack], input=packed, check=True, timeout=60)
    shutil.rmtree(folder)


@pytest.hookimpl(tryfirst=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """Takes the labs down that Ctrl-C left up, while their folders are still there: pytest removes old ones next."""
    session._setupstate.teardown_exact(None)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """The table of `make faults`: what was done to a run, and what became of it."""
    passed = terminalreporter.getreports("passed")
    rows = [value for report in passed for name, value in report.user_properties if name == "fault"]
    seen = dict.fromkeys(tuple(row) for row in rows)  # every phase of a test repeats them
    if seen:
        terminalreporter.section("faults")
        width = max(len(fault) for fault, _ in seen)
        for fault, shown in seen:
            terminalreporter.write_line(f"{fault:{width}}  {shown}")
