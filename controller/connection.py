"""A connection to where ssh would connect: direct, or through a jump host or a proxy."""

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

_END_S = 2.0  # for a proxy to end by itself


class UnreachedError(AnalysisError):
    """Why an ssh server is not reached, and the remedy."""


@dataclass(frozen=True)
class Connection:
    """A connection to where an ssh server answers, and the proxy that leads there, if any."""

    to: Destination
    timeout_s: float
    socket: socket.socket | paramiko.Channel
    proxy: subprocess.Popen[bytes] | None = None
    errors: IO[bytes] | None = None

    @contextmanager
    def breaking_off(self) -> Iterator[None]:
        """Errors of ssh over this connection, as UnreachedError."""
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
                f"{self.to.shown} answers on port {self.to.port}, but ssh with it breaks off "
                f"({error or type(error).__name__}): see that ansible_port is the board's ssh server, and try again"
            ) from error


@contextmanager
def connect(to: Destination, timeout_s: float) -> Iterator[Connection]:
    """A connection to where this ssh server answers; nobody has logged in yet. Raises UnreachedError without one."""
    with tempfile.TemporaryFile() as errors, ExitStack() as stack:
        try:
            if to.proxy:
                made = _through(to, timeout_s, stack, errors)
            else:
                made = Connection(to, timeout_s, stack.enter_context(_direct(to, timeout_s)))
        except socket.gaierror as error:
            raise UnreachedError(f"the name {to.shown} is not known: correct ansible_host in hosts.yml") from error
        except ConnectionRefusedError as error:
            raise UnreachedError(
                f"{to.shown} is there, but nothing answers on port {to.port}: start the board's ssh server "
                "(sudo systemctl enable --now ssh), or correct ansible_port"
            ) from error
        except OSError as error:  # a timeout among them
            raise UnreachedError(
                f"{to.shown} cannot be reached ({error.strerror or f'no answer in {timeout_s:g} s'}): "
                "see that the board is on and its cable in, and that ansible_host is right"
            ) from error
        yield made


def _direct(to: Destination, timeout_s: float) -> socket.socket:
    failures: list[OSError] = []
    try:
        addresses = socket.getaddrinfo(to.host, to.port, to.family, socket.SOCK_STREAM)
    except UnicodeError as error:  # of a name that no name server could be asked for
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
    """For an ssh in a session of its own, so without a terminal: it opens no window for its questions either."""
    kept = {name: value for name, value in os.environ.items() if name not in ("DISPLAY", "WAYLAND_DISPLAY")}
    return {**kept, "SSH_ASKPASS_REQUIRE": "never"}


def _end(process: subprocess.Popen[bytes]) -> None:
    """End a proxy, with whatever it started."""
    if process.returncode is not None:
        return
    deadline = time.monotonic() + _END_S
    with suppress(ProcessLookupError, ChildProcessError):
        # the group's number stays taken until its first process is waited for
        os.killpg(process.pid, signal.SIGTERM)
        while not os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT | os.WNOHANG):
            if time.monotonic() > deadline:
                break
            time.sleep(0.01)
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


# What ssh says on its way through a jump host, and what that means; the first one that fits.
_MEANINGS = {
    "IDENTIFICATION HAS CHANGED": "which has another host key than the one that is known ({said}): find out why before "
    "you log in there again; {by_hand} tells in which file and line the old one is",
    "Host key verification failed": "whose host key nobody has accepted here yet ({said}): log in there once by hand "
    "with {by_hand}, and compare the key that it shows",
    "Permission denied": "which lets nobody in without a question ({said}): give ssh-agent the key for it with "
    "ssh-add, until {by_hand} asks for nothing",
    "Too many authentication failures": "which was offered too many keys ({said}): name the right one as IdentityFile, "
    "with IdentitiesOnly yes, until {by_hand} asks for nothing",
    "administratively prohibited": "whose ssh server leads nobody further ({said}): set AllowTcpForwarding yes there",
    "open failed": "which does not reach {host} port {port} ({said}): see that the board is on and its cable in, and "
    "that ansible_host and ansible_port are right as seen from there",
    "": "and that breaks off ({said}): see whether {by_hand} works",
}


def _why_not(to: Destination, complaint: str, timeout_s: float) -> str:
    """Why the proxy did not lead to its destination, and the remedy, from what it said."""
    words, meaning = next((words, meaning) for words, meaning in _MEANINGS.items() if words in complaint)
    lines = [line.strip() for line in complaint.splitlines() if words in line]
    said = (lines or [f"no answer in {timeout_s:g} s"])[-1].strip("@ ")
    told = meaning.format(said=said, by_hand=to.proxy_by_hand or "that command", host=to.host, port=to.port)
    return f"{to.shown} is reached through {to.proxy_shown}, {told}"
