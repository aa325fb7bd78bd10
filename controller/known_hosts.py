"""Reads known_hosts files as ssh does, and adds keys."""

from __future__ import annotations

import base64
import binascii
import fcntl
import hashlib
import os
import re
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from analysis.runs.errors import AnalysisError

AUTHORITY, REVOKED = "@cert-authority", "@revoked"
_SHOWN = {"ssh-ed25519": "ED25519", "ssh-rsa": "RSA", "ssh-dss": "DSA"}  # names that ssh shows
_LISTED = 5  # lines listed in an error


@dataclass(frozen=True)
class Pin:
    """A line of a known_hosts file."""

    line: int
    names: bytes  # with commas, patterns or hashed
    kind: str  # ssh-ed25519, ...
    blob: bytes  # the public key
    marker: str = ""  # AUTHORITY, REVOKED or none

    @property
    def shown(self) -> str:
        """Type and fingerprint in ssh's format."""
        name = "ECDSA" if self.kind.startswith("ecdsa-") else _SHOWN.get(self.kind, self.kind)
        return f"{name} SHA256:{base64.b64encode(hashlib.sha256(self.blob).digest()).decode().rstrip('=')}"


@dataclass(frozen=True)
class KnownHosts:
    content: bytes
    pins: tuple[Pin, ...]
    problems: tuple[str, ...]  # lines that ssh would skip, each with the reason

    def of(self, name: str) -> list[Pin]:
        """The pins of a host; `name` as ssh looks it up, with the port if it is not 22."""
        # ssh-keygen understands patterns, hashed names and markers; it gets the checked content
        command = ["ssh-keygen", "-F", name, "-f", "/dev/stdin"]
        found = subprocess.run(command, input=self.content, capture_output=True).stdout
        lines = {int(number) for number in re.findall(rb"^# Host .* found: line (\d+)", found, re.MULTILINE)}
        return [pin for pin in self.pins if pin.line in lines]


def read(path: Path) -> KnownHosts:
    """The file's pins; none if it does not exist. Raises AnalysisError if it cannot be read."""
    try:
        if path.exists() and not path.is_file():
            raise AnalysisError(f"{path} is not a file: give a known_hosts file for the boards' host keys")
        content = path.read_bytes() if path.exists() else b""
    except OSError as error:
        raise AnalysisError(
            f"{path} cannot be read ({error.strerror}): check its owner and permissions with ls -l"
        ) from error
    pins, problems = [], []
    if b"\0" in content:
        problems.append(f"{path}, line 1: it is not UTF-8 (perhaps UTF-16)")
        return KnownHosts(b"", (), tuple(problems))
    for number, line in enumerate(content.split(b"\n"), 1):
        try:
            pin = _parsed(line, number)
        except ValueError as error:
            problems.append(f"{path}, line {number}: {error}")
        else:
            pins += [pin] if pin else []
    return KnownHosts(content, tuple(pins), tuple(problems))


def read_whole(path: Path) -> KnownHosts:
    """As read(), but raises AnalysisError for invalid lines, since one may be a damaged pin."""
    known = read(path)
    if known.problems:
        more = len(known.problems) - _LISTED
        told = [*known.problems[:_LISTED], *([f"and {more} more"] if more > 0 else [])]
        raise AnalysisError(f"{'; '.join(told)}: correct or remove it, since ssh skips invalid lines")
    return known


def _parsed(line: bytes, number: int) -> Pin | None:
    """The pin in a line, None for an empty line or comment. Raises ValueError with the reason for other lines."""
    stripped = line.strip(b" \t\r")
    fields = re.split(rb"[ \t]+", stripped) if stripped else []
    if line.startswith(b"\xef\xbb\xbf"):
        raise ValueError("it begins with a byte order mark, which ssh reads as part of the name")
    if not fields or fields[0].startswith(b"#"):
        return None
    marker = fields.pop(0).decode(errors="replace") if fields[0].startswith(b"@") else ""
    if marker not in ("", AUTHORITY, REVOKED):
        raise ValueError(f"{marker} is not a marker; only {AUTHORITY} and {REVOKED} are")
    if len(fields) < 3:
        raise ValueError("it is incomplete: a line has names, type and key of a host")
    names, kind, key = fields[:3]
    if not names.isascii():
        raise ValueError("the host's name is not in ASCII: the file may be in another encoding")
    try:
        blob = base64.b64decode(key, validate=True)
        parts = _strings(blob)
    except (binascii.Error, ValueError):
        raise ValueError("its key is incomplete or damaged") from None
    if len(parts) < 2 or parts[0] != kind:
        raise ValueError(f"it is not a key of the type {kind.decode(errors='replace')}")
    return Pin(number, names, kind.decode(), blob, marker)


def _strings(blob: bytes) -> list[bytes]:
    """The strings in a public key (RFC 4253). Raises ValueError if it is malformed."""
    parts = []
    while blob:
        end = 4 + int.from_bytes(blob[:4], "big")
        if not 4 <= end <= len(blob):
            raise ValueError
        parts.append(blob[4:end])
        blob = blob[end:]
    return parts


def with_pin(content: bytes, name: str, kind: str, blob: bytes) -> bytes:
    """The content with a host's key added in order of names; every other byte is kept."""
    new = f"{name} {kind} {base64.b64encode(blob).decode()}\n".encode()
    lines = re.findall(rb"[^\n]*\n|[^\n]+", content)
    if new.split() in [line.split()[:3] for line in lines]:
        return content
    place = next((at for at, line in enumerate(lines) if line.strip() and line[:1] != b"#" and line > new), len(lines))
    while 0 < place < len(lines) and lines[place - 1].startswith(b"#"):
        place -= 1  # a comment belongs to the line below it
    if place == len(lines) and lines and not lines[-1].endswith(b"\n"):
        lines[-1] += b"\n"
    return b"".join([*lines[:place], new, *lines[place:]])


def add(path: Path, name: str, kind: str, blob: bytes) -> None:
    """Add a host's key to a known_hosts file, while other hosts' keys are added by other processes."""
    _change(path, lambda known: with_pin(known.content, name, kind, blob))


def own(pin: Pin, name: str) -> bool:
    """Whether a line that pins a host's key is for this host alone; only then can it be removed."""
    return not pin.marker and (pin.names == name.encode() or pin.names.startswith(b"|1|"))


def remove(path: Path, name: str) -> int:
    """Remove the lines of a known_hosts file that pin a key of this host alone; every other byte stays.

    Returns how many keys the file still pins.
    """

    def without(known: KnownHosts) -> bytes:
        gone = {pin.line for pin in known.of(name) if own(pin, name)}
        return b"\n".join(line for number, line in enumerate(known.content.split(b"\n"), 1) if number not in gone)

    _change(path, without)
    return len(read(path).pins)


def _change(path: Path, changed: Callable[[KnownHosts], bytes]) -> None:
    """Replace a known_hosts file's content, while other processes do so for other hosts; its mode stays."""
    path = path.resolve()  # of a link, what it leads to
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        before = read_whole(path)
        content = changed(before)
        if content == before.content and path.exists():
            return
        status = path.stat() if path.exists() else None
        new = path.with_name(f".{path.name}.new")
        new.write_bytes(content)
        new.chmod(status.st_mode & 0o777 if status else 0o644)
        if status and (status.st_uid, status.st_gid) != (new.stat().st_uid, new.stat().st_gid):
            os.chown(new, status.st_uid, status.st_gid)
        new.replace(path)
    finally:
        os.close(folder)
