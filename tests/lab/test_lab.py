"""Emulated boards: what they are, what repairs them, and that nothing of them is left."""

from __future__ import annotations

import json
import os
import platform
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from plugins.module_utils import lab_machine, lab_processes, lab_share
from plugins.module_utils.lab_link import bit_per_s
from plugins.module_utils.lab_settings import Settings, added_boards, setting_problems
from tests import PROJECT

if TYPE_CHECKING:
    from conftest import Lab

pytestmark = pytest.mark.lab


RECEIVE = """
import socket, time
server = socket.create_server(("", 5001))
connection, _ = server.accept()
count, start = 0, time.monotonic()
while data := connection.recv(1 << 16):
    count += len(data)
print(count * 8 / (time.monotonic() - start))
"""
SEND = """
import socket, sys, time
for attempt in range(50):
    try:
        connection = socket.create_connection((sys.argv[1], 5001))
        break
    except OSError:
        time.sleep(0.05)
end = time.monotonic() + 1.5
while time.monotonic() < end:
    connection.sendall(bytes(1 << 16))
"""


@pytest.fixture
def settings(tmp_path: Path, python_env: Path) -> Settings:
    return Settings(
        listed={"board-1": "198.18.77.11", "board-2": "198.18.77.12"},
        boards=2,
        lab_dir=str(tmp_path / ".lab"),
        python_env=str(python_env),
        link_rate="120mbit",
        interface="cklab9",
        address="198.18.77.1/24",
    )


class TestSettings:
    def test_good_ones_have_no_problem(self, settings: Settings) -> None:
        assert setting_problems(settings) == []

    def test_all_problems_are_listed_at_once_with_value_and_remedy(self, settings: Settings) -> None:
        wrong = Settings(
            listed={
                "board-1": "198.18.77.11",
                "board-2": "198.18.77.11",
                "board_3": "10.0.0.3",
                "board-4": "",
                "board-5": "198.18.77.1",
            },
            boards=1,
            lab_dir="/etc",
            python_env="/nonexistent",
            link_rate="12 potatoes",
            interface="much-too-long-a-name",
            address=settings.address,
        )
        problems = setting_problems(wrong)
        for value, remedy in (
            ("lab_link_rate='12 potatoes'", "such as 120mbit"),
            ("much-too-long-a-name", "such as cklab0"),
            ("lab_boards=1", "delete lines from its hosts.yml or raise lab_boards"),
            ("board-1 and board-2 have the same ansible_host '198.18.77.11'", "of its own"),
            ("'board_3' cannot be a host's name", "such as board-1"),
            ("board_3 has ansible_host='10.0.0.3'", "such as 198.18.77.11"),
            ("board-4 has ansible_host=''", "such as 198.18.77.11"),
            ("board-5 has ansible_host='198.18.77.1'", "198.18.77.1 is this machine"),
            ("lab_dir=/etc", "give a new or empty folder"),
            ("lab_python_env=/nonexistent", "-e lab_python_env=DIR"),
        ):
            assert any(value in problem and remedy in problem for problem in problems), value
        assert len(problems) == 10

    @pytest.mark.parametrize("address", ["198.18.77.1", "198.18.77.1/30", "hello", "::1/64"])
    def test_network_must_have_room(self, settings: Settings, address: str) -> None:
        (problem,) = setting_problems(Settings(**{**vars(settings), "address": address}))
        assert address in problem and "198.18.77.1/24" in problem

    def test_no_boards_means_another_inventory(self, settings: Settings) -> None:
        (problem,) = setting_problems(Settings(**{**vars(settings), "listed": {}, "boards": 0}))
        assert "-i inventory/lab" in problem

    def test_added_boards_take_free_names_and_addresses(self, settings: Settings) -> None:
        listed = {"board-1": "198.18.77.11", "board-3": "198.18.77.12"}
        added = added_boards(Settings(**{**vars(settings), "listed": listed, "boards": 4}))
        assert added == {"board-4": "198.18.77.14", "board-5": "198.18.77.15"}

    @pytest.mark.parametrize(("rate", "expected"), [("120mbit", 120e6), ("1gbit", 1e9), ("1.5Mbit", 1.5e6)])
    def test_rates_are_in_tc_syntax(self, rate: str, expected: float) -> None:
        assert bit_per_s(rate) == expected

    @pytest.mark.parametrize("rate", ["12 potatoes", "120", "mbit", "1kbit", "900gbit", "-5mbit"])
    def test_other_rates_are_refused(self, rate: str) -> None:
        with pytest.raises(lab_processes.LabError, match=f"'{rate}'.*rate"):
            bit_per_s(rate)


class TestMachine:
    def test_other_systems_are_refused(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(platform, "system", lambda: "Darwin")
        (problem,) = lab_machine.machine_problems()
        assert "this is Darwin" in problem and "use a Linux machine" in problem

    def test_missing_root_and_programs_are_named_together(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(os, "geteuid", lambda: 1000)
        monkeypatch.setattr(shutil, "which", lambda name, path=None: None)
        no_root, no_programs = lab_machine.machine_problems()
        assert "run this as root" in no_root
        assert "tini" in no_programs and "package manager" in no_programs

    def test_missing_kernel_features_are_named_together(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        def run(arguments: list[str]) -> str:
            if any(word in arguments[2] for word in ("qdisc", "overlay")):
                raise lab_processes.CommandError(arguments, "no such thing")
            return ""

        monkeypatch.setattr(lab_machine, "run", run)
        no_shaping, no_overlay = lab_machine.kernel_problems(str(tmp_path / ".lab"))
        assert "link of a given rate (no such thing)" in no_shaping
        assert "modprobe sch_tbf" in no_shaping
        assert f"{tmp_path}/.lab" in no_overlay and "-e lab_dir=DIR" in no_overlay
        assert list(tmp_path.iterdir()) == []

    def test_another_labs_interface_is_refused(self, lab: Lab, settings: Settings) -> None:
        same = Settings(**{**vars(settings), "interface": lab.interface})
        (problem,) = lab_machine.network_problems(same)
        assert f"belongs to the lab in {lab.folder}" in problem

    def test_another_labs_network_is_refused(self, lab: Lab, settings: Settings) -> None:
        same = Settings(**{**vars(settings), "address": f"{lab.network}.7/24"})
        (problem,) = lab_machine.network_problems(same)
        assert f"overlaps with {lab.network}.0/24 on {lab.interface}" in problem

    def test_boards_are_refused_whose_neighbours_the_kernel_would_forget(
        self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        kept = tmp_path / "gc_thresh3"
        monkeypatch.setattr(lab_machine, "NEIGHBOURS", kept)
        assert lab_machine.neighbour_problems(32) == []  # as in a container, which cannot see it
        kept.write_text("1024\n")
        assert lab_machine.neighbour_problems(31) == []
        (problem,) = lab_machine.neighbour_problems(32)
        assert "32 boards" in problem and "1056 entries" in problem
        assert "sysctl -w net.ipv4.neigh.default.gc_thresh3=2112" in problem


def test_bad_values_stop_the_playbook_before_anything_is_made(other_lab: Lab) -> None:
    outcome = other_lab.up(lab_link_rate="12 potatoes", lab_boards=1, lab_interface="lo")
    assert not outcome.ok and outcome.changed == 0
    for value in ("lab_link_rate='12 potatoes'", "lab_boards=1", "not a lab's"):
        assert value in outcome.output
    assert not other_lab.folder.exists() and not other_lab.processes()


class TestBoards:
    def test_second_run_changes_nothing(self, lab: Lab) -> None:
        before = [owner.pid for owner in lab.processes()]
        outcome = lab.up()
        assert outcome.ok and outcome.changed == 0, outcome.output
        assert [owner.pid for owner in lab.processes()] == before
        assert f"board-2  {lab.address(2)}  1gbit  core" in outcome.output

    def test_ansible_reaches_them_as_an_ordinary_user(self, lab: Lab) -> None:
        outcome = lab.ansible("ansible", "boards", "-m", "ansible.builtin.command", "-a", "id --user --name")
        assert outcome.ok, outcome.output
        assert outcome.output.splitlines().count("board") == 2, outcome.output

    def test_only_the_pinned_host_key_is_accepted(self, lab: Lab) -> None:
        known_hosts = lab.folder / "ssh/known_hosts"
        right = known_hosts.read_text()
        one, two = (line.split() for line in right.splitlines())
        known_hosts.write_text(f"{one[0]} {two[1]} {two[2]}\n")
        try:
            outcome = lab.ansible(
                *("ansible", "board-1", "-m", "ansible.builtin.ping"),
                *("-e", "ansible_ssh_args='-o ControlPath=none'"),  # no connection made before
            )
        finally:
            known_hosts.write_text(right)
        assert "HOST IDENTIFICATION HAS CHANGED" in outcome.output and not outcome.ok

    def test_they_have_their_own_name_files_and_core(self, lab: Lab) -> None:
        path = "/opt/cluster-kit/mine"
        assert lab.ssh(1, f"hostname > {path}; cat {path}") == "board-1"
        assert "No such file" in lab.ssh(2, f"cat {path}")
        assert not Path(path).exists()
        assert lab.ssh(2, "hostname; cat /etc/hostname; nproc") == "board-2\nboard-2\n1"

    def test_this_machines_private_folders_are_not_there(self, lab: Lab) -> None:
        root = (PROJECT, PROJECT / "roles", lab.folder, Path.home() / ".ssh", "/etc/ssh/ssh_config")
        for path in root:
            assert lab.ssh(1, f"ls -A {path} 2>/dev/null", user="root") == "", path
        assert lab.ssh(1, "ls /home") == "board"
        assert "board" not in lab.ssh(1, "cut -d: -f2 /etc/shadow", user="root")

    def test_their_python_works_and_cannot_be_changed(self, lab: Lab) -> None:
        python = "/opt/cluster-kit/venv/bin/python"
        assert lab.ssh(1, f"{python} -c 'import ssl, sys; print(sys.prefix)'") == ("/opt/cluster-kit/venv")
        interpreter = lab.ssh(1, f"{python} -c 'import sys; print(sys.base_prefix)'")
        new = Path(interpreter, "made-by-a-board")
        output = lab.ssh(1, f"touch /opt/cluster-kit/venv/new; touch {new}; rm -f {new}; ls {interpreter}", user="root")
        # the system's interpreter is in the board's own layer, all others are mounted
        refused = re.findall("^touch: .*Read-only", output, re.MULTILINE)
        assert len(refused) == (1 if new.is_relative_to("/usr") else 2), output
        assert not new.exists()

    def test_their_root_cannot_change_this_machine(self, lab: Lab) -> None:
        path = "/proc/sys/vm/swappiness"  # written with its own value, in case it can be
        output = lab.ssh(1, f"date -s now; cat {path} > {path}; mknod /tmp/disk b 254 0", user="root")
        assert output.count("not permitted") == 2 and "Read-only" in output

    def test_nothing_but_the_interface_shows_on_this_machine(self, lab: Lab) -> None:
        assert str(lab.folder) not in Path("/proc/self/mountinfo").read_text()
        assert Path("/sys/class/net", lab.interface).exists()
        assert not list(Path("/sys/class/net").glob("port*"))

    def test_link_rate_changes_on_living_boards(self, lab: Lab) -> None:
        before = [lab.init(1), lab.init(2)]
        outcome = lab.up(lab_link_rate="100mbit")
        assert outcome.ok and outcome.changed == 1, outcome.output
        assert [lab.init(1), lab.init(2)] == before
        facts = json.loads(lab.ssh(1, "cat /etc/cluster-kit/emulated.json"))
        assert facts == {"emulated": True, "link_rate_bit_per_s": 100_000_000, "core_share": 1}

        measured = []
        for _ in range(3):  # other tests may slow one of them down
            with subprocess.Popen(
                [*lab.ssh_command(1), f"python3 -c '{RECEIVE}'"], stdout=subprocess.PIPE, text=True
            ) as receiver:
                lab.ssh(2, f"python3 -c '{SEND}' {lab.address(1)}")
                measured.append(float(receiver.communicate(timeout=30)[0]))
        assert max(measured) == pytest.approx(100e6, rel=0.15), measured


class TestRepair:
    def test_ended_server_board_and_switch_come_back(self, lab: Lab) -> None:
        first, second = lab.init(1), lab.init(2)
        lab.ssh(2, "echo kept > /home/board/file")
        lab.ssh(1, "kill -9 $(cat /run/sshd.pid)", user="root")
        os.kill(second, signal.SIGKILL)
        outcome = lab.up()
        assert outcome.ok and outcome.changed == 1, outcome.output
        assert lab.init(1) == first and lab.init(2) != second
        assert lab.ssh(1, "hostname") == "board-1"
        assert lab.ssh(2, "cat /home/board/file") == "kept"

        lab.kill_switch()
        outcome = lab.up()
        assert outcome.ok and outcome.changed == 2, outcome.output
        assert lab.init(1) == first
        assert lab.ssh(1, f"bash -c 'read -N3 x < /dev/tcp/{lab.address(2)}/22; echo $x'") == "SSH"

    def test_one_more_board_joins_a_living_lab(self, lab: Lab) -> None:
        before = [lab.init(1), lab.init(2)]
        outcome = lab.up(lab_boards=3)
        assert outcome.ok, outcome.output
        assert [lab.init(1), lab.init(2)] == before
        listed = lab.ansible("ansible", "boards", "--list-hosts").output.split()
        assert listed[-3:] == ["board-1", "board-2", "board-3"]
        assert lab.ssh(3, "hostname") == "board-3"

    def test_living_boards_get_another_share_of_their_core(self, lab: Lab) -> None:
        before = lab.init(1)
        prefer(lab, 1)
        burn = "import time; b = time.time()\nwhile time.time() < b + 1: pass\nprint(time.process_time())"
        wanted, shares = [0.4, 0.1, 1.0], []
        for share in wanted:
            assert lab.up(lab_boards=3, lab_core_share=share).ok
            shares.append(float(lab.ssh(1, f"python3 -c '{burn}'")))
            assert json.loads(lab.ssh(1, "cat /etc/cluster-kit/emulated.json"))["core_share"] == share
        assert lab.init(1) == before
        assert shares == pytest.approx(wanted, abs=0.08)


def prefer(lab: Lab, board: int) -> None:
    """Lets a board have what its share is of the core before others, such as the boards of tests beside these."""
    found = lab_share.hierarchy()
    assert found is not None, "this test needs the control groups' cpu controller"
    name, most = ("cpu.weight", 10_000) if found.version == 2 else ("cpu.shares", 262_144)
    (lab_share._group(found, str(lab.folder), f"board-{board}") / name).write_text(str(most))


def machine() -> dict[str, set[str]]:
    """Returns what a lab could leave behind; other labs' interfaces may come and go."""
    links = {path.name for path in Path("/sys/class/net").iterdir()}
    return {
        "links": {name for name in links if not name.startswith("cklab")},
        "mounts": {line.split(" ", 3)[3] for line in Path("/proc/self/mountinfo").read_text().splitlines()},
        "named": {path.name for path in Path("/run/netns").glob("*")},
    }


def in_namespaces(names: set[str]) -> list[str]:
    """Returns the processes that are in one of these network namespaces."""
    found = []
    for path in Path("/proc").glob("[0-9]*/ns/net"):
        try:
            if str(path.readlink()) in names:
                found.append(path.parts[2])
        except OSError:
            continue
    return found


def test_down_leaves_nothing_of_a_broken_lab(lab: Lab, other_lab: Lab) -> None:
    before = machine()
    assert other_lab.up().ok
    # A connection that Ansible keeps open, a half-built board, one that crashed, and no files.
    assert other_lab.ansible("ansible", "boards", "-m", "ansible.builtin.ping").ok
    half = lab_processes.start(
        ["unshare", "--net", "--pid", "--mount", "--fork", "sleep", "infinity"],
        str(other_lab.folder),
        {"board": "board-9"},
        other_lab.folder,
    )
    while len([owner for owner in other_lab.processes() if "board-9" in str(owner.part)]) < 2:
        time.sleep(0.01)
    os.kill(other_lab.init(1), signal.SIGKILL)
    while any(owner.part.get("board") == "board-1" for owner in other_lab.processes()):
        time.sleep(0.01)
    shutil.rmtree(other_lab.folder)
    names = {str(Path(f"/proc/{owner.pid}/ns/net").readlink()) for owner in other_lab.processes()}
    assert len(names) == 3  # switch, board-2, the half-built one

    outcome = other_lab.down()
    assert outcome.ok and outcome.changed == 1, outcome.output
    assert half.wait(timeout=5) != 0
    assert in_namespaces(names) == [] and other_lab.processes() == []
    assert machine() == before
    assert not Path("/sys/class/net", other_lab.interface).exists()
    assert lab_share.leave(str(other_lab.folder)) == 0, "its control groups are gone"
    assert other_lab.network not in subprocess.run(
        ["ss", "-Htn"], capture_output=True, text=True, check=True
    ).stdout.replace("TIME-WAIT", "")
    assert lab.ssh(1, "hostname") == "board-1"  # another lab is none of its business

    again = other_lab.down()
    assert again.ok and again.changed == 0, again.output


@pytest.fixture
def container_root(tmp_path: Path) -> Iterator[Path]:
    """A folder in an overlay, as all folders are in a container."""
    for name in ("lower", "upper", "work", "root"):
        (tmp_path / name).mkdir()
    layers = "lowerdir=lower,upperdir=upper,workdir=work"
    subprocess.run(["mount", "-t", "overlay", "-o", layers, "container", "root"], cwd=tmp_path, check=True)
    yield tmp_path / "root"
    subprocess.run(["umount", tmp_path / "root"], check=True)


def test_a_lab_of_the_version_before_is_taken_down(other_lab: Lab) -> None:
    """What that has of a lab outside the lab's folder: processes whose environment says what they are."""
    folder = other_lab.folder
    (folder / "boards/board-1/upper").mkdir(parents=True)
    (folder / ".cluster-kit-lab").write_text("A lab's folder: lab_down deletes it.\n")
    board = {"address": f"{other_lab.address(1)}/24", "board": "board-1", "cpu": 0, "dress": "", "hidden": []}
    board |= {"inodes": [1, 2], "login": "0" * 64, "mounts": [["/usr", "/usr"]], "public_key": "ssh-ed25519 A lab\n"}
    processes = []
    for part in ({"address": f"{other_lab.network}.1/24", "interface": other_lab.interface}, board):
        labels = {"CLUSTER_KIT_LAB": str(folder), "CLUSTER_KIT_LAB_PART": json.dumps(part)}
        command = ["unshare", "--net", "--pid", "--fork", "--kill-child", "sleep", "infinity"]
        processes.append(subprocess.Popen(command, env={"PATH": os.environ["PATH"], **labels}, start_new_session=True))
    try:
        deadline, own = time.monotonic() + 20, Path("/proc/self/ns/net").readlink()
        while any(Path(f"/proc/{process.pid}/ns/net").readlink() == own for process in processes):
            assert time.monotonic() < deadline
            time.sleep(0.05)
        down = other_lab.down()
        assert down.ok, down.output
        assert [process.poll() for process in processes] == [-signal.SIGKILL] * 2 and not folder.exists()
    finally:
        for process in processes:
            process.kill()
            process.wait()


def test_boards_in_a_container_keep_their_changes_in_memory(other_lab: Lab, container_root: Path) -> None:
    other_lab.folder = container_root / ".lab"
    other_lab.settings["lab_dir"] = str(other_lab.folder)
    started = other_lab.up()
    try:
        assert started.ok, started.output
        assert other_lab.ssh(1, "echo kept >file; cat file") == "kept"
        assert other_lab.up().changed == 0
    finally:
        ended = other_lab.down()
    assert ended.ok, ended.output
    assert str(other_lab.folder) not in Path("/proc/self/mounts").read_text()
    assert not other_lab.folder.exists()


def test_a_process_that_ends_meanwhile_counts_as_ended() -> None:
    process = subprocess.Popen(["sleep", "60"])

    def ours(pid: int) -> bool:
        process.kill()
        process.wait()
        return True

    assert lab_processes.end([process.pid], ours, signal.SIGKILL) == 1


def test_down_spares_what_only_looks_like_the_labs(other_lab: Lab, tmp_path: Path) -> None:
    folder = other_lab.folder
    folder.mkdir()
    (folder / "thesis.tex").write_text("years of work")
    environment = {lab_processes.LAB: str(folder), lab_processes.PART: "{}"}
    bystander = subprocess.Popen(["sleep", "60"], env={**os.environ, **environment})
    try:
        outcome = other_lab.down()
        assert not outcome.ok and "is not a lab's folder" in outcome.output
        assert bystander.poll() is None
        assert (folder / "thesis.tex").exists()
    finally:
        bystander.kill()
        bystander.wait()
        shutil.rmtree(folder)
