"""First contact with a board: whose host key is it, and can Ansible log in and become root from now on?"""

from __future__ import annotations

import fcntl
import logging
import os
import shlex
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import paramiko
from ansible.plugins.action import ActionBase
from paramiko.pkey import PublicBlob

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
visudo -cqf $new
mv $new /etc/sudoers.d/cluster-kit
"""


class RefusalError(Exception):
    """Why a board is not enrolled, and the remedy: one sentence, never with a password in it."""


@dataclass(frozen=True)
class Board:
    """A board, and how it is to be enrolled: the options of library/enrol_board.py."""

    address: str
    port: int
    user: str
    password: str = field(repr=False)  # empty: none is known
    known_hosts: str
    private_key_file: str
    public_key_file: str
    fingerprint: str
    accept_new: bool
    sudo_nopasswd: bool
    timeout_s: float

    @property
    def name(self) -> str:
        """Its name in known_hosts."""
        host = self.address.lower()
        return host if self.port == 22 else f"[{host}]:{self.port}"

    def pins(self) -> dict[str, paramiko.PKey]:
        """Its host keys that known_hosts has, by type."""
        path = Path(self.known_hosts)
        return dict(paramiko.HostKeys(str(path)).lookup(self.name) or {}) if path.exists() else {}


class ActionModule(ActionBase):
    """enrol_board: see library/enrol_board.py."""

    def run(self, tmp: Any = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        answer: dict[str, Any] = super().run(tmp, task_vars)
        _, arguments = self.validate_argument_spec(
            {
                "address": {"type": "str", "required": True},
                "port": {"type": "int", "default": 22},
                "user": {"type": "str", "required": True},
                "password": {"type": "str", "default": "", "no_log": True},
                "known_hosts": {"type": "path", "required": True},
                "private_key_file": {"type": "path", "required": True},
                "public_key_file": {"type": "path", "required": True},
                "fingerprint": {"type": "str", "default": ""},
                "accept_new": {"type": "bool", "default": True},
                "sudo_nopasswd": {"type": "bool", "default": True},
                "timeout_s": {"type": "float", "default": 10.0},
                "look": {"type": "bool", "default": False},
            }
        )
        look = arguments.pop("look") or self._task.check_mode
        found = {"host_key": "", "changed": False, "wants_password": False, "sudo": "", "problem": ""}
        try:
            _enrol(Board(**arguments), look, found)
        except RefusalError as error:
            found["problem"] = str(error)
        except OSError as error:
            found["problem"] = f"the controller lacks something to enrol it: {error}"
        return {**answer, **found}


def _enrol(board: Board, look: bool, found: dict[str, Any]) -> None:
    """Enrol the board, or only look; `found` says what was found and done, also where that ends with an error."""
    pins = board.pins()
    with _connect(board, pins) as transport:
        host_key = transport.get_remote_server_key()
        found["host_key"] = shown(host_key) + ("" if pins else " (new)")
        require_right_key(board, host_key, pins)
        with tempfile.NamedTemporaryFile("w", suffix="-known_hosts") as accepted:
            accepted.write(with_pin("", board.name, host_key))
            accepted.flush()
            key_works, sudo_works, _ = _access(board, accepted.name)
        needs_password = not key_works or (board.sudo_nopasswd and not sudo_works)
        found["changed"] = not pins or needs_password
        if look:
            found["wants_password"] = needs_password and not board.password
            return
        if not pins:
            pin(Path(board.known_hosts), board.name, host_key)
        if needs_password and not board.password:
            raise RefusalError(
                f"{board.user}@{board.address} needs a password, and none was given: run the playbook in a terminal, "
                "which asks for it, or set enrol_password with Ansible Vault"
            )
        if not key_works:
            _add_key(transport, board)
    if not key_works:
        key_works, sudo_works, detail = _access(board, board.known_hosts)
        if not key_works:
            raise RefusalError(
                f"{board.address} has the key {board.public_key_file}, and still refuses it ({detail}): see that "
                f"{board.private_key_file} belongs to it, and that the board's sshd_config allows PubkeyAuthentication"
            )
    found["sudo"] = _become_root(board, sudo_works)


def shown(key: paramiko.PKey) -> str:
    """A host key as ssh shows it: type and SHA256 fingerprint."""
    return f"{key.algorithm_name} {key.fingerprint}"


def require_right_key(board: Board, key: paramiko.PKey, pins: dict[str, paramiko.PKey]) -> None:
    """Raise RefusalError unless the board's host key is the pinned one, the expected one, or new and new ones do."""
    if pins and key.asbytes() not in [pinned.asbytes() for pinned in pins.values()]:
        raise RefusalError(
            f"{board.address} has the host key {shown(key)}, but {' and '.join(map(shown, pins.values()))} is pinned: "
            "if you reflashed the board, forget the old key with "
            f"ssh-keygen -f {shlex.quote(board.known_hosts)} -R {shlex.quote(board.name)} and enrol it again; "
            "if not, another machine answers in its place"
        )
    if board.fingerprint and key.fingerprint != board.fingerprint:
        raise RefusalError(
            f"{board.address} has the host key {shown(key)}, but {board.fingerprint} is expected: no password was "
            "sent; compare with what ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub prints on the board itself, "
            "and correct enrol_fingerprint or ansible_host"
        )
    if not (pins or board.fingerprint or board.accept_new):
        raise RefusalError(
            f"{board.address} has the new host key {shown(key)}, and enrol_accept_new is false: compare with what "
            "ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub prints on the board itself, and give it as "
            "enrol_fingerprint in the inventory's hosts.yml"
        )


def with_pin(known_hosts: str, name: str, key: paramiko.PKey) -> str:
    """The text of a known_hosts file with a board's key added: sorted, a line each."""
    lines = {line for line in known_hosts.splitlines() if line.strip()}
    return "".join(f"{line}\n" for line in sorted(lines | {f"{name} {key.get_name()} {key.get_base64()}"}))


def pin(known_hosts: Path, name: str, key: paramiko.PKey) -> None:
    """Add a board's key to known_hosts, while other boards' keys are added by other processes."""
    folder = os.open(known_hosts.parent, os.O_RDONLY)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        before = known_hosts.read_text(encoding="utf-8") if known_hosts.exists() else ""
        new = known_hosts.with_name(f".{known_hosts.name}.new")
        new.write_text(with_pin(before, name, key), encoding="utf-8")
        new.chmod(0o644)
        new.replace(known_hosts)
    finally:
        os.close(folder)


@contextmanager
def _connect(board: Board, pins: dict[str, paramiko.PKey]) -> Iterator[paramiko.Transport]:
    """A connection that nobody has logged in to yet. A pinned type of host key is asked for first."""
    try:
        connection = socket.create_connection((board.address, board.port), board.timeout_s)
    except socket.gaierror as error:
        raise RefusalError(f"the name {board.address} is not known: correct ansible_host in hosts.yml") from error
    except ConnectionRefusedError as error:
        raise RefusalError(
            f"{board.address} is there, but nothing answers on port {board.port}: start the board's ssh server "
            "(sudo systemctl enable --now ssh), or correct ansible_port"
        ) from error
    except OSError as error:  # a timeout among them
        raise RefusalError(
            f"{board.address} cannot be reached ({error.strerror or f'no answer in {board.timeout_s:.0f} s'}): "
            "see that the board is on and its cable in, and that ansible_host is right"
        ) from error
    transport = paramiko.Transport(connection)
    transport.banner_timeout = board.timeout_s
    options = transport.get_security_options()
    options.key_types = sorted(options.key_types, key=lambda kind: _kind(kind) not in pins)
    try:
        with _no_break_off(board):
            transport.start_client(timeout=board.timeout_s)
        yield transport
    finally:
        transport.close()


def _kind(algorithm: str) -> str:
    """The type of host key that an algorithm signs with."""
    return "ssh-rsa" if algorithm.startswith("rsa-sha2-") else algorithm


@contextmanager
def _no_break_off(board: Board) -> Iterator[None]:
    try:
        yield
    except (paramiko.SSHException, EOFError, OSError) as error:
        raise RefusalError(
            f"{board.address} answers on port {board.port}, but ssh with it breaks off "
            f"({error or type(error).__name__}): see that ansible_port is the board's ssh server, and try again"
        ) from error


def _add_key(transport: paramiko.Transport, board: Board) -> None:
    """Log in with the password and put the controller's key into authorized_keys."""
    public_key = _public_key(board)
    with _no_break_off(board):
        _log_in(transport, board)
        channel = transport.open_session(timeout=board.timeout_s)
        channel.settimeout(board.timeout_s)
        channel.set_combine_stderr(True)
        channel.exec_command(f"sh -c {shlex.quote(_ADD_KEY)} sh {shlex.quote(public_key)}")
        output = channel.makefile().read().decode(errors="replace")
        status = channel.recv_exit_status()
    if status:
        raise RefusalError(
            f"{board.user}@{board.address} cannot keep a key in ~/.ssh/authorized_keys ({_last_line(output)}): see "
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


def _public_key(board: Board) -> str:
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


def _access(board: Board, known_hosts: str) -> tuple[bool, bool, str]:
    """Whether the key can log in, whether it gets root without a password, and what ssh said."""
    done = _ssh(board, known_hosts, "LC_ALL=C sudo -kn true")
    return done.returncode != 255, done.returncode == 0, _last_line(done.stderr)


def _become_root(board: Board, works: bool) -> str:
    """How sudo works on the board: 'free', 'password' or, where no password is known to try it with, 'untried'."""
    if works:
        return "free"
    if not board.password:
        return "untried"
    script = _ADD_SUDO_RULE if board.sudo_nopasswd else "true"
    command = f"LC_ALL=C sudo -kSp '' sh -c {shlex.quote(script)} sh {shlex.quote(board.user)}"
    done = _ssh(board, board.known_hosts, command, f"{board.password}\n")
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
            f"sudo does not work for {board.user} on {board.address} ({_last_line(done.stderr)}): try sudo -v there"
        )
    if board.sudo_nopasswd and not _access(board, board.known_hosts)[1]:
        raise RefusalError(
            f"sudo on {board.address} still asks {board.user} for a password: a file in /etc/sudoers.d that sorts "
            "after cluster-kit has a rule without NOPASSWD; remove it, or set enrol_sudo_nopasswd=false"
        )
    return "free" if board.sudo_nopasswd else "password"


def _ssh(board: Board, known_hosts: str, command: str, text: str = "") -> subprocess.CompletedProcess[str]:
    """Run a command on the board over a fresh connection, as Ansible will: with the key, and strict about the host."""
    options = {
        "BatchMode": "yes",
        "ConnectTimeout": f"{board.timeout_s:.0f}",
        "ControlPath": "none",
        "GlobalKnownHostsFile": "/dev/null",
        "IdentitiesOnly": "yes",
        "ServerAliveCountMax": "3",
        "ServerAliveInterval": "10",
        "StrictHostKeyChecking": "yes",
        "UserKnownHostsFile": f'"{known_hosts}"',
    }
    return subprocess.run(
        [
            *("ssh", "-T", "-i", board.private_key_file, "-p", str(board.port), "-l", board.user),
            *(part for name, value in options.items() for part in ("-o", f"{name}={value}")),
            *(board.address, command),
        ],
        input=text,
        capture_output=True,
        text=True,
        errors="replace",
    )


def _last_line(text: str) -> str:
    return (text.strip().splitlines() or ["no reason given"])[-1]
