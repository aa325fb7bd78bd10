"""Enrolment of emulated boards that have only a password, by the playbook that enrols real ones."""

from __future__ import annotations

import json
import os
import pty
import re
import select
import shlex
import signal
import subprocess
import termios
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from conftest import ANSIBLE, PASSWORD, PROJECT, Lab, Outcome

from plugins.module_utils import lab_snapshot

pytestmark = pytest.mark.lab

SECRET = "Geheim"  # enough of it, however the rest is escaped
PORT = 2222
HIDDEN = "192.0.2"  # for documentation, so nobody has a route to it

# An ssh server of a real board's kind beside the lab's own, which stays to reach the board with.
START = f"""
cat >/etc/ssh/first_config <<END
Port {PORT}
ListenAddress 0.0.0.0
HostKey /etc/ssh/first_host_key
PidFile /run/first_sshd.pid
UsePAM no
UseDNS no
END
cat >/usr/local/sbin/first_sshd <<'END'
set -eu
rm -f /etc/ssh/first_host_key*
ssh-keygen -q -t ed25519 -N "" -f /etc/ssh/first_host_key
if [ -e /run/first_sshd.pid ]; then kill -HUP "$(cat /run/first_sshd.pid)"
else /usr/sbin/sshd -f /etc/ssh/first_config -E /var/log/first_sshd.log; fi
END
sh /usr/local/sbin/first_sshd
echo "powerless:x:4321:4321::/home/powerless:/bin/sh" >>/etc/passwd
sed -n "s/^nvidia:/powerless:/p" /etc/shadow >>/etc/shadow
install -d -o 4321 /home/powerless
"""
RESET = "rm -rf /home/*/.ssh /etc/sudoers.d/cluster-kit; : >/var/log/first_sshd.log"


class Boards:
    """A lab's boards as an inventory has them before enrolment."""

    def __init__(self, lab: Lab, inventory: Path, keep_connections: bool = False) -> None:
        self.lab, self.inventory = lab, inventory
        self.ssh = {} if keep_connections else {"ANSIBLE_SSH_ARGS": "-o ControlMaster=no"}
        (inventory / "group_vars").mkdir(parents=True)
        group_vars = (PROJECT / "inventory/boards/group_vars/boards.yml").read_text()
        (inventory / "group_vars/boards.yml").write_text(group_vars)
        self.password_file = inventory / "group_vars/password.yml"  # of no group
        self.password_file.write_text(json.dumps({"enrol_password": PASSWORD}))
        self.list(**{"orin-1": self.board(1), "orin-2": self.board(2)})

    def board(self, number: int, **variables: Any) -> dict[str, Any]:
        """A board whose host key is told beforehand, as a password from a vault asks for."""
        told = {"enrol_fingerprint": self.fingerprint(number)} if number in (1, 2) else {}
        return {"ansible_host": self.lab.address(number), "ansible_port": PORT, **told, **variables}

    def list(self, **hosts: dict[str, Any]) -> None:
        (self.inventory / "hosts.yml").write_text(json.dumps({"boards": {"hosts": hosts}}))

    def ansible(self, *arguments: str | Path) -> Outcome:
        done = subprocess.run(
            [ANSIBLE / arguments[0], "-i", self.inventory, *arguments[1:]],
            cwd=PROJECT,
            env={**os.environ, "ANSIBLE_NOCOLOR": "1", **self.ssh},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=600,  # a whole provisioning on a busy machine
        )
        return Outcome(done.returncode == 0, done.stdout + done.stderr)

    def enrol(self, *arguments: str | Path, password: bool = True) -> Outcome:
        given = ("-e", f"@{self.password_file}") if password else ()
        return self.ansible("ansible-playbook", "playbooks/enrol.yml", *given, *arguments)

    def unenrol(self, *arguments: str | Path) -> Outcome:
        return self.ansible("ansible-playbook", "playbooks/unenrol.yml", *arguments)

    def state(self) -> list[dict[str, str]]:
        """What the boards' files are, with modes and owners."""
        return [lab_snapshot.snapshot(self.lab.folder, f"board-{number}") for number in (1, 2)]

    def login(self, number: int) -> str:
        """What ssh says to the controller's key; the pins are not what is tested here."""
        options = ("BatchMode=yes", "StrictHostKeyChecking=no", "UserKnownHostsFile=/dev/null", "IdentitiesOnly=yes")
        ssh = ["ssh", "-F", "none", "-p", str(PORT), "-i", self.made / "id_ed25519"]
        ssh += [part for option in (*options, "LogLevel=ERROR") for part in ("-o", option)]
        ssh += [f"nvidia@{self.lab.address(number)}", "echo let in"]
        done = subprocess.run(ssh, capture_output=True, text=True)
        return done.stdout + done.stderr

    def become_root(self) -> Outcome:
        return self.ansible("ansible", "boards", "-b", "-m", "ansible.builtin.command", "-a", "id -un")

    def fingerprint(self, number: int) -> str:
        return self.lab.ssh(number, "ssh-keygen -lf /etc/ssh/first_host_key.pub", user="root").split()[1]

    def log(self, number: int) -> str:
        return self.lab.ssh(number, "cat /var/log/first_sshd.log", user="root")

    @property
    def made(self) -> Path:
        return self.inventory / ".ssh"


@pytest.fixture(scope="module")
def password_lab(orins: Lab) -> Iterator[Lab]:
    for number in (1, 2):
        assert orins.root(number, START) == ""
    yield orins
    for number in (1, 2):
        orins.root(number, f"{RESET}; kill $(cat /run/first_sshd.pid)")


@pytest.fixture
def boards(password_lab: Lab, tmp_path: Path) -> Boards:
    """Boards that nobody enrolled."""
    for number in (1, 2):
        assert password_lab.ssh(number, RESET, user="root") == ""
    return Boards(password_lab, tmp_path / "inventory")


def rows(output: str) -> dict[str, str]:
    """The summary's outcomes by board."""
    table = output[output.index("  board ") :]
    return {line.split()[0]: line.split("  ")[-1].strip() for line in table.partition("\n\n")[0].splitlines()[1:]}


class Watch:
    """Looks for a text in the arguments and environments of all processes, those of the boards included."""

    def __init__(self, secret: str) -> None:
        self.found: set[str] = set()
        self._secret, self._end = secret.encode(), threading.Event()
        self._thread = threading.Thread(target=self._look)

    def __enter__(self) -> Watch:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        self._thread.join()

    def _look(self) -> None:
        while not self._end.wait(0.02):
            for process in Path("/proc").glob("[0-9]*"):
                for name in ("cmdline", "environ"):
                    try:
                        content = (process / name).read_bytes()
                    except OSError:
                        continue
                    if self._secret in content:
                        self.found.add(f"{name}: {content!r}")


def test_boards_with_a_password_become_boards_that_ansible_reaches(boards: Boards) -> None:
    refused = boards.become_root()
    assert not refused.ok
    with Watch(SECRET) as watch:
        enrolled = boards.enrol("-vvv")
    assert enrolled.ok, enrolled.output
    assert SECRET not in enrolled.output
    assert not watch.found
    assert not [path for path in boards.made.iterdir() if SECRET in path.read_text()]
    for number in (1, 2):
        assert boards.fingerprint(number) in enrolled.output
        assert boards.log(number).count("Accepted password") == 1

    reached = boards.become_root()  # strict about the host keys, as the inventory says
    assert reached.ok, reached.output
    assert reached.output.count("root") == 2

    lines = (boards.made / "known_hosts").read_text().splitlines()
    assert [line.split()[0] for line in lines] == [f"[{boards.lab.address(n)}]:{PORT}" for n in (1, 2)]
    assert (boards.made / "id_ed25519").stat().st_mode & 0o777 == 0o600
    modes = boards.lab.ssh(
        1, "cd ~nvidia; stat -c '%a %U' .ssh .ssh/authorized_keys; stat -c '%a %U' /etc/sudoers.d/*", user="root"
    )
    assert modes.split("\n") == ["700 nvidia", "600 nvidia", "440 root"]

    before = {path.name: path.read_bytes() for path in boards.made.iterdir()}
    again = boards.enrol(password=False)
    assert again.ok, again.output
    assert again.changed == 0
    assert set(rows(again.output).values()) == {"was enrolled"}
    assert {path.name: path.read_bytes() for path in boards.made.iterdir()} == before


def test_a_board_with_a_problem_is_named_with_its_remedy_and_the_others_go_on(boards: Boards) -> None:
    other = boards.fingerprint(1)
    boards.list(
        **{
            "good": boards.board(1),
            "mistaken": boards.board(2, enrol_password=f"{SECRET} of another"),
            "stranger": boards.board(2, ansible_user="stranger"),
            "powerless": boards.board(2, ansible_user="powerless"),
            "impostor": boards.board(2, ansible_user="expected", enrol_fingerprint=other),
            "gone": boards.board(99, enrol_timeout_s=5),
            "closed": boards.board(1, ansible_port=PORT + 1),
            "misspelt": boards.board(1, ansible_host="no-such-board.invalid"),
        }
    )
    hosts = json.loads((boards.inventory / "hosts.yml").read_text())
    for name, variables in hosts["boards"]["hosts"].items():
        if name != "mistaken":
            variables["enrol_password"] = PASSWORD
    (boards.inventory / "hosts.yml").write_text(json.dumps(hosts))

    enrolled = boards.enrol(password=False)
    assert not enrolled.ok
    assert rows(enrolled.output) == {name: "failed" for name in hosts["boards"]["hosts"]} | {"good": "enrolled"}
    assert SECRET not in enrolled.output
    told = enrolled.told
    address = boards.lab.address(2)
    assert set(told) == set(hosts["boards"]["hosts"]) - {"good"}
    for name, words in {
        "mistaken": f"{address} refuses the password of nvidia",
        "stranger": f"{address} refuses the password of stranger",
        "powerless": f"powerless may not use sudo on {address}",
        "impostor": f"{other} is expected: no password was sent",
        "gone": f"{boards.lab.address(99)} cannot be reached",
        "closed": f"nothing listens on port {PORT + 1}",
        "misspelt": "no-such-board.invalid cannot be resolved",
    }.items():
        assert words in told[name]
    assert "expected" not in boards.log(2)  # nobody tried to log in as that
    assert boards.become_root().output.count("rc=0") == 1


@pytest.fixture
def hidden(boards: Boards, tmp_path: Path) -> Iterator[Path]:
    """Boards that this machine reaches through each other only, by a file of ssh's configuration that names the ways.

    There is no route to their second addresses, and nobody knows the jump hosts but this file.
    """
    lab, configuration = boards.lab, tmp_path / "ssh_config"
    for number in (1, 2):
        assert lab.root(number, f"ip address add {HIDDEN}.{number}/24 dev eth0") == ""
    gates = [f"Host gate-{n}\nHostName {lab.address(n)}\nUser board\nUserKnownHostsFile {lab.folder}/ssh/known_hosts"
             f"\nIdentityFile {lab.folder}/ssh/id_ed25519\nIdentitiesOnly yes" for n in (1, 2)]  # fmt: skip
    rack = f"Host *.rack\nHostName {HIDDEN}.2\nPort {PORT}\nHostKeyAlias rack-2\nProxyJump gate-1"
    configuration.write_text("\n".join([*gates, rack, ""]))
    common = yaml.safe_load((PROJECT / "inventory/boards/group_vars/boards.yml").read_text())["ansible_ssh_common_args"]
    proxy = f"-o 'ProxyCommand=ssh -F {configuration} -W %h:%p gate-2'"
    boards.list(
        **{
            "orin-1": boards.board(1, ansible_host=f"{HIDDEN}.1", ansible_ssh_common_args=f"{common} {proxy}"),
            "orin-2": {
                "ansible_host": "Orin-2.rack",
                "ansible_ssh_extra_args": f"-F {configuration}",
                "enrol_fingerprint": boards.fingerprint(2),
            },
        }
    )
    yield configuration
    for number in (1, 2):
        lab.root(number, f"ip address delete {HIDDEN}.{number}/24 dev eth0")


def test_boards_behind_a_jump_host_become_boards_that_ansible_reaches(boards: Boards, hidden: Path) -> None:
    with Watch(SECRET) as watch:
        enrolled = boards.enrol()
    assert enrolled.ok, enrolled.output
    assert set(rows(enrolled.output).values()) == {"enrolled"}
    assert not watch.found
    for number in (1, 2):
        assert boards.fingerprint(number) in enrolled.output
        assert boards.log(number).count("Accepted password for nvidia from " + f"{HIDDEN}.{3 - number}") == 1
    pins = (boards.made / "known_hosts").read_text().splitlines()
    assert [line.split()[0] for line in pins] == [f"[{HIDDEN}.1]:{PORT}", "rack-2"]

    reached = boards.become_root()
    assert reached.ok, reached.output
    assert reached.output.count("root") == 2

    # a jump host that nobody knows any more is named, and no password leaves
    hidden.write_text(hidden.read_text().replace(f"{boards.lab.folder}/ssh/known_hosts", "/dev/null"))
    for number in (1, 2):
        assert boards.lab.ssh(number, RESET, user="root") == ""
    told = boards.enrol().told
    assert "reached through ProxyJump=gate-1, whose host key is not known here" in told["orin-2"]
    assert f"log in there once with ssh -F {hidden} gate-1, and" in told["orin-2"]
    assert "reached through ProxyCommand=ssh -F" in told["orin-1"]
    assert "Accepted" not in boards.log(1) + boards.log(2)


def test_a_changed_host_key_is_refused_until_it_is_forgotten(boards: Boards) -> None:
    assert boards.enrol().ok
    old = boards.fingerprint(1)
    boards.lab.ssh(
        1, "sh /usr/local/sbin/first_sshd; rm -rf /home/nvidia/.ssh; : >/var/log/first_sshd.log", user="root"
    )
    new = boards.fingerprint(1)
    assert new != old

    refused = boards.enrol()
    assert not refused.ok
    assert rows(refused.output) == {"orin-1": "failed", "orin-2": "was enrolled"}
    assert f"has the host key ED25519 {new}, but ED25519 {old} is pinned" in " ".join(refused.output.split())
    assert "nvidia" not in boards.log(1)  # nobody tried to log in
    unreachable = boards.become_root()
    assert not unreachable.ok
    assert "Host key verification failed" in unreachable.output

    remedy = re.search(r"(ssh-keygen -f .*?) and enrol it again", " ".join(refused.output.split()))
    assert remedy
    subprocess.run(shlex.split(remedy[1]), check=True, capture_output=True)
    boards.list(**{"orin-1": boards.board(1), "orin-2": boards.board(2)})
    enrolled = boards.enrol()
    assert enrolled.ok, enrolled.output
    assert boards.become_root().ok


def test_check_mode_only_looks_and_new_keys_can_be_refused(boards: Boards) -> None:
    looked = boards.enrol("--check", "--diff")
    assert looked.ok, looked.output
    assert set(rows(looked.output).values()) == {"would be enrolled"}
    assert boards.fingerprint(2) in looked.output
    assert not boards.made.exists()

    boards.list(**{f"orin-{number}": boards.board(number, enrol_fingerprint="") for number in (1, 2)})
    for given in ("enrol_accept_new=false", "enrol_accept_new=true"):
        refused = boards.enrol("-e", given)
        assert not refused.ok
        assert set(rows(refused.output).values()) == {"failed"}
        assert boards.fingerprint(2) in refused.output
    assert "nobody confirmed: no password was sent" in " ".join(refused.output.split())
    assert "Accepted" not in boards.log(1)
    assert not (boards.made / "known_hosts").exists()


def test_a_password_from_a_vault_waits_until_new_host_keys_are_confirmed(boards: Boards) -> None:
    boards.list(**{f"orin-{number}": boards.board(number, enrol_fingerprint="") for number in (1, 2)})
    command = [ANSIBLE / "ansible-playbook", "-i", boards.inventory, "playbooks/enrol.yml"]
    command += ["-e", f"@{boards.password_file}"]
    question = (b"Enter to send no password", termios.ICANON)
    output, status = in_terminal("no", command, *question)
    assert status != 0 and "nobody confirmed" in " ".join(output.split()), output
    assert "Accepted" not in boards.log(1) + boards.log(2)
    output, status = in_terminal("yes", command, *question)
    assert status == 0 and SECRET not in output, output
    assert output.index(boards.fingerprint(2)) < output.index("new host keys, to which enrol_password would be sent")


def test_the_password_is_asked_for_once_after_the_host_keys_were_shown(boards: Boards) -> None:
    output, status = in_terminal(
        PASSWORD,
        [
            *(ANSIBLE / "ansible-playbook", "-vvv", "-i", boards.inventory, "playbooks/enrol.yml"),
            *("-e", "enrol_sudo_nopasswd=false"),
        ],
    )
    assert status == 0, output
    assert SECRET not in output
    assert output.count("Password of nvidia@orin-1, nvidia@orin-2") == 1
    assert output.index(boards.fingerprint(2)) < output.index("Password of ")
    assert boards.lab.ssh(1, "ls /etc/sudoers.d", user="root") == ""
    assert "Missing sudo password" in boards.become_root().output


MINE = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIN/KLhCK2V1+GPYylRAgmxxYOedjCJzGu/2yzdNCoUq6 mine"

AS_MINE = f"echo '{MINE}' >authorized_keys; chown nvidia: authorized_keys; chmod 600 authorized_keys"


def test_unenrolled_boards_are_as_they_were_before(boards: Boards) -> None:
    # Ansible keeps its connections, as it does for users, and for longer than a busy machine takes
    boards.ssh = {"ANSIBLE_SSH_ARGS": "-o ControlMaster=auto -o ControlPersist=600s"}
    boards.lab.root(2, f"install -d -m 700 -o nvidia -g nvidia ~nvidia/.ssh; cd ~nvidia/.ssh; {AS_MINE}")
    boards.made.mkdir(mode=0o700)
    other = "# of another lab\n10.9.9.9 " + MINE.rsplit(" ", 1)[0] + "\n"
    (boards.made / "known_hosts").write_text(other)
    before = boards.state()
    assert boards.enrol().ok
    enrolled, pins = boards.state(), (boards.made / "known_hosts").read_text()
    assert all(lab_snapshot.differences(was, now) for was, now in zip(before, enrolled, strict=True))

    looked = boards.unenrol("--check", "--diff")
    assert looked.ok and set(rows(looked.output).values()) == {"would be unenrolled"}, looked.output
    assert boards.state() == enrolled and (boards.made / "known_hosts").read_text() == pins
    assert "still provisioned" not in looked.output

    assert boards.become_root().ok
    boards.lab.root(1, "mkdir /opt/cluster-kit")
    one = boards.unenrol("--limit", "orin-1")
    boards.lab.root(1, "rmdir /opt/cluster-kit")
    assert one.ok and rows(one.output) == {"orin-1": "unenrolled"}, one.output
    assert "still provisioned: it has /opt/cluster-kit." in one.output
    assert "key, sudo rule, host key" in one.output and "2 host keys are still pinned" in one.output
    assert "Permission denied" in boards.login(1) and "let in" in boards.login(2)
    assert boards.become_root().output.count("rc=0") == 1  # not over a connection from before either
    assert boards.state()[1] == enrolled[1]

    both = boards.unenrol()
    assert both.ok and rows(both.output) == {"orin-1": "was not enrolled", "orin-2": "unenrolled"}, both.output
    for number, was, now in zip((1, 2), before, boards.state(), strict=True):
        assert lab_snapshot.differences(was, now) == {}
        assert "Permission denied" in boards.login(number)
    assert (boards.made / "known_hosts").read_text() == other and (boards.made / "id_ed25519").exists()

    again = boards.unenrol()
    assert again.ok and again.changed == 0, again.output
    assert set(rows(again.output).values()) == {"was not enrolled"}


def test_unenrolling_asks_for_the_password_where_sudo_does_and_goes_on_without_boards_out_of_reach(
    boards: Boards,
) -> None:
    boards.list(**{"orin-1": boards.board(1), "orin-2": boards.board(2), "gone": boards.board(99, enrol_timeout_s=5)})
    boards.lab.root(1, "echo 'nvidia ALL=(ALL:ALL) ALL' >/etc/sudoers.d/zz; chmod 0440 /etc/sudoers.d/zz")
    assert boards.enrol("--limit", "orin-1", "-e", "enrol_sudo_nopasswd=false").ok
    assert boards.enrol("--limit", "orin-2").ok
    boards.lab.root(1, "cp /etc/sudoers.d/zz /etc/sudoers.d/cluster-kit")  # of an enrolment before
    pins = boards.made / "known_hosts"
    pins.write_text(pins.read_text() + f"[{boards.lab.address(99)}]:{PORT} {MINE.rsplit(' ', 1)[0]}\n")
    try:
        refused = boards.unenrol()
        assert not refused.ok
        assert rows(refused.output) == {"orin-1": "failed", "orin-2": "unenrolled", "gone": "failed"}
        assert "asks nvidia for a password, and none was given" in refused.told["orin-1"]
        address = rf"\[{re.escape(boards.lab.address(99))}\]:{PORT}"
        assert re.search(rf"cannot be reached .* forget its host key with ssh-keygen .*{address}", refused.told["gone"])
        assert "let in" in boards.login(1)

        command = [ANSIBLE / "ansible-playbook", "-vvv", "-i", boards.inventory, "playbooks/unenrol.yml"]
        output, status = in_terminal(PASSWORD, [*command, "--limit", "orin-1"])
        assert status == 0 and output.count("Password of nvidia@orin-1") == 1, output
        assert SECRET not in output and "key, sudo rule, host key" in output
        assert boards.lab.root(1, "ls /etc/sudoers.d") == "zz" and "Permission denied" in boards.login(1)
    finally:
        boards.lab.root(1, "rm /etc/sudoers.d/zz")
    assert [line.split()[0] for line in pins.read_text().splitlines()] == [f"[{boards.lab.address(99)}]:{PORT}"]


def in_terminal(
    answer: str, command: list[str | Path], question: bytes = b"(output is hidden):", shown: int = termios.ECHO
) -> tuple[str, int]:
    """What a command prints in a terminal where somebody answers its question, and its status."""
    pid, terminal = pty.fork()
    if pid == 0:
        os.chdir(PROJECT)
        os.execv(command[0], command)
    output, answered, end = b"", False, time.monotonic() + 60
    while time.monotonic() < end:
        if select.select([terminal], [], [], 0.2)[0]:
            try:
                output += os.read(terminal, 1 << 16)
            except OSError:  # the command has ended
                break
        elif not answered and question in output and not termios.tcgetattr(terminal)[3] & shown:
            answered = True  # only now: Ansible discards what was typed before the question
            os.write(terminal, answer.encode() + b"\r")
    else:
        os.killpg(pid, signal.SIGKILL)
    os.close(terminal)
    return output.decode(), os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
