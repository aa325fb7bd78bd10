"""Every playbook in check mode: nothing changes, neither on the boards nor on the controller."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from conftest import ANSIBLE, PROJECT, Lab, Outcome, require_root, running, training_lab
from test_faults import LASTING, Run, stand_in
from test_lab import machine
from test_run import SHORT
from wheels import lab_variables

from plugins.module_utils import lab_share, lab_snapshot
from plugins.module_utils.lab_processes import inside, run

pytestmark = [pytest.mark.lab, pytest.mark.tensorflow]

lab = training_lab(14)

PASSWORD = "sesame 1$"  # of nvidia on the dressed board
# By playbook what it is given, so that there is something to change, and what it says.
Cases = dict[str, tuple[dict[str, Any], str]]
IDLE: Cases = {
    "check": ({"check_throughput_fraction": 0, "check_round_trip_s": 60}, "all gates passed"),
    "run_experiment": ({"workers": 2, "override": SHORT}, "all gates passed"),
    "predict": ({"workers": 2, "override": SHORT}, "all gates passed"),
    "run_study": ({"study": "rehearsal"}, "0 of "),
    "lab_up": ({"lab_boards": 3, "lab_link_rate": "100mbit", "lab_core_share": 0.5}, "board-3"),
    "lab_calibrate": ({}, "Set the calibrated link rate"),
    "lab_snapshot": ({}, "changed=1"),
    "lab_down": ({}, "changed=1"),
}
# while a run goes on that no controller follows
BUSY: Cases = {
    "collect": ({}, "changed="),
    "stop": ({}, "would be stopped"),
}
# on a board dressed as an Orin: a new one, an enrolled one, and one with a part of provisioning
NEW: Cases = {
    "enrol": ({}, "would be enrolled"),
}
ENROLLED: Cases = {
    "provision": ({"network_mtu": 1400, "kit_power_mode": "MAXN"}, "it would be set"),
}
PROVISIONED: Cases = {
    "restore": ({"purge": True}, "changed="),
    "unenrol": ({}, "is still provisioned"),
}

KIT = ("analysis", "controller", "experiments", "inventory", "playbooks", "plugins", "roles", "studies", "trainer")
# a board's own folders
OWN = ("/dev/shm", "/etc", "/home", "/opt", "/root", "/run", "/srv", "/tmp", "/usr/local", "/usr/sbin", "/var")
NOTHING = re.compile("")
COMES_AND_GOES = re.compile(
    # of whoever logs in; Ansible's own, which it clears; what apt keeps of its lists when it is asked; and of the
    # library that tells a dressed board's time
    r"/(run/sudo|run/utmp|var/log|var/lib/sudo|(root|home/\w+)/[.]ansible(/tmp)?|var/cache/apt/(src)?pkgcache[.]bin|"
    r"dev/shm/(faketime_shm_|sem[.]faketime).*)"
)
KERNEL = (
    *("cat /proc/mounts", "ip link", "ip -4 address", "ip -4 route show table all", "ip rule", "tc qdisc", "tc class"),
    "grep -rs '' /proc/sys/net --exclude=nf_conntrack_count",
    # but what belongs to a connection, which Ansible keeps open for a minute, what timers begin, and this command
    "ps -e -o pid=,user=,args= | grep -v -e sshd -e apt-daily -e ' ps ' -e ' grep ' -e ' sh -c '",
)


def entries(root: Path, ignored: re.Pattern[str], name: str = "") -> dict[str, str]:
    """All that is in a folder and on its file system: mode and owner, and of files when they or their inodes changed.

    The latter time nobody can set. Those of a folder do not count, as what is made in it and removed leaves its mark.
    """
    found, device = {}, root.lstat().st_dev

    def look(folder: str, name: str) -> None:
        for entry in os.scandir(folder):
            path, status = f"{name}/{entry.name}", entry.stat(follow_symlinks=False)
            if ignored.fullmatch(path):
                continue
            found[path] = f"{status.st_mode:o} {status.st_uid}:{status.st_gid}"
            if not entry.is_dir(follow_symlinks=False):
                found[path] += f" {status.st_size} {status.st_mtime_ns} {status.st_ctime_ns}"
            elif status.st_dev == device:
                look(entry.path, path)

    look(str(root), name)
    return found


def differences(before: dict[str, str], now: dict[str, str]) -> dict[str, str]:
    """What differs, by its lines where it has several."""
    changed = {}
    for what in lab_snapshot.differences(before, now):
        was, is_ = (set(state.get(what, "not there").splitlines()) for state in (before, now))
        changed[what] = f"was {sorted(was - is_)}, is {sorted(is_ - was)}"
    return changed


class World:
    """A lab, and a controller of its own: with a copy of the kit, a home and a folder for temporary files."""

    def __init__(self, lab: Lab, folder: Path) -> None:
        self.lab, self.inventory, self.folder, self.kit = lab, lab.inventory, folder, folder / "kit"
        self.seen: dict[str, str] = {}  # the state after the last preview, as long as nothing else was done
        for name in KIT:
            # with what Python has compiled, as it may write nothing here
            shutil.copytree(PROJECT / name, self.kit / name, symlinks=True, ignore=shutil.ignore_patterns(".ssh"))
        shutil.copy(PROJECT / "ansible.cfg", self.kit)
        for name in ("home/.ansible", "tmp"):
            (folder / name).mkdir(parents=True)

    def play(self, name: str, *arguments: str, **variables: object) -> Outcome:
        command = [ANSIBLE / "ansible-playbook", "-i", self.inventory, f"playbooks/{name}.yml", *arguments]
        done = subprocess.run(
            [*command, "-e", json.dumps(variables)],
            cwd=self.kit,
            env={
                **os.environ,
                **{"ANSIBLE_NOCOLOR": "1", "PYTHONPATH": str(self.kit), "PYTHONDONTWRITEBYTECODE": "1"},
                **{"HOME": str(self.folder / "home"), "TMPDIR": str(self.folder / "tmp")},
            },
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=300,
        )
        return Outcome(done.returncode == 0, done.stdout + done.stderr)

    def preview(self, name: str, cases: Cases, **more: object) -> None:
        """Plays it in check mode, and requires that all is as it was."""
        given, says = cases[name]
        before, self.seen = self.seen or self.state(), {}
        outcome = self.play(name, "--check", "--diff", **{**more, **given})
        assert outcome.ok and says in outcome.output, outcome.output
        now = self.state()
        changed = differences(before, now)
        self.seen = {} if changed else now
        assert not changed, "\n".join(f"{what} {told}" for what, told in changed.items())

    def state(self) -> dict[str, str]:
        """All that a playbook could change, here and on the boards."""
        # but Ansible's files, which it clears, and its open connections; the boards' files come below
        found = entries(self.folder, re.compile("/home/[.]ansible/(tmp|cp)"))
        found |= entries(self.lab.folder.parent, re.compile("/[.]lab/boards/[^/]+/(upper|work|root)"))
        if (Path.home() / ".ssh").exists():
            found |= entries(Path.home() / ".ssh", NOTHING, "~/.ssh")
        found |= {name: str(sorted(names)) for name, names in machine().items()}
        found["interface"] = run(["ip", "-d", "address", "show", "dev", self.lab.interface])
        found["processes"] = str(sorted(owner.pid for owner in self.lab.processes()))
        for owner in self.lab.processes():
            if owner.is_init and "board" in owner.part:
                found |= self._board(owner.part["board"], owner.pid)
        return found

    def _board(self, board: str, pid: int) -> dict[str, str]:
        found = {"share": str(lab_share.has_share(str(self.lab.folder), board, 1))}
        found |= {f"{name} of": told for name, told in lab_snapshot.snapshot(self.lab.folder, board).items()}
        enter = inside(pid, "mount", "uts", "ipc", "net", "pid")
        found |= {command: run([*enter, "sh", "-c", f"{command} || true"]) for command in KERNEL}
        for folder in OWN:
            found |= entries(Path(f"/proc/{pid}/root{folder}"), COMES_AND_GOES, folder)
        return {f"{board}: {what}": told for what, told in found.items()}


def test_every_playbook_has_a_case() -> None:
    names = {path.stem for path in (PROJECT / "playbooks").glob("*.yml")}
    assert names == IDLE.keys() | BUSY.keys() | NEW.keys() | ENROLLED.keys() | PROVISIONED.keys()


@pytest.fixture(scope="module")
def world(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> World:
    return World(lab, tmp_path_factory.mktemp("controller"))


@pytest.mark.parametrize("name", IDLE)
def test_nothing_changes_while_nothing_runs(world: World, name: str) -> None:
    settings = world.lab.settings
    if name == "lab_calibrate":  # it measures where no rate is given
        settings = {name: value for name, value in settings.items() if name != "lab_link_rate"}
    world.preview(name, IDLE, **settings if name.startswith("lab_") else {})


def test_no_lab_is_made(tmp_path: Path, python_env: Path) -> None:
    require_root()
    new = Lab(tmp_path, 15, 2, python_env)
    before = entries(tmp_path, NOTHING) | {name: str(sorted(names)) for name, names in machine().items()}
    outcome = new.up("--check", "--diff")
    now = entries(tmp_path, NOTHING) | {name: str(sorted(names)) for name, names in machine().items()}
    assert outcome.ok and differences(before, now) == {}, outcome.output
    assert not new.processes() and not Path("/sys/class/net", new.interface).exists()


@pytest.fixture(scope="module")
def left(world: World, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    """A run whose controller was killed, with a stand-in for the trainer. Suspended, since it would change files."""
    lab, folder = world.lab, tmp_path_factory.mktemp("left") / "runs"
    folder.mkdir()
    world.seen = {}
    run = Run(lab, folder, LASTING, train_environment=stand_in(lab))
    try:
        run.wait_for_epochs()
        run.kill()
        shutil.copytree(folder, world.kit / "runs")
        (world.kit / "runs" / run.folder.name / "lost.json").write_text('{"board": "board-1"}')
        for board in (1, 2):
            lab.ssh(board, "pkill -STOP -f '[t]rainer'")
        yield run
    finally:
        run.kill()  # and the boards end with their lab


@pytest.mark.parametrize("name", BUSY)
def test_nothing_changes_while_a_run_goes_on(world: World, left: Run, name: str) -> None:
    world.preview(name, BUSY, run_id=left.folder.name)


@pytest.fixture(scope="module")
def new(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """A dressed board in the inventory of a user, which only says where it is, and whose host key it has."""
    lab = Lab(tmp_path_factory.mktemp("lab"), 16, 1, PROJECT / ".board-venv")
    with running(lab, lab_dress="orin", lab_password=PASSWORD) as lab:
        lab.root(1, "for _ in $(seq 100); do nvpmodel -q && break; sleep 0.1; done")  # its services have begun
        world = World(lab, tmp_path_factory.mktemp("controller"))
        world.inventory = world.kit / "inventory/boards"
        told = lab.root(1, "ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub").split()[1]
        hosts = {"board-1": {"ansible_host": lab.address(1), "enrol_fingerprint": told}}
        (world.inventory / "hosts.yml").write_text(json.dumps({"boards": {"hosts": hosts}}))
        (world.inventory / "group_vars/all.json").write_text(json.dumps(lab_variables()))
        yield world


@pytest.mark.parametrize("name", NEW)
def test_nothing_changes_on_a_new_board(new: World, name: str) -> None:
    new.preview(name, NEW, enrol_password=PASSWORD)


@pytest.fixture(scope="module")
def enrolled(new: World) -> World:
    new.seen = {}
    done = new.play("enrol", enrol_password=PASSWORD)
    assert done.ok, done.output
    return new


@pytest.mark.parametrize("name", ENROLLED)
def test_nothing_changes_on_an_enrolled_board(enrolled: World, name: str) -> None:
    enrolled.preview(name, ENROLLED)


@pytest.fixture(scope="module")
def provisioned(enrolled: World) -> World:
    """In part: test_journey.py has all of it, and a preview of its restoring."""
    enrolled.seen = {}
    done = enrolled.play("provision", "--tags", "power,network,firewall", network_mtu=1400)
    assert done.ok, done.output
    return enrolled


@pytest.mark.parametrize("name", PROVISIONED)
def test_nothing_changes_on_a_provisioned_board(provisioned: World, name: str) -> None:
    provisioned.preview(name, PROVISIONED)
