"""A run's folder on a board, over one ssh connection that is kept open.

ssh itself says what its options and configuration files amount to (`ssh -G`), so that a board is reached as Ansible
reaches it; paramiko connects. Host keys are checked on every hop, whatever StrictHostKeyChecking says.
"""

from __future__ import annotations

import logging
import re
import socket
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path, PurePath, PurePosixPath

import paramiko
from paramiko.auth_strategy import AuthSource, AuthStrategy, InMemoryPrivateKey
from paramiko.pkey import PublicBlob

from analysis.errors import AnalysisError
from analysis.watch.inventory import Access
from trainer.facts import EMULATED

TIMEOUT_S = 10.0  # for an answer, whatever was asked
_LOST = (OSError, EOFError, paramiko.SSHException)
_JUMPS = 8  # more of them are a circle

logging.getLogger("paramiko").addHandler(logging.NullHandler())  # what goes wrong is told in a sentence of ours


class LostError(Exception):
    """The board cannot be reached at the moment; it is worth trying again."""


class RefusedError(AnalysisError):
    """The board may not be used, or does not let us in: somebody has to do something first."""


@dataclass(frozen=True)
class Hop:
    """An ssh server: the board's, or one on the way to it."""

    host: str
    port: int
    user: str
    pinned_as: str  # its name in known_hosts, without the port
    pinned_port: int
    known_hosts: tuple[Path, ...]
    identities: tuple[Path, ...]  # private keys, or public ones of which the agent has the other half
    identities_only: bool  # no other keys of the agent


@dataclass(frozen=True)
class Route:
    """The way to a board."""

    board: str
    hops: tuple[Hop, ...]  # the last one is the board


def route(access: Access) -> Route:
    """What ssh makes of its options and configuration. Raises AnalysisError where watch cannot do the same."""
    return Route(access.board, tuple(_hops(access.board, access.ssh, _JUMPS)))


def _hops(board: str, ssh: Sequence[str], jumps: int) -> list[Hop]:
    options = _resolve(board, ssh)
    if options.get("proxycommand", ["none"]) != ["none"]:
        raise AnalysisError(f"{board} is reached with ProxyCommand, which watch does not know: use ProxyJump")
    if jumps == 0:
        raise AnalysisError(f"the way to {board} goes in a circle: look at ProxyJump in its options and ~/.ssh/config")
    before: list[Hop] = []
    *first, last = options.get("proxyjump", ["none"])[0].split(",")
    if last != "none":
        # as ssh does: a jump has the options of the configuration file alone
        program = [ssh[0], *_configuration(ssh), *(["-J", ",".join(first)] if first else [])]
        before = _hops(board, [*program, last if "://" in last else f"ssh://{last}"], jumps - 1)
    host, port = options["hostname"][0].lower(), int(options["port"][0])
    alias = options.get("hostkeyalias", ["none"])[0]
    lists = [*options.get("userknownhostsfile", []), *options.get("globalknownhostsfile", [])]
    return [
        *before,
        Hop(
            host=host,
            port=port,
            user=options["user"][0],
            pinned_as=host if alias == "none" else alias,
            pinned_port=port if alias == "none" else paramiko.config.SSH_PORT,
            known_hosts=tuple(path for each in lists for path in _paths(each)),
            identities=tuple(Path(each).expanduser() for each in options.get("identityfile", [])),
            identities_only=options.get("identitiesonly") == ["yes"],
        ),
    ]


def _resolve(board: str, ssh: Sequence[str]) -> dict[str, list[str]]:
    """The options by name in small letters, each with its values."""
    try:
        done = subprocess.run([ssh[0], "-G", *ssh[1:]], capture_output=True, text=True, timeout=TIMEOUT_S)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise AnalysisError(f"{ssh[0]} cannot tell the way to {board} ({error}): install OpenSSH's client") from error
    if done.returncode != 0:
        raise AnalysisError(f"ssh does not accept the options of {board}: {done.stderr.strip()}")
    options: dict[str, list[str]] = {}
    for line in done.stdout.splitlines():
        name, _, value = line.partition(" ")
        options.setdefault(name, []).append(value)
    return options


def _configuration(ssh: Sequence[str]) -> list[str]:
    """The option -F, where it is given."""
    for word, following in zip(ssh, [*ssh[1:], ""], strict=True):
        if word.startswith("-F"):
            return ["-F", word[2:] or following]
    return []


def _paths(listed: str) -> list[Path]:
    """Of a list in which ssh shows paths, unquoted: those may have blanks, but begin with a / or ~."""
    return [Path(path).expanduser() for path in re.split(r" (?=[/~])", listed)]


class Files:
    """The files of a run's folder on a board. All methods raise LostError when the connection is gone."""

    def __init__(self, sftp: paramiko.SFTPClient, folder: PurePosixPath) -> None:
        self._sftp, self._folder = sftp, folder
        with _lost():
            self.emulated = self._has(EMULATED)

    def exists(self) -> bool:
        """Whether the board has the folder."""
        with _lost():
            return self._has(self._folder)

    def size(self, name: str) -> int | None:
        """Bytes in a file, None where there is none."""
        with _lost():
            try:
                return self._sftp.stat(str(self._folder / name)).st_size
            except FileNotFoundError:
                return None

    def read(self, name: str, offset: int = 0) -> bytes:
        """What follows so many bytes; nothing where there is no such file."""
        with _lost():
            try:
                with self._sftp.open(str(self._folder / name), "rb") as file:
                    file.seek(offset)
                    return file.read()
            except FileNotFoundError:
                return b""

    def _has(self, path: PurePath) -> bool:
        try:
            self._sftp.stat(str(path))
        except FileNotFoundError:
            return False
        return True


@contextmanager
def connect(to: Route, folder: PurePosixPath) -> Iterator[Files]:
    """The files of this folder on the board, while the connection is used.

    Raises LostError where the board does not answer, RefusedError where a host key is not the pinned one or no key
    lets us in.
    """
    with ExitStack() as stack:
        before = stack.enter_context(_log_in(to.board, to.hops[0], None))
        for hop in to.hops[1:]:
            before = stack.enter_context(_log_in(to.board, hop, before))
        with _lost():
            channel = stack.enter_context(before.open_session(timeout=TIMEOUT_S))
            channel.settimeout(TIMEOUT_S)
            channel.invoke_subsystem("sftp")
            sftp = paramiko.SFTPClient(channel)
        yield Files(sftp, folder)


@contextmanager
def _log_in(board: str, hop: Hop, before: paramiko.Transport | None) -> Iterator[paramiko.Transport]:
    client = paramiko.SSHClient()
    for path in hop.known_hosts:
        if path.is_file():
            client.load_system_host_keys(str(path))
    client.set_missing_host_key_policy(_Unknown(board, hop))
    try:
        with _lost():
            try:
                client.connect(
                    hop.pinned_as,
                    hop.pinned_port,
                    hop.user,
                    sock=_way(hop, before),
                    timeout=TIMEOUT_S,
                    banner_timeout=TIMEOUT_S,
                    auth_timeout=TIMEOUT_S,
                    auth_strategy=_Keys(hop),
                )
            except paramiko.BadHostKeyException as error:
                raise RefusedError(
                    f"{board}: {_named(hop)} has the host key {_shown(error.key)}, but {_shown(error.expected_key)} is "
                    "pinned: if you reflashed it, playbooks/enrol.yml tells how to forget the old key; if not, another "
                    "machine answers in its place"
                ) from error
            except paramiko.AuthenticationException as error:
                if not _transport(client).is_active():  # it ended before there was an answer
                    raise
                raise RefusedError(
                    f"{board}: {_named(hop)} lets {hop.user} in with none of the keys "
                    f"{', '.join(map(str, hop.identities))}: playbooks/enrol.yml installs the key of a board"
                ) from error
        yield _transport(client)
    finally:
        client.close()


def _transport(client: paramiko.SSHClient) -> paramiko.Transport:
    transport = client.get_transport()
    if transport is None:
        raise LostError("the connection ended")
    return transport


def _way(hop: Hop, before: paramiko.Transport | None) -> socket.socket | paramiko.Channel:
    """What leads to the hop: a connection of our own, or a channel through the hop before."""
    if before is None:
        return socket.create_connection((hop.host, hop.port), TIMEOUT_S)
    return before.open_channel("direct-tcpip", (hop.host, hop.port), ("127.0.0.1", 0), timeout=TIMEOUT_S)


class _Unknown(paramiko.MissingHostKeyPolicy):
    def __init__(self, board: str, hop: Hop) -> None:
        self._board, self._hop = board, hop

    def missing_host_key(self, client: paramiko.SSHClient, hostname: str, key: paramiko.PKey) -> None:
        listed = " or ".join(map(str, self._hop.known_hosts))
        raise RefusedError(
            f"{self._board}: the host key of {_named(self._hop)}, {_shown(key)}, is not in {listed}: "
            "playbooks/enrol.yml pins it"
        )


class _Keys(AuthStrategy):
    """The keys that ssh would offer: of files first, then the agent's."""

    def __init__(self, hop: Hop) -> None:
        super().__init__(ssh_config=paramiko.SSHConfig())
        self._hop = hop

    def get_sources(self) -> Iterator[AuthSource]:
        agents = {key.asbytes(): key for key in paramiko.Agent().get_keys()}
        for path in self._hop.identities:
            yield from self._of(path, agents)
        for key in () if self._hop.identities_only else agents.values():
            yield InMemoryPrivateKey(self._hop.user, key)

    def _of(self, path: Path, agents: Mapping[bytes, paramiko.AgentKey]) -> Iterator[AuthSource]:
        key: paramiko.PKey | None = None
        try:
            key = paramiko.PKey.from_path(path)
        except (OSError, ValueError, TypeError, paramiko.SSHException):
            # locked with a passphrase, or the public half: the agent may have it
            with suppress(OSError, ValueError):
                half = path if path.suffix == ".pub" else path.with_name(f"{path.name}.pub")
                key = agents.get(PublicBlob.from_file(str(half)).key_blob)
        if key is not None:
            yield InMemoryPrivateKey(self._hop.user, key)


@contextmanager
def _lost() -> Iterator[None]:
    """Errors of a connection, as LostError."""
    try:
        yield
    except _LOST as error:
        raise LostError(str(error) or type(error).__name__) from error


def _named(hop: Hop) -> str:
    """As in known_hosts."""
    return hop.pinned_as if hop.pinned_port == paramiko.config.SSH_PORT else f"[{hop.pinned_as}]:{hop.pinned_port}"


def _shown(key: paramiko.PKey) -> str:
    return f"{key.algorithm_name} {key.fingerprint}"
