"""Ansible's ssh command for a host, and ssh's resolved options.

`ssh -G` resolves options and configuration files, so that a board is reached as Ansible reaches it: by a name from
~/.ssh/config, at another port, through a jump host or a proxy.
"""

from __future__ import annotations

import os
import re
import shlex
import socket
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from analysis.runs.errors import AnalysisError

TIMEOUT_S = 10.0  # seconds for ssh -G, which may run programs from the configuration
PORT = 22
_FAMILIES = {"inet": socket.AF_INET, "inet6": socket.AF_INET6}
# Refused by ssh since 9.6 (CVE-2023-51385): a shell runs the proxy's command.
_BAD_HOST = re.compile(r"^-|[\s\x00-\x1f\x7f'\"`$\\;&<>|(){}]")
_BAD_USER = re.compile(r"^-|[\x00-\x1f\x7f'\"`;&<>|(){}]|\s-|\\$")
# A name that would be a pattern, a list or a comment in known_hosts.
_BAD_NAME = re.compile(r"^[@#|]|[\s,*?!]")


@dataclass(frozen=True)
class Destination:
    """An ssh server: a board's, or a jump host."""

    address: str  # as given by the user
    host: str
    port: int
    user: str
    pinned_as: str  # its name in known_hosts, without the port
    pinned_port: int
    known_hosts: tuple[Path, ...]
    identities: tuple[Path, ...]  # private keys, or public keys whose private half the agent has
    identities_only: bool  # use no other keys of the agent
    jumps: tuple[str, ...]  # ProxyJump: the ssh servers on the way
    proxy: tuple[str, ...]  # ProxyCommand, whose input and output are the connection
    proxy_shown: str  # the option that sets it
    proxy_by_hand: str  # a shell command that logs in to the last jump host
    proxy_gives_socket: bool  # ProxyUseFdpass: it passes a socket and ends
    family: socket.AddressFamily
    bind_address: str
    bind_interface: str
    host_key_algorithms: tuple[str, ...]
    remote_command: str

    @property
    def name(self) -> str:
        """Its name in known_hosts."""
        return self.pinned_as if self.pinned_port == PORT else f"[{self.pinned_as}]:{self.pinned_port}"

    @property
    def shown(self) -> str:
        """The address for messages, with ssh's resolved host name if it differs."""
        return self.address if self.address.lower() == self.host else f"{self.address} ({self.host})"


def command(plugin: Any, host: str) -> tuple[str, ...]:
    """Ansible's ssh command without the remote command: program, options, destination.

    plugin: Ansible's ssh plugin with its options set. Options are in its order: ssh uses the first of a kind. Raises
    AnalysisError for options that cannot be split into words.
    """
    words = [str(plugin.get_option("ssh_executable")), *_split(plugin, "ssh_args")]
    if plugin.get_option("host_key_checking") is False:  # the user's setting; enrolment puts "yes" before it
        words += ["-o", "StrictHostKeyChecking=no"]
    if port := plugin.get_option("port"):
        words += ["-o", f"Port={port}"]
    if key := plugin.get_option("private_key_file"):
        words += ["-o", f'IdentityFile="{_home(key)}"']
    if not plugin.get_option("password"):
        words += ["-o", "KbdInteractiveAuthentication=no"]
        words += ["-o", "PreferredAuthentications=gssapi-with-mic,gssapi-keyex,hostbased,publickey"]
        words += ["-o", "PasswordAuthentication=no"]
    if user := plugin.get_option("remote_user"):
        words += ["-o", f'User="{user}"']
    words += ["-o", f"ConnectTimeout={plugin.get_option('timeout')}"]
    return (*words, *_split(plugin, "ssh_common_args"), *_split(plugin, "ssh_extra_args"), host)


def _split(plugin: Any, option: str) -> list[str]:
    text = plugin.get_option(option) or ""
    try:
        return shlex.split(text)
    except ValueError as error:
        raise AnalysisError(f"Ansible's {option} is {text!r}, which cannot be split into words: {error}") from error


def hops(board: str, ssh: Sequence[str], most: int = 8) -> list[Destination]:
    """The ssh servers along a command's path (see `command`); the last one is the board.

    Raises AnalysisError as resolve() does, and for too many jumps, which means a cycle.
    """
    if most == 0:
        raise AnalysisError(f"the jump hosts of {board} form a cycle: check ProxyJump in its options and ~/.ssh/config")
    last = resolve(board, ssh)
    return [*(hops(board, jump(ssh, last.jumps), most - 1) if last.jumps else []), last]


def resolve(board: str, ssh: Sequence[str]) -> Destination:
    """The server that ssh resolves from a command (see `command`) and its configuration.

    Raises AnalysisError, which names the board, for options that ssh refuses and for names that would act as options or
    shell commands.
    """
    _require(board, "its address", ssh[-1], _BAD_HOST)
    options = _asked(board, ssh)

    def one(name: str) -> str:
        value = options.get(name, [""])[0]
        return "" if value == "none" else value

    host, port, alias = one("hostname").lower(), int(one("port")), one("hostkeyalias")
    _require(board, "its HostName", host, _BAD_HOST)
    _require(board, "its user", one("user"), _BAD_USER)
    _require(board, "its name in known_hosts (HostKeyAlias or HostName)", alias or host, _BAD_NAME)
    jumps = tuple(one("proxyjump").split(",")) if one("proxyjump") else ()
    proxy_command = one("proxycommand")
    shown, by_hand, proxy = f"ProxyCommand={proxy_command}", "", tuple[str, ...]()
    if jumps:
        shown, by_hand = f"ProxyJump={','.join(jumps)}", shlex.join(jump(ssh, jumps))
        program, *given = jump(ssh, jumps)
        # its control socket would outlast it
        quiet = ("-o", "BatchMode=yes", "-o", "ControlMaster=no", "-o", "PermitLocalCommand=no")
        proxy = (program, *quiet, "-W", f"[{host}]:{port}", *given)
    elif proxy_command:
        values = {"h": host, "k": alias or ssh[-1], "n": ssh[-1], "p": str(port), "r": one("user"), "%": "%"}
        try:
            expanded = re.sub("%(.?)", lambda found: values[found[1]], proxy_command)
        except KeyError as error:
            raise AnalysisError(
                f"{board}: ProxyCommand={proxy_command} has %{error.args[0]}, which ssh does not support "
                "there: write %%"
            ) from None
        proxy = (os.environ.get("SHELL") or "/bin/sh", "-c", f"exec {expanded}")
    lists = [*options.get("userknownhostsfile", []), *options.get("globalknownhostsfile", [])]
    return Destination(
        address=ssh[-1],
        host=host,
        port=port,
        user=one("user"),
        pinned_as=alias or host,
        pinned_port=PORT if alias else port,
        known_hosts=tuple(path for each in lists for path in _paths(each)),
        identities=tuple(_home(each) for each in options.get("identityfile", [])),
        identities_only=one("identitiesonly") == "yes",
        jumps=jumps,
        proxy=proxy,
        proxy_shown=shown,
        proxy_by_hand=by_hand,
        proxy_gives_socket=one("proxyusefdpass") == "yes" and not jumps,
        family=_FAMILIES.get(one("addressfamily"), socket.AF_UNSPEC),
        bind_address=one("bindaddress"),
        bind_interface=one("bindinterface"),
        host_key_algorithms=tuple(filter(None, one("hostkeyalgorithms").split(","))),
        remote_command=one("remotecommand"),
    )


def jump(ssh: Sequence[str], jumps: Sequence[str]) -> list[str]:
    """The ssh command that logs in to the last of these jump hosts through the others.

    As ssh does, it passes only -F to a jump, so that the jump's host key is looked up where the user's configuration
    says.
    """
    *first, last = jumps
    destination = f"ssh://{last}" if re.search(r"\]|:\d+$", last) and "://" not in last else last
    return [ssh[0], *_configuration(ssh), *(["-J", ",".join(first)] if first else []), destination]


def _require(board: str, what: str, value: str, bad: re.Pattern[str]) -> None:
    if not value or bad.search(value):
        raise AnalysisError(f"{board}: {what} is {value!r}, which ssh does not accept as a name: correct it")


def _asked(board: str, ssh: Sequence[str]) -> dict[str, list[str]]:
    """The options by lower-case name, each with its values."""
    try:
        done = subprocess.run(
            [ssh[0], "-G", *ssh[1:]],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="surrogateescape",
            timeout=TIMEOUT_S,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise AnalysisError(f"{ssh[0]} cannot resolve {board} ({error}): install OpenSSH's client") from error
    if done.returncode != 0:
        raise AnalysisError(f"ssh does not accept the options of {board}: {done.stderr.strip()}")
    options: dict[str, list[str]] = {}
    for line in done.stdout.split("\n"):
        name, _, value = line.partition(" ")
        options.setdefault(name, []).append(value)
    return options


def _configuration(ssh: Sequence[str]) -> list[str]:
    """The option -F, if given; ssh uses the last one."""
    given = [(word[2:] or after) for word, after in zip(ssh, [*ssh[1:], ""], strict=True) if word.startswith("-F")]
    return ["-F", given[-1]] if given else []


def _paths(listed: str) -> list[Path]:
    """Splits ssh's unquoted list of paths, which may contain spaces but begin with / or ~."""
    return [_home(path) for path in re.split(r" (?=[/~])", listed)]


def _home(path: str) -> Path:
    return Path(os.path.expanduser(path))  # noqa: PTH111 (which leaves the home of somebody unknown as it is)
