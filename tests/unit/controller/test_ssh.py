"""How Ansible calls ssh, where ssh then connects to, and a connection to there, over real ssh on the loopback."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import paramiko
import pytest

from analysis import AnalysisError
from controller import ssh
from controller.connection import UnreachedError, connect
from tests.unit.controller.watch.test_remote import Server, make_key, needs_root, wait_until

NONE = ("ssh", "-F", "none")


def words(*given: str) -> tuple[str, ...]:
    return (*NONE, *given)


def configured(folder: Path, text: str, *given: str) -> tuple[str, ...]:
    """The command with this configuration in a file."""
    path = folder / "ssh_config"
    path.write_text(text)
    return ("ssh", "-F", str(path), *given)


VARIABLES = [
    {},
    {"ansible_host": "192.168.1.11", "ansible_port": 2222, "ansible_user": "nvidia"},
    {"ansible_ssh_host": "orin-1.lab", "ansible_ssh_port": 22, "ansible_ssh_user": "DOMAIN\\nvidia"},
    {"ansible_host": "fd00::11", "ansible_ssh_private_key_file": "~/.ssh/my key", "ansible_password": "x"},
    {"ansible_ssh_args": "-C -o 'ProxyCommand=ssh -W %h:%p gate'", "ansible_ssh_executable": "/usr/bin/ssh"},
    {"ansible_ssh_common_args": "-F '/my config' -J gate", "ansible_ssh_extra_args": "-o BindAddress=127.0.0.1"},
    {"ansible_private_key_file": "~nosuchuser/id"},
    {"ansible_host_key_checking": False, "ansible_ssh_timeout": 3},
]


def ssh_plugin(variables: dict[str, Any], folder: Path) -> Any:
    """Ansible's own plugin for a host with these variables."""
    from ansible.playbook.play_context import PlayContext
    from ansible.plugins.loader import connection_loader, init_plugin_loader

    if not connection_loader.package:
        init_plugin_loader()
    plugin = connection_loader.get("ssh", PlayContext())
    plugin.set_options(
        var_options={"inventory_hostname": "orin-1", "ansible_control_path_dir": str(folder), **variables}
    )
    return plugin


@pytest.mark.parametrize(
    "loose",
    [
        {"ansible_host_key_checking": False},
        {"ansible_ssh_host_key_checking": False},
        *({f"ansible_ssh_{kind}_args": "-o StrictHostKeyChecking=no"} for kind in ("common", "extra")),
        {"ansible_ssh_extra_args": "-o StrictHostKeyChecking=accept-new"},
        {"ansible_ssh_common_args": "-F {configuration}"},
    ],
)
def test_a_password_goes_to_no_host_whose_key_is_not_pinned_whatever_an_inventory_says(
    loose: dict[str, Any], tmp_path: Path
) -> None:
    configuration = tmp_path / "config"
    configuration.write_text("StrictHostKeyChecking no\n")
    given = {name: value.format(configuration=configuration) if value else value for name, value in loose.items()}
    plugin = ssh_plugin({"ansible_password": "x", "ansible_become_password": "x", **given}, tmp_path)
    words = [word.decode() for word in plugin._build_command("ssh", "ssh", "orin-1")]
    words = words[words.index("ssh") :]  # after sshpass
    shown = subprocess.run(["ssh", "-G", *words[1:]], capture_output=True, text=True, check=True).stdout
    assert "\nstricthostkeychecking true\n" in shown, words


@pytest.mark.parametrize("variables", VARIABLES)
def test_ssh_is_called_with_the_words_of_ansibles_own_plugin(variables: dict[str, Any], tmp_path: Path) -> None:
    plugin = ssh_plugin(variables, tmp_path)
    host = plugin.get_option("host")
    theirs = [word.decode() for word in plugin._build_command(plugin.get_option("ssh_executable"), "ssh", host)]
    ours = ssh.command(plugin, host)
    # what Ansible has for its own sake: a socket to share a connection, and how often it answers a question
    for own in ("ControlPath=", "NumberOfPasswordPrompts="):
        for at in [at for at, word in enumerate(theirs) if word.startswith(own)]:
            del theirs[at - 1 : at + 1]
    assert list(ours) == theirs


@pytest.mark.parametrize(
    ("configuration", "host", "found"),
    [
        ("", "192.168.1.11", ("192.168.1.11", 22, "192.168.1.11")),
        ("Port 2222", "Orin-1.LAB", ("orin-1.lab", 2222, "[orin-1.lab]:2222")),
        (
            "Host *.lab\nHostName %h.example\nPort 23",
            "orin-1.lab",
            ("orin-1.lab.example", 23, "[orin-1.lab.example]:23"),
        ),
        ("Host orin-1\nHostName 192.0.2.1\nHostKeyAlias Rack-1", "orin-1", ("192.0.2.1", 22, "rack-1")),
        ("Port 2222\nHostKeyAlias orin", "orin-1", ("orin-1", 2222, "orin")),
        ("Match exec true\nHostName 192.0.2.9", "orin-1", ("192.0.2.9", 22, "192.0.2.9")),
        ("", "fd00::11", ("fd00::11", 22, "fd00::11")),
    ],
)
def test_a_destination_is_where_ssh_connects_and_has_the_name_that_ssh_looks_up(
    tmp_path: Path, configuration: str, host: str, found: tuple[str, int, str]
) -> None:
    to = ssh.resolve("board-1", configured(tmp_path, configuration, host))
    assert (to.host, to.port, to.name) == found
    assert to.address == host


def test_a_file_that_the_configuration_includes_counts(tmp_path: Path) -> None:
    (tmp_path / "more").write_text("Host orin-1\nHostName 192.0.2.3\n")
    assert ssh.resolve("b", configured(tmp_path, f'Include "{tmp_path}/more"', "orin-1")).host == "192.0.2.3"


@pytest.mark.parametrize(
    ("given", "what"),
    [
        (["-oProxyCommand=touch x"], "its address"),
        (["orin;touch x"], "its address"),
        (["$(touch x)"], "its address"),
        ([""], "its address"),
        (["-o", "HostName=a;touch x", "orin"], "its HostName"),
        (["-o", "HostName=-oProxyCommand=x", "orin"], "its HostName"),
        (["-o", "User=-oProxyCommand=x", "orin"], "its user"),
        (["-o", "User=`touch x`", "orin"], "its user"),
        (["-o", "HostKeyAlias=*", "orin"], "its name in known_hosts"),
        (["-o", "HostKeyAlias=a,b", "orin"], "its name in known_hosts"),
        (["-o", "HostKeyAlias=@revoked", "orin"], "its name in known_hosts"),
    ],
)
def test_what_would_be_an_option_a_command_or_a_pattern_is_refused(given: list[str], what: str) -> None:
    by_ssh = "" if what == "its address" else "|ssh does not accept the options"  # some versions do it themselves
    with pytest.raises(AnalysisError, match=f"board-1: {what}.* is .*: correct it{by_ssh}"):
        ssh.resolve("board-1", words(*given))


def test_what_ssh_does_not_accept_is_told_in_its_words(tmp_path: Path) -> None:
    with pytest.raises(AnalysisError, match=r"the options of board-1: .*ssh_config.*line 1: Bad configuration option"):
        ssh.resolve("board-1", configured(tmp_path, "Prot 22", "orin"))
    with pytest.raises(AnalysisError, match=r"ProxyCommand=nc %x has %x, which ssh does not support"):
        ssh.resolve("board-1", words("-o", "ProxyCommand=nc %x", "orin"))


def test_a_jump_is_made_as_ssh_makes_it() -> None:
    """Of all options a jump has -F alone: the file of the boards' keys is not the one that knows the jump."""
    given = ["-o", "UserKnownHostsFile=/boards", "-o", "ProxyJump=a@one:23,[fd00::1]:24,u@last", "-p", "22", "orin"]
    to = ssh.resolve("b", ("/usr/bin/ssh", "-F", "/etc/none", "-F", "/dev/null", *given))
    own = ["-F", "/dev/null", "-J", "a@one:23,[fd00::1]:24", "u@last"]
    assert to.proxy[0] == "/usr/bin/ssh"
    assert list(to.proxy[-7:]) == ["-W", "[orin]:22", *own]
    assert not any("KnownHosts" in word or "StrictHostKey" in word for word in to.proxy)
    assert ssh.jump(NONE, ["u@one:23"])[-1] == "ssh://u@one:23"
    assert ssh.jump(NONE, ["[fd00::1]"])[-1] == "ssh://[fd00::1]"


def test_a_way_in_a_circle_is_refused_before_anything_is_started(tmp_path: Path) -> None:
    with pytest.raises(AnalysisError, match="the jump hosts of board-1 form a cycle"):
        ssh.hops("board-1", configured(tmp_path, "Host a\nProxyJump b\nHost b\nProxyJump a\n", "a"))


def test_options_that_cannot_be_split_into_words_are_named() -> None:
    options = {"ssh_executable": "ssh", "ssh_args": "-o 'ProxyJump=gate"}
    with pytest.raises(AnalysisError, match=r"ssh_args is \"-o 'ProxyJump=gate\".*No closing quotation"):
        ssh.command(SimpleNamespace(get_option=options.get), "orin")


def test_a_proxys_command_has_what_ssh_puts_into_it(tmp_path: Path) -> None:
    configuration = "HostName 192.0.2.1\nPort 23\nUser me\nHostKeyAlias rack\nProxyCommand nc %h %p %r %n %k %%h\n"
    to = ssh.resolve("b", configured(tmp_path, configuration, "orin"))
    assert to.proxy[1:] == ("-c", "exec nc 192.0.2.1 23 me orin rack %h")


# ---- over real ssh ----


class Net:
    """Ssh servers on this machine, and a configuration in which each has a name."""

    def __init__(self, folder: Path, servers: list[Server]) -> None:
        self.folder, self.servers = folder, servers
        self.jumps = folder / "jumps"
        self.jumps.write_text("".join(server.pin for server in servers))

    def configuration(self, more: str = "") -> str:
        hosts = [
            f'Host {server.name}\nHostName 127.0.0.1\nPort {server.port}\nIdentityFile "{self.folder}/id"\n'
            f'UserKnownHostsFile "{self.jumps}"\nIdentitiesOnly yes\n'
            for server in self.servers
        ]
        return f"{more}\n{''.join(hosts)}"

    def through(self, more: str, *given: str) -> tuple[str, ...]:
        return configured(self.folder, self.configuration(more), *given)


@pytest.fixture
def net(tmp_path: Path) -> Iterator[Net]:
    key = make_key(tmp_path / "id")
    servers = [Server(name, tmp_path / name, key) for name in ("gate", "inner", "board")]
    try:
        for server in servers:
            server.start()
        yield Net(tmp_path, servers)
    finally:
        for server in servers:
            if hasattr(server, "process"):
                server.kill()


def host_key(given: tuple[str, ...], timeout_s: float = 10.0) -> str:
    """The host key of the server that this command leads to."""
    return host_key_of(ssh.resolve("board-1", given), timeout_s)


def host_key_of(to: ssh.Destination, timeout_s: float) -> str:
    with connect(to, timeout_s) as connection:
        transport = paramiko.Transport(connection.socket)
        transport.banner_timeout = timeout_s
        try:
            with connection.breaking_off():
                transport.start_client(timeout=timeout_s)
                key = transport.get_remote_server_key()
        finally:
            transport.close()
    return f"{key.get_name()} {key.get_base64()}"


def children() -> set[str]:
    return set(Path(f"/proc/{os.getpid()}/task/{os.getpid()}/children").read_text().split())


GIVES_SOCKET = """\
import socket, sys
made = socket.create_connection((sys.argv[1], int(sys.argv[2])))
socket.send_fds(socket.socket(fileno=1), [b"x"], [made.fileno()])
"""


@needs_root
@pytest.mark.parametrize(
    "way",
    [
        "Host board\nPort {board}",
        "Host board\nProxyJump gate",
        "Host board\nProxyJump gate,inner",
        "Host inner\nProxyJump gate\nHost board\nProxyJump inner",
        "Host 127.0.0.1\nUserKnownHostsFile {jumps}\nIdentityFile {id}\nHost board\nProxyJump root@127.0.0.1:{gate}",
        "Host board\nProxyCommand ssh -F '{config}' -W %h:%p gate",
        "Host board\nProxyCommand {python} -c 'import sys, {relay}' %h %p",
        "Host board\nProxyUseFdpass yes\nProxyCommand {python} '{gives}' %h %p",
        "Host board\nBindAddress 127.0.0.1\nAddressFamily inet",
        "Host board\nBindInterface lo",
        "Host *\nPermitLocalCommand yes\nLocalCommand echo noise\nHost board\nProxyJump gate",
    ],
)
def test_the_board_is_reached_as_ssh_reaches_it_and_no_process_stays(net: Net, way: str) -> None:
    gate, _, board = net.servers
    gives = net.folder / "gives.py"
    gives.write_text(GIVES_SOCKET)
    relay = (
        "os, socket, threading; s = socket.create_connection((sys.argv[1], int(sys.argv[2]))); "
        'threading.Thread(target=lambda: [s.sendall(x) for x in iter(lambda: os.read(0, 65536), b"")], daemon=True)'
        '.start(); [os.write(1, x) for x in iter(lambda: s.recv(65536), b"")]'
    )
    values = {"gate": gate.port, "board": board.port, "jumps": f'"{net.jumps}"', "id": f'"{net.folder}/id"'}
    values |= {"config": net.folder / "ssh_config", "python": sys.executable, "relay": relay, "gives": gives}
    before = children()
    assert host_key(net.through(way.format(**values, folder=net.folder), "board")) == board.host_key
    assert children() == before
    # ssh itself finds the same one
    asked = subprocess.run(
        [*net.through(way.format(**values, folder=net.folder)), "-o", "BatchMode=yes", "board", "echo", "there"],
        capture_output=True,
        text=True,
        timeout=20,
    )
    assert "there" in asked.stdout, asked.stderr


@needs_root
def test_a_connection_that_others_may_share_is_not_left_open(net: Net) -> None:
    with tempfile.TemporaryDirectory() as folder:  # a socket's path must be short
        more = f"Host *\nControlMaster auto\nControlPersist yes\nControlPath {folder}/%C\nHost board\nProxyJump gate"
        assert host_key(net.through(more, "board")) == net.servers[2].host_key
        assert not list(Path(folder).iterdir())


@needs_root
@pytest.mark.parametrize(
    ("way", "told"),
    [
        ("Host gate\nUserKnownHostsFile /dev/null", r"whose host key is not known here .* once with {by_hand}"),
        (
            "Host gate\nUserKnownHostsFile {changed}",
            r"whose host key has changed .* {by_hand} shows",
        ),
        (
            "Host gate\nPubkeyAuthentication no",
            r"asks for a password .*Permission denied.* ssh-add, until {by_hand} asks for",
        ),
        (
            "Host board\nHostName 127.0.0.2",
            r"cannot reach 127.0.0.2 port \d+ \(.*refused\): check the board's power",
        ),
        ("Host gate\nPort 1", r"breaks off \(.*\): check whether {by_hand} works"),
    ],
)
def test_what_is_wrong_with_a_jump_host_is_told_with_its_name_and_the_remedy(net: Net, way: str, told: str) -> None:
    changed = net.folder / "changed"
    changed.write_text("".join(f"[127.0.0.1]:{net.servers[0].port} {server.host_key}\n" for server in net.servers[1:2]))
    given = net.through(f"{way.format(changed=changed)}\nHost board\nProxyJump gate\n", "board")
    by_hand = f"ssh -F {net.folder}/ssh_config gate"
    before, began = children(), time.monotonic()
    with pytest.raises(UnreachedError, match=r"^board \(127.*\) is reached through ProxyJump=gate, .*") as raised:
        host_key(given)
    assert re.search(told.format(by_hand=re.escape(by_hand)), str(raised.value)), raised.value
    assert children() == before
    assert time.monotonic() - began < 5


@needs_root
def test_a_jump_host_that_asks_for_a_password_is_not_waited_for(net: Net) -> None:
    """Also one behind another one, whose ssh is not called by us: it has no terminal, and no window."""
    askpass = net.folder / "askpass"
    askpass.write_text(f"#!/bin/sh\ntouch {net.folder}/asked\nsleep 60\n")
    askpass.chmod(0o755)
    gate = net.servers[0]
    (gate.folder / "authorized_keys").write_text("")
    for jumps in ("gate", "gate,inner"):
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("DISPLAY", ":0")
            patch.setenv("SSH_ASKPASS", str(askpass))
            with pytest.raises(UnreachedError, match=rf"ProxyJump={jumps}, which asks for a password or passphrase"):
                host_key(net.through(f"Host board\nProxyJump {jumps}", "board"))
    assert not (net.folder / "asked").exists()


def test_a_proxy_that_says_nothing_is_not_waited_for_and_ends_with_what_it_started(tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    stubborn = f"trap '' TERM; sleep 60 & echo $! $$ >{pids}; wait; sleep 60"
    to = ssh.resolve("board-1", words("-o", f"ProxyCommand=sh -c {shlex.quote(stubborn)}", "board"))
    began = time.monotonic()
    with pytest.raises(
        UnreachedError, match=r"board is reached through ProxyCommand=.*breaks off \(no answer in 0.4 s\)"
    ):
        host_key_of(to, 0.4)
    assert time.monotonic() - began < 5
    # killed, and at most not yet reaped by whoever inherited it
    statuses = [Path(f"/proc/{pid}/status") for pid in pids.read_text().split()]
    assert len(statuses) == 2
    wait_until(lambda: not any(path.exists() and "zombie" not in path.read_text() for path in statuses))


@pytest.mark.parametrize(
    ("given", "told"),
    [
        (["no-such-board.invalid"], "the name no-such-board.invalid cannot be resolved"),
        (["orin..1"], "the name orin..1 cannot be resolved"),
        (
            ["-o", "HostName=no-such-board.invalid", "orin"],
            r"the name orin \(no-such-board.invalid\) cannot be resolved",
        ),
        (["-p", "1", "127.0.0.1"], "nothing listens on port 1"),
        (["-o", "BindAddress=192.0.2.1", "127.0.0.1"], r"127.0.0.1 cannot be reached \(Cannot assign"),
        (["-o", "ProxyCommand=false", "orin"], r"ProxyCommand=false, but the connection breaks off"),
        (["-o", "ProxyCommand=echo no such host >&2", "orin"], r"breaks off \(no such host\)"),
        (
            ["-o", "ProxyCommand=true", "-o", "ProxyUseFdpass=yes", "orin"],
            r"ProxyCommand=true, but the connection breaks off",
        ),
    ],
)
def test_what_is_wrong_with_the_way_is_told(given: list[str], told: str) -> None:
    with pytest.raises(UnreachedError, match=told):
        host_key(words(*given))
