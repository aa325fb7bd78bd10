"""Runs commands on a board over one open ssh connection.

paramiko connects where ssh would. The board's host key is always checked, even with StrictHostKeyChecking=no; ssh
checks those of jump hosts.
"""

from __future__ import annotations

import logging
import shlex
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path

import paramiko
from paramiko.auth_strategy import AuthSource, AuthStrategy, InMemoryPrivateKey
from paramiko.pkey import PublicBlob, UnknownKeyType

from analysis.runs.errors import AnalysisError
from controller import connection, known_hosts
from controller.answer import marked, own_words
from controller.enrol import shown
from controller.ssh import Destination

TIMEOUT_S = 10.0  # seconds for an answer
_MOST = 1 << 23  # bytes of an answer

logging.getLogger("paramiko").addHandler(logging.NullHandler())  # errors are reported in our own sentence


@contextmanager
def connect(to: Destination) -> Iterator[Callable[[str], str]]:
    """A context that returns a function from a command to its output on the board.

    Raises AnalysisError, then and later, if the board does not answer, its host key is not pinned, or no key is
    accepted.
    """
    with connection.connect(to, TIMEOUT_S) as leading, paramiko.SSHClient() as client:
        for kind, key in _pins(to).items():
            client.get_host_keys().add(to.name, kind, key)
        client.set_missing_host_key_policy(_Unknown(to))
        with leading.breaking_off():
            try:
                client.connect(
                    to.pinned_as,
                    to.pinned_port,
                    to.user,
                    sock=leading.socket,
                    timeout=TIMEOUT_S,
                    banner_timeout=TIMEOUT_S,
                    auth_timeout=TIMEOUT_S,
                    auth_strategy=_Keys(to),
                )
            except paramiko.BadHostKeyException as error:
                raise AnalysisError(
                    f"{to.name} has the host key {shown(error.key)}, but {shown(error.expected_key)} is pinned: if you "
                    "reflashed it, playbooks/enrol.yml shows how to forget the old key; if not, another "
                    "machine answers in its place"
                ) from error
            except paramiko.AuthenticationException as error:
                transport = client.get_transport()
                if transport is None or not transport.is_active():  # it ended before it answered
                    raise
                raise AnalysisError(
                    f"{to.name} accepts none of the keys {', '.join(map(str, to.identities))} for {to.user}: "
                    "playbooks/enrol.yml installs the key of a board"
                ) from error
        yield partial(_ask, client, leading)


def _ask(client: paramiko.SSHClient, leading: connection.Connection, command: str) -> str:
    with leading.breaking_off():
        _, output, _ = client.exec_command(f"/bin/sh -c {shlex.quote(marked(command))}", timeout=TIMEOUT_S)
        said = output.read(_MOST)
    return own_words(said.decode(errors="surrogateescape"))


def _pins(to: Destination) -> dict[str, paramiko.PKey]:
    """The server's host keys in its known_hosts files by type, except types that paramiko does not support."""
    found = [pin for path in to.known_hosts if path.is_file() for pin in known_hosts.read(path).of(to.name)]
    keys: dict[str, paramiko.PKey] = {}
    revoked = [pin.blob for pin in found if pin.marker == known_hosts.REVOKED]
    for pin in found:
        if not pin.marker and pin.kind not in keys and pin.blob not in revoked:
            with suppress(paramiko.SSHException, UnknownKeyType):
                keys[pin.kind] = paramiko.PKey.from_type_string(pin.kind, pin.blob)
    return keys


class _Unknown(paramiko.MissingHostKeyPolicy):
    def __init__(self, to: Destination) -> None:
        self._to = to

    def missing_host_key(self, client: paramiko.SSHClient, hostname: str, key: paramiko.PKey) -> None:
        listed = " or ".join(map(str, self._to.known_hosts))
        raise AnalysisError(
            f"the host key of {self._to.name}, {shown(key)}, is not in {listed}: playbooks/enrol.yml pins it"
        )


class _Keys(AuthStrategy):
    """The keys that ssh would offer: those in files, then the agent's."""

    def __init__(self, to: Destination) -> None:
        super().__init__(ssh_config=paramiko.SSHConfig())
        self._to = to

    def get_sources(self) -> Iterator[AuthSource]:
        agents = {key.asbytes(): key for key in paramiko.Agent().get_keys()}
        for path in self._to.identities:
            yield from self._of(path, agents)
        for key in () if self._to.identities_only else agents.values():
            yield InMemoryPrivateKey(self._to.user, key)

    def _of(self, path: Path, agents: Mapping[bytes, paramiko.AgentKey]) -> Iterator[AuthSource]:
        key: paramiko.PKey | None = None
        try:
            key = paramiko.PKey.from_path(path)
        except (OSError, ValueError, TypeError, paramiko.SSHException):
            # encrypted, or a public key: the agent may have it
            with suppress(OSError, ValueError):
                half = path if path.suffix == ".pub" else path.with_name(f"{path.name}.pub")
                key = agents.get(PublicBlob.from_file(str(half)).key_blob)
        if key is not None:
            yield InMemoryPrivateKey(self._to.user, key)
