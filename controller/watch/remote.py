"""A run's folder on a board, over one ssh connection that is kept open.

paramiko connects, to where ssh would. Host keys are checked on every hop, whatever StrictHostKeyChecking says.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path, PurePath, PurePosixPath

import paramiko
from paramiko.auth_strategy import AuthSource, AuthStrategy, InMemoryPrivateKey
from paramiko.pkey import PublicBlob, UnknownKeyType

from analysis.runs.errors import AnalysisError
from controller import connection, known_hosts, ssh
from controller.answer import BEGIN
from controller.watch.inventory import Access
from trainer.contract.layout import EMULATED

TIMEOUT_S = 10.0  # for an answer, whatever was asked
_SERVERS = "/usr/lib/openssh/sftp-server /usr/libexec/openssh/sftp-server /usr/lib/ssh/sftp-server"
_SFTP = f"/bin/sh -c 'echo; echo {BEGIN}; for server in {_SERVERS}; do test -x $server && exec $server; done'"
_LOST = (OSError, EOFError, paramiko.SSHException, connection.UnreachedError)

logging.getLogger("paramiko").addHandler(logging.NullHandler())  # what goes wrong is told in a sentence of ours


class LostError(Exception):
    """The board cannot be reached at the moment; it is worth trying again."""


class RefusedError(AnalysisError):
    """The board may not be used, or does not let us in: somebody has to do something first."""


@dataclass(frozen=True)
class Route:
    """The way to a board."""

    board: str
    hops: tuple[ssh.Destination, ...]  # the last one is the board


def route(access: Access) -> Route:
    """What ssh makes of its options and configuration. Raises AnalysisError where it can make nothing of them."""
    return Route(access.board, tuple(ssh.hops(access.board, access.ssh)))


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
            _start_sftp(channel)
            sftp = paramiko.SFTPClient(channel)
        yield Files(sftp, folder)


def _start_sftp(channel: paramiko.Channel) -> None:
    """Start the SFTP server as sshd does, in the user's shell, but after a line of ours: what login scripts print comes
    before it."""
    channel.exec_command(_SFTP)
    said, line = b"", f"\n{BEGIN}\n".encode()
    while not said.endswith(line):
        more = channel.recv(1)  # what follows is the server's
        if not more:
            raise EOFError("the board ended the connection before it began")
        said += more


@contextmanager
def _log_in(board: str, hop: ssh.Destination, before: paramiko.Transport | None) -> Iterator[paramiko.Transport]:
    client = paramiko.SSHClient()
    for kind, key in _pins(board, hop).items():
        client.get_host_keys().add(hop.name, kind, key)
    client.set_missing_host_key_policy(_Unknown(board, hop))
    with ExitStack() as stack:
        stack.callback(client.close)
        with _lost():
            leading = _leading_to(hop, before, stack)
            with leading.breaking_off():
                try:
                    client.connect(
                        hop.pinned_as,
                        hop.pinned_port,
                        hop.user,
                        sock=leading.socket,
                        timeout=TIMEOUT_S,
                        banner_timeout=TIMEOUT_S,
                        auth_timeout=TIMEOUT_S,
                        auth_strategy=_Keys(hop),
                    )
                except paramiko.BadHostKeyException as error:
                    raise RefusedError(
                        f"{board}: {hop.name} has the host key {_shown(error.key)}, but {_shown(error.expected_key)} "
                        "is pinned: if you reflashed it, playbooks/enrol.yml tells how to forget the old key; if not, "
                        "another machine answers in its place"
                    ) from error
                except paramiko.AuthenticationException as error:
                    if not _transport(client).is_active():  # it ended before there was an answer
                        raise
                    raise RefusedError(
                        f"{board}: {hop.name} lets {hop.user} in with none of the keys "
                        f"{', '.join(map(str, hop.identities))}: playbooks/enrol.yml installs the key of a board"
                    ) from error
        yield _transport(client)


def _pins(board: str, hop: ssh.Destination) -> dict[str, paramiko.PKey]:
    """The host keys that its known_hosts files have of it, by type, but for what paramiko does not know."""
    try:
        found = [pin for path in hop.known_hosts if path.is_file() for pin in known_hosts.read(path).of(hop.name)]
    except AnalysisError as error:
        raise RefusedError(f"{board}: {error}") from error
    keys: dict[str, paramiko.PKey] = {}
    revoked = [pin.blob for pin in found if pin.marker == known_hosts.REVOKED]
    for pin in found:
        if not pin.marker and pin.kind not in keys and pin.blob not in revoked:
            with suppress(paramiko.SSHException, UnknownKeyType):
                keys[pin.kind] = paramiko.PKey.from_type_string(pin.kind, pin.blob)
    return keys


def _transport(client: paramiko.SSHClient) -> paramiko.Transport:
    transport = client.get_transport()
    if transport is None:
        raise LostError("the connection ended")
    return transport


def _leading_to(hop: ssh.Destination, before: paramiko.Transport | None, stack: ExitStack) -> connection.Connection:
    """What leads to the hop: a connection of our own, for as long as the stack lasts, or a channel through the last."""
    if before is None:
        return stack.enter_context(connection.connect(hop, TIMEOUT_S))
    channel = before.open_channel("direct-tcpip", (hop.host, hop.port), ("127.0.0.1", 0), timeout=TIMEOUT_S)
    return connection.Connection(hop, TIMEOUT_S, channel)


class _Unknown(paramiko.MissingHostKeyPolicy):
    def __init__(self, board: str, hop: ssh.Destination) -> None:
        self._board, self._hop = board, hop

    def missing_host_key(self, client: paramiko.SSHClient, hostname: str, key: paramiko.PKey) -> None:
        listed = " or ".join(map(str, self._hop.known_hosts))
        raise RefusedError(
            f"{self._board}: the host key of {self._hop.name}, {_shown(key)}, is not in {listed}: "
            "playbooks/enrol.yml pins it"
        )


class _Keys(AuthStrategy):
    """The keys that ssh would offer: of files first, then the agent's."""

    def __init__(self, hop: ssh.Destination) -> None:
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


def _shown(key: paramiko.PKey) -> str:
    return f"{key.algorithm_name} {key.fingerprint}"
