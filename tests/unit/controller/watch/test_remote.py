"""Boards over real ssh: two servers on this machine's loopback, reached as Ansible's inventory says."""

from __future__ import annotations

import dataclasses
import getpass
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from ansible.parsing.vault import VaultLib, VaultSecret

from analysis import AnalysisError
from controller import ssh
from controller.cli import main
from controller.mirror import Mirror
from controller.watch import fallback, inventory, remote
from tests import PROJECT
from tests.data.build_runs import build_run

SSHD = "/usr/sbin/sshd"
CONFIG = """\
ListenAddress 127.0.0.1:{port}
HostKey "{folder}/host_key"
PidFile none
LogLevel DEBUG1
AuthorizedKeysFile "{folder}/authorized_keys"
StrictModes no
UsePAM no
PermitRootLogin prohibit-password
Subsystem sftp /usr/lib/openssh/sftp-server
SetEnv "HOME={folder}"
"""
NOISY = "echo 'ROS noetic sourced'; echo no tty >&2; cd /; printf 'a title'\n"
needs_root = pytest.mark.skipif(
    os.geteuid() != 0 or not Path(SSHD).exists() or not shutil.which("unshare"),
    reason="needs root and openssh-server",
)


def make_key(path: Path) -> str:
    """Makes a key; returns its public half, without the comment."""
    path.unlink(missing_ok=True)
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", path], check=True)
    return " ".join(path.with_name(f"{path.name}.pub").read_text().split()[:2])


class Server:
    """An ssh server with a host key and a home of the kit of its own: a board."""

    def __init__(self, name: str, folder: Path, public_key: str) -> None:
        self.name, self.folder, self.home = name, folder, folder / "kit"
        self.home.mkdir(parents=True)
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        (folder / "authorized_keys").write_text(public_key)
        (folder / "sshd_config").write_text(CONFIG.format(port=self.port, folder=folder))
        self.host_key = make_key(folder / "host_key")

    @property
    def pin(self) -> str:
        return f"[127.0.0.1]:{self.port} {self.host_key}\n"

    def start(self) -> None:
        # its own processes, so that the connections end with it, and its own /run, which sshd wants a folder in
        inside = 'mount -t tmpfs tmpfs /run && mkdir /run/sshd && exec "$@"'
        sshd = [SSHD, "-D", "-f", self.folder / "sshd_config", "-E", self.folder / "log"]
        self.process = subprocess.Popen(
            ["unshare", "--mount", "--pid", "--fork", "--kill-child", "sh", "-c", inside, "sh", *sshd]
        )
        wait_until(self.answers)

    def answers(self) -> bool:
        with socket.socket() as client:
            return client.connect_ex(("127.0.0.1", self.port)) == 0

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()
        wait_until(lambda: not self.answers())


def wait_until(true: Callable[[], object], limit_s: float = 10.0) -> None:
    deadline = time.monotonic() + limit_s
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.02)


@dataclasses.dataclass
class Boards:
    servers: list[Server]
    folder: Path

    @property
    def known_hosts(self) -> Path:
        return self.folder / "known hosts"

    def pin(self, *servers: Server) -> None:
        self.known_hosts.write_text("".join(server.pin for server in servers))

    def inventory(self, extra: str = "", **of_last: str) -> str:
        """Writes an inventory, with variables that have to be resolved."""
        hosts = {
            server.name: {"ansible_port": server.port, "kit_home": "{{ kits }}/" + server.folder.name + "/kit"}
            for server in self.servers
        }
        hosts[self.servers[-1].name].update(of_last)
        given = {
            "kits": str(self.folder),
            "ansible_host": "127.0.0.1",
            "ansible_user": getpass.getuser(),
            "ansible_ssh_private_key_file": "{{ kits }}/id",
            # that ssh would not be strict must change nothing: watch is
            "ansible_ssh_common_args": "-o 'UserKnownHostsFile=\"{{ kits }}/known hosts\"' "
            f"-o GlobalKnownHostsFile=/dev/null -o StrictHostKeyChecking=no -o IdentitiesOnly=yes {extra}",
        }
        path = self.folder / "hosts.yml"
        path.write_text(json.dumps({"boards": {"hosts": hosts, "vars": given}}))
        return str(path)

    def connect(self, number: int, listed: str) -> Callable:
        name = self.servers[number].name
        access = inventory.find([name], listed)[name]
        return lambda: remote.connect(ssh.hops(name, access.ssh)[-1])


@pytest.fixture
def boards(tmp_path: Path) -> Iterator[Boards]:
    folder = tmp_path / "two boards"
    folder.mkdir()
    key = make_key(folder / "id")
    servers = [Server(f"board-{number}", folder / f"b{number}", key) for number in (1, 2)]
    boards = Boards(servers, folder)
    boards.pin(*servers)
    try:
        for server in servers:
            server.start()
        yield boards
    finally:
        for server in servers:
            if hasattr(server, "process"):
                server.kill()


def run_on(boards: Boards, tmp_path: Path) -> Path:
    """A run that goes on without its controller: each board has its records. Returns the controller's folder."""
    made = build_run(tmp_path / "made", "live", workers=2, manifest=False)
    folder = tmp_path / "runs/live"
    folder.mkdir(parents=True)
    (made / "run.json").rename(folder / "run.json")
    for server in boards.servers:
        on_board = server.home / "runs/live"
        on_board.parent.mkdir()
        (made / "boards" / server.name).rename(on_board)
        (on_board / "result.json").unlink()
        home = folder / "boards" / server.name
        home.mkdir(parents=True)
        # a controller that followed it once, and was killed
        (home / "live.json").write_text('{"seen_s": 1000.0, "due_s": 1002.0, "following": true}')
    return folder


@needs_root
@pytest.mark.parametrize("bashrc", ["", NOISY], ids=["quiet", "noisy"])
def test_both_boards_are_shown(boards: Boards, tmp_path: Path, capsys: pytest.CaptureFixture[str], bashrc: str) -> None:
    folder = run_on(boards, tmp_path)
    for server in boards.servers:
        (server.folder / ".bashrc").write_text(bashrc)
    assert main(["watch", str(folder), "-i", boards.inventory(), "--once"]) == 0
    shown = capsys.readouterr().out
    assert re.search(r"board-1 +training +3/3 +8/8 +400 +33 ", shown), shown
    assert re.search(r"board-2 +training +3/3 +8/8 +400 +33 ", shown), shown
    for server in boards.servers:  # and are kept
        copied, on_board = folder / "boards" / server.name, server.home / "runs/live"
        assert (copied / "events.jsonl").read_bytes() == (on_board / "events.jsonl").read_bytes()
        assert json.loads((copied / "live.json").read_text())["due_s"] > time.time() - 10


def test_boards_are_left_alone_while_the_runs_controller_follows_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delattr(fallback, "start")
    folder = build_run(tmp_path, workers=2, manifest=False)
    for board, due_s in (("board-1", time.time()), ("board-2", 1000.0)):
        (folder / "boards" / board / "result.json").unlink()
        live = {"seen_s": due_s, "due_s": due_s, "following": True, "why": None, "emulated": False}
        (folder / "boards" / board / "live.json").write_text(json.dumps(live))
    assert main(["watch", str(folder), "--once"]) == 0
    shown = capsys.readouterr().out
    assert re.search(r"board-1 +training", shown) and re.search(r"board-2 +reconnecting", shown)


def test_an_inventory_that_is_another_runs_is_told_where_it_is_needed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = build_run(tmp_path, workers=2, manifest=False)
    for board in ("board-1", "board-2"):
        (folder / "boards" / board / "result.json").unlink()
        (folder / "boards" / board / "live.json").write_text('{"seen_s": 1.0, "due_s": 1.0, "following": true}')
    assert main(["watch", str(folder), "--once"]) == 0
    told = " ".join(capsys.readouterr().out.split())
    assert "board-1, board-2 of this run is not in the inventory" in told and "-i inventory/lab" in told


@needs_root
def test_a_board_is_followed_again_after_its_server_was_restarted(
    boards: Boards, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fallback, "POLL_S", 0.05)
    monkeypatch.setattr(fallback, "_RETRY_S", 0.05)
    server, home = boards.servers[0], tmp_path / "copies"
    home.mkdir()
    growing, copied = server.home / "events.jsonl", home / "events.jsonl"
    growing.write_bytes(b"one\ntw")

    def why() -> str | None:
        return json.loads((home / "live.json").read_text())["why"]

    collected: list[bool] = []
    mirror = Mirror(home, str(server.home), 0.05)
    follower = fallback.Follower(mirror, lambda: bool(collected), boards.connect(0, boards.inventory()))
    follower.start()
    try:
        wait_until((home / "live.json").exists)
        assert copied.read_bytes() == b"one\ntw"
        server.kill()
        wait_until(why)
        growing.write_bytes(b"one\ntwo\nthree\n")  # it trained on
        server.start()
        wait_until(lambda: copied.read_bytes() == growing.read_bytes())
        wait_until(lambda: not why())
        collected.append(True)
        follower.join(5)
        assert not follower.is_alive()
    finally:
        follower.stop()
        follower.join(5)


@needs_root
def test_a_changed_host_key_is_refused_by_name_and_so_is_an_unknown_one(
    boards: Boards, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first, second = boards.servers
    first.host_key = make_key(tmp_path / "other")  # what is pinned, although ssh is told not to care
    boards.pin(first)
    assert main(["watch", str(run_on(boards, tmp_path)), "-i", boards.inventory(), "--once"]) == 0
    told = "".join(capsys.readouterr().out.split())
    name = rf"\[127.0.0.1\]:{first.port}"
    assert re.search(rf"{name}hasthehostkeyED25519SHA256:\S+,but\S+pinned", told)
    assert re.search(rf"thehostkeyof\[127.0.0.1\]:{second.port},\S+,isnotin\S+/knownhosts", told)
    assert told.count("playbooks/enrol.yml") == 2


@needs_root
def test_a_key_that_is_not_let_in_is_named(boards: Boards) -> None:
    (boards.servers[0].folder / "authorized_keys").write_text("")
    with pytest.raises(AnalysisError, match=r"accepts none of the keys .*/id for .*: playbooks/enrol\.yml"):
        boards.connect(0, boards.inventory())().__enter__()


@needs_root
@pytest.mark.parametrize("where", ["in ssh's arguments", "in ssh's configuration"])
def test_a_board_behind_another_one_is_reached_through_it(boards: Boards, where: str) -> None:
    jump, board = boards.servers
    (board.home / "events.jsonl").write_text("hello")
    configuration = boards.folder / "ssh_config"
    lines = ["Host jump", "HostName 127.0.0.1", f"Port {jump.port}", f'IdentityFile "{boards.folder}/id"']
    lines += [f"User {getpass.getuser()}", f'UserKnownHostsFile "{boards.folder}/jumps"']
    lines += [] if where == "in ssh's arguments" else ["Match host 127.0.0.1 !originalhost jump", "ProxyJump jump"]
    configuration.write_text("\n".join(lines))
    extra = f"-F '{configuration}'" + (" -o ProxyJump=jump" if where == "in ssh's arguments" else "")
    connect = boards.connect(1, boards.inventory(extra))
    with pytest.raises(AnalysisError, match=r"ProxyJump=jump, whose host key is not known here yet"):
        connect().__enter__()
    (boards.folder / "jumps").write_text(jump.pin)
    with connect() as ask:
        assert ask(f"cat '{board.home}/events.jsonl'") == "hello"
    assert f"target 127.0.0.1 port {board.port}" in (jump.folder / "log").read_text()
    jump.kill()
    with pytest.raises(AnalysisError):
        connect().__enter__()


@needs_root
def test_a_board_is_reached_through_a_proxy_command_and_its_complaint_is_told(boards: Boards) -> None:
    jump, board = boards.servers
    (board.home / "events.jsonl").write_text("hello")
    (boards.folder / "jumps").write_text(jump.pin)
    configuration = boards.folder.parent / "ssh_config"
    lines = ["Host jump", "HostName 127.0.0.1", f"Port {jump.port}", f'IdentityFile "{boards.folder}/id"']
    configuration.write_text("\n".join([*lines, f'UserKnownHostsFile "{boards.folder}/jumps"\n']))
    connect = boards.connect(1, boards.inventory(f"-o 'ProxyCommand=ssh -F {configuration} -W %h:%p jump'"))
    with connect() as ask:
        assert ask(f"cat '{board.home}/events.jsonl'") == "hello"
    assert f"target 127.0.0.1 port {board.port}" in (jump.folder / "log").read_text()
    jump.kill()
    with pytest.raises(AnalysisError, match=r"is reached through ProxyCommand=ssh .*Connection"):
        connect().__enter__()


@needs_root
def test_lines_of_known_hosts_that_are_none_do_no_harm_and_a_revoked_key_is_refused(boards: Boards) -> None:
    board = boards.servers[0]
    odd = "# Küche\n".encode("latin-1") + b"torn ssh-ed25519 AAAA\n@cert-authority * ssh-ed25519 AAAA\n[127.0.0.1]:*"
    boards.known_hosts.write_bytes(odd + f" {board.host_key}\n".encode())
    connect = boards.connect(0, boards.inventory())
    with connect() as ask:
        assert ask("printf 'J\\374lich'") == "J\udcfclich"
    boards.known_hosts.write_bytes(boards.known_hosts.read_bytes() + b"@revoked * " + board.host_key.encode() + b"\n")
    with pytest.raises(AnalysisError, match=r"the host key of .* is not in"):
        connect().__enter__()


def test_ssh_options_are_those_of_the_emulated_boards() -> None:
    project = PROJECT
    found = inventory.find(["board-1", "board-2"], str(project / "inventory/lab"))["board-2"]
    (hop,) = ssh.hops("board-2", found.ssh)
    assert (hop.host, hop.port, hop.user, found.home) == ("198.18.77.12", 22, "board", "/opt/cluster-kit")
    assert hop.known_hosts == (project / ".lab/ssh/known_hosts", Path("/dev/null"))
    assert hop.identities == (project / ".lab/ssh/id_ed25519",)
    assert hop.identities_only


def test_the_kits_folder_is_the_one_of_the_inventory(tmp_path: Path) -> None:
    hosts = tmp_path / "hosts.yml"
    hosts.write_text("boards: {hosts: {orin-1: {ansible_host: 192.0.2.1}}, vars: {kit_home: /mnt/nvme/kit}}\n")
    assert inventory.find(["orin-1"], str(hosts))["orin-1"].home == "/mnt/nvme/kit"


def test_boards_that_the_inventory_lacks_are_named_with_the_remedy() -> None:
    listed = str(PROJECT / "inventory/boards")
    with pytest.raises(AnalysisError, match=r"board-1, board-2 of this run is not in the inventory.*-i inventory/lab"):
        inventory.find(["board-1", "orin-1", "board-2"], listed)


@pytest.mark.parametrize("whole", [True, False], ids=["a file", "a variable"])
def test_an_inventory_in_the_vault_is_read_with_the_configured_password(tmp_path: Path, whole: bool) -> None:
    """In processes of their own, since Ansible keeps a process' vault secrets."""
    seal = VaultLib([("default", VaultSecret(b"right"))]).encrypt
    text = "ansible_user: nvidia\n"
    if not whole:
        text = "ansible_user: !vault |\n" + textwrap.indent(seal("nvidia").decode(), "  ")
    variables = tmp_path / "inventory/group_vars/boards.yml"
    variables.parent.mkdir(parents=True)
    variables.write_bytes(seal(text) if whole else text.encode())
    (tmp_path / "inventory/hosts.yml").write_text("boards: {hosts: {orin-1: {}}}")
    (tmp_path / "password").write_text("right\n")
    (tmp_path / "wrong").write_text("wrong\n")

    def find(**environment: str) -> str:
        script = f"from controller.watch.inventory import find; print(find(['orin-1'], '{tmp_path}/inventory'))"
        command = [sys.executable, "-c", script]
        done = subprocess.run(command, cwd=PROJECT, env={**os.environ, **environment}, capture_output=True, text=True)
        return done.stdout or done.stderr.splitlines()[-1]

    assert 'User="nvidia"' in find(ANSIBLE_VAULT_PASSWORD_FILE=str(tmp_path / "password"))
    assert 'User="nvidia"' in find(ANSIBLE_VAULT_IDENTITY_LIST=f"some@{tmp_path}/wrong,lab@{tmp_path}/password")
    for environment in ({}, {"ANSIBLE_VAULT_PASSWORD_FILE": str(tmp_path / "wrong")}):
        told = find(**environment)
        assert "AnalysisError: the variables of orin-1" in told and "or ANSIBLE_VAULT_PASSWORD_FILE=FILE" in told
    assert "inventory cannot be read: The vault password file /none was" in find(ANSIBLE_VAULT_PASSWORD_FILE="/none")


def test_an_inventory_that_does_not_exist_is_named() -> None:
    with pytest.raises(AnalysisError, match="the inventory nowhere does not exist: give -i inventory/boards"):
        inventory.find(["board-1"], "nowhere")
