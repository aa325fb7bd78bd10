"""Opens a connection as ssh would: directly, or through a jump host or proxy."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from typing import IO

import paramiko

from analysis.runs.errors import AnalysisError
from controller.ssh import Destination

_END_S = 2.0  # seconds for a proxy to end


class UnreachedError(AnalysisError):
    """An ssh server cannot be reached; the message has reason and remedy."""


@dataclass(frozen=True)
class Connection:
    """A connection to an ssh server, and its proxy process, if any."""

    to: Destination
    timeout_s: float
    socket: socket.socket | paramiko.Channel
    proxy: subprocess.Popen[bytes] | None = None
    errors: IO[bytes] | None = None

    @contextmanager
    def breaking_off(self) -> Iterator[None]:
        """Turns ssh's errors on this connection into UnreachedError."""
        try:
            yield
        except (paramiko.SSHException, EOFError, OSError) as error:
            if self.proxy is not None and self.errors is not None:
                self.socket.close()
                _end(self.proxy)
                self.errors.seek(0)
                said = self.errors.read().decode(errors="replace").strip()
                raise UnreachedError(_why_not(self.to, said, self.timeout_s)) from error
            raise UnreachedError(
                f"{self.to.shown} answers on port {self.to.port}, but the ssh connection breaks off "
                f"({error or type(error).__name__}): check that ansible_port is the ssh server's, and try "
                "again"
            ) from error


@contextmanager
def connect(to: Destination, timeout_s: float) -> Iterator[Connection]:
    """Connect to this ssh server, without logging in. Raises UnreachedError."""
    with tempfile.TemporaryFile() as errors, ExitStack() as stack:
        try:
            if to.proxy:
                made = _through(to, timeout_s, stack, errors)
            else:
                made = Connection(to, timeout_s, stack.enter_context(_direct(to, timeout_s)))
        except socket.gaierror as error:
            raise UnreachedError(
                f"the name {to.shown} cannot be resolved: correct ansible_host in hosts.yml"
            ) from error
        except ConnectionRefusedError as error:
            raise UnreachedError(
                f"{to.shown} is up, but nothing listens on port {to.port}: start the board's ssh server "
                "(sudo systemctl enable --now ssh), or correct ansible_port"
            ) from error
        except OSError as error:  # includes timeouts
            raise UnreachedError(
                f"{to.shown} cannot be reached ({error.strerror or f'no answer in {timeout_s:g} s'}): "
                "check the board's power and cable, and ansible_host"
            ) from error
        yield made


def _direct(to: Destination, timeout_s: float) -> socket.socket:
    failures: list[OSError] = []
    try:
        addresses = socket.getaddrinfo(to.host, to.port, to.family, socket.SOCK_STREAM)
    except UnicodeError as error:  # from a name that cannot be encoded
        raise socket.gaierror(socket.EAI_NONAME, str(error)) from error
    for family, kind, protocol, _, address in addresses:
        made = socket.socket(family, kind, protocol)
        try:
            made.settimeout(timeout_s)
            if to.bind_interface:
                made.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, to.bind_interface.encode())
            if to.bind_address:
                made.bind((to.bind_address, 0))
            made.connect(address)
        except OSError as error:
            made.close()
            failures.append(error)
        else:
            return made
    raise failures[0]


def _through(to: Destination, timeout_s: float, stack: ExitStack, errors: IO[bytes]) -> Connection:
    ours, theirs = socket.socketpair()
    with theirs:
        stack.enter_context(ours)
        process = subprocess.Popen(
            to.proxy,
            stdin=theirs.fileno(),
            stdout=theirs.fileno(),
            stderr=errors,
            env=environment(),
            start_new_session=True,
        )
    stack.callback(_end, process)
    made = Connection(to, timeout_s, ours, process, errors)
    if to.proxy_gives_socket:
        with made.breaking_off():
            ours.settimeout(timeout_s)
            _, numbers, _, _ = socket.recv_fds(ours, 1, 1)
            if not numbers:
                raise EOFError
        made = Connection(to, timeout_s, stack.enter_context(socket.socket(fileno=numbers[0])), process, errors)
    return made


def environment() -> dict[str, str]:
    """Environment for an ssh without a terminal that opens no window to ask questions."""
    kept = {name: value for name, value in os.environ.items() if name not in ("DISPLAY", "WAYLAND_DISPLAY")}
    return {**kept, "SSH_ASKPASS_REQUIRE": "never"}


def _end(process: subprocess.Popen[bytes]) -> None:
    """End a proxy and all its child processes."""
    if process.returncode is not None:
        return
    deadline = time.monotonic() + _END_S
    with suppress(ProcessLookupError, ChildProcessError):
        # the group's id stays reserved until its first process is waited for
        os.killpg(process.pid, signal.SIGTERM)
        while not os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT | os.WNOHANG):
            if time.monotonic() > deadline:
                break
            time.sleep(0.01)
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


# ssh's messages about a jump host, and what they mean; the first match counts.
_MEANINGS = {
    "IDENTIFICATION HAS CHANGED": "whose host key has changed ({said}): find out why before you log in there again; "
    "{by_hand} shows the file and line of the old key",
    "Host key verification failed": "whose host key is not known here yet ({said}): log in there once with {by_hand}, "
    "and compare the key that it shows",
    "Permission denied": "which asks for a password or passphrase ({said}): add its key to ssh-agent with ssh-add, "
    "until {by_hand} asks for nothing",
    "Too many authentication failures": "which was offered too many keys ({said}): set IdentityFile to the right one, "
    "with IdentitiesOnly yes, until {by_hand} asks for nothing",
    "administratively prohibited": "whose ssh server does not forward connections ({said}): set AllowTcpForwarding "
    "yes there",
    "open failed": "which cannot reach {host} port {port} ({said}): check the board's power and cable, and that "
    "ansible_host and ansible_port are right as seen from there",
    "": "but the connection breaks off ({said}): check whether {by_hand} works",
}


def _why_not(to: Destination, complaint: str, timeout_s: float) -> str:
    """Why the proxy did not reach its destination, and the remedy, from its output."""
    words, meaning = next((words, meaning) for words, meaning in _MEANINGS.items() if words in complaint)
    lines = [line.strip() for line in complaint.splitlines() if words in line]
    said = (lines or [f"no answer in {timeout_s:g} s"])[-1].strip("@ ")
    told = meaning.format(said=said, by_hand=to.proxy_by_hand or "that command", host=to.host, port=to.port)
    return f"{to.shown} is reached through {to.proxy_shown}, {told}"
