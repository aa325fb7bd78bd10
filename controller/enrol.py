"""First contact with a board: whose host key is it, and can Ansible log in and become root from now on?"""

from __future__ import annotations

import logging
import shlex
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import paramiko
from paramiko.pkey import PublicBlob

from analysis.runs.errors import AnalysisError
from controller import known_hosts, ssh
from controller.answer import marked, own_words
from controller.connection import Connection, connect, environment
from controller.known_hosts import Pin
from controller.ssh import Destination

logging.getLogger("paramiko").addHandler(logging.NullHandler())  # what goes wrong is told in a sentence of ours

# $1 is the public key. A key that is there, with whatever comment or restriction, is left alone.
_ADD_KEY = """
set -eu; umask 077; cd; mkdir -p .ssh; touch .ssh/authorized_keys
if ! grep -v '^#' .ssh/authorized_keys | grep -qF "$(printf '%s' "$1" | cut -d' ' -f1-2)"; then
  [ -z "$(tail -c1 .ssh/authorized_keys)" ] || echo >>.ssh/authorized_keys
  printf '%s\n' "$1" >>.ssh/authorized_keys
fi
chmod 0700 .ssh; chmod 0600 .ssh/authorized_keys
"""

# $1 is the user. sudo reads no file with a dot in its name, so a rule counts only once visudo has found it good.
_ADD_SUDO_RULE = """
set -eu; umask 077; PATH=$PATH:/usr/sbin; new=/etc/sudoers.d/.cluster-kit.new
cat >$new <<END
# Ansible becomes root without a password: made by playbooks/enrol.yml of the cluster experiment kit.
$1 ALL=(ALL:ALL) NOPASSWD: ALL
END
chmod 0440 $new
visudo -cqf $new || { rm $new; exit 1; }
mv $new /etc/sudoers.d/cluster-kit
"""


class RefusalError(AnalysisError):
    """Why a board is not enrolled, and the remedy: one sentence, never with a password in it."""


@dataclass(frozen=True)
class Board:
    """A board, and how it is to be enrolled: the options of plugins/modules/enrol_board.py."""

    ssh: tuple[str, ...]  # as Ansible calls it for the board
    password: str = field(repr=False)  # empty: none is known
    known_hosts: str
    private_key_file: str
    public_key_file: str
    fingerprint: str
    accept_new: bool
    sudo_nopasswd: bool
    timeout_s: float
    confirmed: bool = False  # whether somebody found a new host key to be the board's

    @property
    def address(self) -> str:
        return self.ssh[-1]

    @cached_property
    def to(self) -> Destination:
        return ssh.hops(self.address, self.ssh)[-1]

    @property
    def user(self) -> str:
        return self.to.user

    def known(self) -> list[Pin]:
        return known_hosts.read_whole(Path(self.known_hosts)).of(self.to.name)


def enrol(board: Board, look: bool, found: dict[str, Any]) -> None:
    """Enrol the board, or only look. Raises RefusalError, or an OSError of the controller's.

    `found` says what was found and done, also where that ends with an error: host_key, changed, wants_password,
    wants_confirmation, sudo.
    """
    known = board.known()
    require_sense(board, known)
    pins = [pin for pin in known if not pin.marker]
    with open_connection(board, pins) as (transport, connection):
        host_key = transport.get_remote_server_key()
        found["host_key"] = shown(host_key) + ("" if pins else " (new)")
        require_right_key(board, host_key, known)
        with tempfile.NamedTemporaryFile("wb", suffix="-known_hosts") as accepted:
            accepted.write(known_hosts.with_pin(b"", board.to.name, host_key.get_name(), host_key.asbytes()))
            accepted.flush()
            key_works, sudo_works, detail = access(board, accepted.name)
        if not key_works and not any(words in detail for words in ("Permission denied", "Too many authentication")):
            raise RefusalError(
                f"{board.address} has the host key {shown(host_key)}, and yet Ansible's ssh does not get as far as "
                f"logging in ({detail}): see what {shlex.join([*board.ssh[:-1], '-v', board.address])} says"
            )
        needs_password = not key_works or (board.sudo_nopasswd and not sudo_works)
        sends_password = bool(board.password) and not (key_works and sudo_works)
        unconfirmed = sends_password and not (pins or board.confirmed)
        found["changed"] = not pins or needs_password
        if look:
            found["wants_password"] = needs_password and not board.password
            found["wants_confirmation"] = unconfirmed and not board.fingerprint
            return
        if unconfirmed:
            raise RefusalError(
                f"{board.address} has the new host key {shown(host_key)}, which nobody confirmed: no password was "
                "sent; compare with what ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub prints on the board itself, "
                "and give it as enrol_fingerprint in the inventory's hosts.yml, or type yes in a terminal"
            )
        if not pins:
            known_hosts.add(Path(board.known_hosts), board.to.name, host_key.get_name(), host_key.asbytes())
        if needs_password and not board.password:
            raise RefusalError(
                f"{board.user}@{board.address} needs a password, and none was given: run the playbook in a terminal, "
                "which asks for it, or set enrol_password with Ansible Vault"
            )
        if not key_works:
            _add_key(transport, board, connection)
    if not key_works:
        key_works, sudo_works, detail = access(board, board.known_hosts)
        if not key_works:
            raise RefusalError(
                f"{board.address} has the key {board.public_key_file}, and still refuses Ansible's ssh ({detail}): "
                f"see that {board.private_key_file} belongs to it and is ansible_ssh_private_key_file, and that the "
                "board's sshd_config allows PubkeyAuthentication"
            )
    found["sudo"] = _become_root(board, sudo_works)


def shown(key: paramiko.PKey) -> str:
    """A host key as ssh shows it: type and SHA256 fingerprint."""
    return f"{key.algorithm_name} {key.fingerprint}"


def require_sense(board: Board, known: list[Pin]) -> None:
    """Raise RefusalError where enrolment cannot do what ssh's configuration or known_hosts ask for."""
    if board.to.remote_command:
        raise RefusalError(
            f"ssh has RemoteCommand={board.to.remote_command} for {board.address}, with which Ansible can run nothing: "
            "add -o RemoteCommand=none to ansible_ssh_common_args in the inventory's group_vars"
        )
    for pin in known:
        if pin.marker == known_hosts.AUTHORITY:
            raise RefusalError(
                f"{board.known_hosts}, line {pin.line}: {pin.marker} is for {board.to.name}, too, and enrolment knows "
                f"host keys only: add ,!{board.to.name} to the line's names, or give another enrol_known_hosts_file"
            )


def require_right_key(board: Board, key: paramiko.PKey, known: list[Pin]) -> None:
    """Raise RefusalError unless the board's host key is the pinned one, the expected one, or new and new ones do."""
    has = f"{board.address} has the host key {shown(key)}"
    for pin in known:
        if pin.marker == known_hosts.REVOKED and pin.blob == key.asbytes():
            raise RefusalError(
                f"{has}, which is {pin.marker} in {board.known_hosts}, line {pin.line}: somebody else may have it; "
                "make new ones on the board (sudo rm /etc/ssh/ssh_host_*; sudo dpkg-reconfigure openssh-server)"
            )
    pinned = [pin for pin in known if not pin.marker]
    if pinned and key.asbytes() not in [pin.blob for pin in pinned]:
        raise RefusalError(
            f"{has}, but {' and '.join(pin.shown for pin in pinned)} is pinned: "
            "if you reflashed the board, forget the old key with "
            f"ssh-keygen -f {shlex.quote(board.known_hosts)} -R {shlex.quote(board.to.name)} and enrol it again; "
            "if not, another machine answers in its place"
        )
    if board.fingerprint and key.fingerprint != board.fingerprint:
        raise RefusalError(
            f"{has}, but {board.fingerprint} is expected: no password was "
            "sent; compare with what ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub prints on the board itself, "
            "and correct enrol_fingerprint or ansible_host"
        )
    if not (pinned or board.fingerprint or board.accept_new):
        raise RefusalError(
            f"{board.address} has the new host key {shown(key)}, and enrol_accept_new is false: compare with what "
            "ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub prints on the board itself, and give it as "
            "enrol_fingerprint in the inventory's hosts.yml"
        )


@contextmanager
def open_connection(board: Board, pins: list[Pin]) -> Iterator[tuple[paramiko.Transport, Connection]]:
    """A connection that nobody has logged in to yet. A pinned type of host key is asked for first."""
    with ExitStack() as stack:
        connection = stack.enter_context(connect(board.to, board.timeout_s))
        transport = paramiko.Transport(connection.socket)
        stack.callback(transport.close)
        transport.banner_timeout = transport.handshake_timeout = board.timeout_s
        options = transport.get_security_options()
        wanted = [kind for kind in board.to.host_key_algorithms or options.key_types if kind in options.key_types]
        if not wanted:
            raise RefusalError(
                f"ssh has HostKeyAlgorithms={','.join(board.to.host_key_algorithms)} for {board.address}, of which "
                f"enrolment knows none: add one of {', '.join(options.key_types)}"
            )
        options.key_types = sorted(wanted, key=lambda kind: _kind(kind) not in [pin.kind for pin in pins])
        with connection.breaking_off():
            transport.start_client(timeout=board.timeout_s)
            transport.get_remote_server_key()  # there is none where time is up
        yield transport, connection


def _kind(algorithm: str) -> str:
    """The type of host key that an algorithm signs with."""
    return "ssh-rsa" if algorithm.startswith("rsa-sha2-") else algorithm


def _add_key(transport: paramiko.Transport, board: Board, connection: Connection) -> None:
    """Log in with the password and put the controller's key into authorized_keys."""
    line = public_key(board)
    with connection.breaking_off():
        _log_in(transport, board)
        channel = transport.open_session(timeout=board.timeout_s)
        channel.settimeout(board.timeout_s)
        channel.set_combine_stderr(True)
        channel.exec_command(f"sh -c {shlex.quote(_ADD_KEY)} sh {shlex.quote(line)}")
        output = channel.makefile().read().decode(errors="replace")
        status = channel.recv_exit_status()
    if status:
        raise RefusalError(
            f"{board.user}@{board.address} cannot keep a key in ~/.ssh/authorized_keys ({last_line(output)}): see "
            "that the home folder exists, is the user's own and has space"
        )


def _log_in(transport: paramiko.Transport, board: Board) -> None:
    try:
        transport.auth_password(board.user, board.password)
    except paramiko.BadAuthenticationType as error:
        raise RefusalError(
            f"{board.address} takes no passwords, only {', '.join(error.allowed_types)}: add the key "
            f"{board.public_key_file} to ~{board.user}/.ssh/authorized_keys on the board"
        ) from error
    except paramiko.AuthenticationException as error:
        raise RefusalError(
            f"{board.address} refuses the password of {board.user}: it is wrong, or the board has no such user; "
            "correct ansible_user, and give the password again"
        ) from error


def public_key(board: Board) -> str:
    path = Path(board.public_key_file)
    try:
        content = path.read_text(encoding="utf-8").strip()
        PublicBlob.from_string(content)
    except (OSError, ValueError) as error:
        raise RefusalError(
            f"{path} holds no public key: write it with ssh-keygen -y -f {shlex.quote(board.private_key_file)} "
            ">IT, or correct enrol_public_key_file"
        ) from error
    return content


def access(board: Board, known_hosts_file: str) -> tuple[bool, bool, str]:
    """Whether the key can log in, whether it gets root without a password, and what ssh said."""
    done = run(board, known_hosts_file, "LC_ALL=C sudo -kn true")
    return done.returncode != 255, done.returncode == 0, last_line(done.stderr)


def _become_root(board: Board, works: bool) -> str:
    """How sudo works on the board: 'free', 'password' or, where no password is known to try it with, 'untried'."""
    if works:
        return "free"
    if not board.password:
        return "untried"
    run_as_root(board, _ADD_SUDO_RULE if board.sudo_nopasswd else "true", free=False)
    if board.sudo_nopasswd and not access(board, board.known_hosts)[1]:
        raise RefusalError(
            f"sudo on {board.address} still asks {board.user} for a password: a file in /etc/sudoers.d that sorts "
            "after cluster-kit has a rule without NOPASSWD; remove it, or set enrol_sudo_nopasswd=false"
        )
    return "free" if board.sudo_nopasswd else "password"


def run_as_root(board: Board, script: str, free: bool) -> str:
    """Run a script on the board as root, and return what it prints; `free`: sudo asks for no password.

    The script's $1 is the account. Raises RefusalError with the reason of sudo's.
    """
    asked = "sudo -kn" if free else "sudo -kSp ''"
    command = f"LC_ALL=C {asked} sh -c {shlex.quote(marked(script))} sh {shlex.quote(board.user)}"
    done = run(board, board.known_hosts, command, "" if free else f"{board.password}\n")
    if any(words in done.stderr for words in ("not in the sudoers", "may not run sudo", "not allowed to")):
        raise RefusalError(
            f"{board.user} may not use sudo on {board.address}: let an administrator run usermod -aG sudo {board.user} "
            "there, or give another ansible_user"
        )
    if any(words in done.stderr for words in ("try again", "incorrect password")):
        raise RefusalError(
            f"sudo on {board.address} refuses the password of {board.user}, to whom the key logs in: give it again"
        )
    if done.returncode:
        raise RefusalError(
            f"sudo does not work for {board.user} on {board.address} ({last_line(own_words(done.stderr))}): "
            "try sudo -v there"
        )
    return own_words(done.stdout)


def run(board: Board, known_hosts_file: str, command: str, text: str = "") -> subprocess.CompletedProcess[str]:
    """Run a command on the board over a fresh connection, as Ansible will, but for where its host key is looked up."""
    options = {  # of the same option, ssh takes the first
        "BatchMode": "yes",
        "CheckHostIP": "no",
        "ConnectTimeout": f"{board.timeout_s:.0f}",
        "ControlMaster": "no",
        "ControlPath": "none",
        "GlobalKnownHostsFile": "/dev/null",
        "LogLevel": "ERROR",
        "PermitLocalCommand": "no",
        "ServerAliveCountMax": "3",
        "ServerAliveInterval": "10",
        "StrictHostKeyChecking": "yes",
        "UpdateHostKeys": "no",
        "UserKnownHostsFile": f'"{known_hosts_file}"',
        "VerifyHostKeyDNS": "no",
    }
    first = [part for name, value in options.items() for part in ("-o", f"{name}={value}")]
    return subprocess.run(
        [board.ssh[0], *first, *board.ssh[1:-1], "-T", board.address, command],
        input=text,
        capture_output=True,
        text=True,
        errors="replace",
        env=environment(),
        start_new_session=True,
    )


def last_line(text: str) -> str:
    return (text.strip().splitlines() or ["no reason given"])[-1]
