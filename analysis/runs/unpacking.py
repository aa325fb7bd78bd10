"""Unpacks an untrusted .tar.gz archive.

Only regular files and folders, one by one. `tarfile`'s own filters would do, but Debian 12's Python 3.11.2 lacks them.
"""

from __future__ import annotations

import contextlib
import gzip
import os
import shutil
import tarfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath
from typing import IO, cast

MAX_BYTES, MAX_MEMBERS = 20 * 10**9, 100_000  # unpacked: more than any run or study has
_MAX_READ = 1 << 18  # maximum bytes of one read: tarfile reads a whole header, but files in blocks
_MAX_NAME = 255  # bytes of a part of a name, as most file systems have it


class UnpackError(ValueError):
    """An archive was refused and nothing unpacked. `problems` has a sentence for each invalid member."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("; ".join(problems))
        self.problems = problems


def unpack(
    archive: Path,
    to: Path,
    *,
    wanted: Callable[[tuple[str, ...]], str | None] = lambda parts: None,
    strict: bool = True,
    max_bytes: int = MAX_BYTES,
    max_members: int = MAX_MEMBERS,
) -> list[str]:
    """Unpack a .tar.gz into a folder, over files that are there.

    A member is plain if it is a file or a folder with a plain relative name that occurs once, and if `wanted`, which
    gets the parts of that name, has nothing against it (it returns the reason, or None). Where others are in the
    archive, nothing is written: raises UnpackError with a sentence for each of them. Unless `strict`: then they are
    left out, and their sentences returned. Raises UnpackError as well where the archive is torn or too large, and
    OSError where a file cannot be written.
    """
    with _reading(archive, max_bytes) as members:
        problems = dict(_problems(members, wanted, max_bytes, max_members))
    if problems and strict:
        raise UnpackError([f"{sentence}; nothing was unpacked" for sentence in problems.values()])
    with _reading(archive, max_bytes) as members:
        for count, member in enumerate(_each(members)):
            if count not in problems:
                _write(members, member, to)
    return list(problems.values())


@contextlib.contextmanager
def _reading(archive: Path, max_bytes: int) -> Iterator[tarfile.TarFile]:
    """The opened archive. Errors in its bytes become an UnpackError."""
    try:
        with gzip.open(archive) as packed:
            bounded = _Bounded(packed, max_bytes + MAX_MEMBERS * tarfile.RECORDSIZE)
            with tarfile.open(fileobj=cast(IO[bytes], bounded), mode="r:") as members:
                yield members
    except (tarfile.TarError, zlib.error, gzip.BadGzipFile, EOFError, ValueError, RecursionError) as error:
        if isinstance(error, UnpackError):  # is a ValueError too
            raise
        raise UnpackError([f"{archive.name} cannot be unpacked: {error}"]) from error


class _Bounded:
    """A stream with limited reads, since a header may claim gigabytes."""

    def __init__(self, stream: gzip.GzipFile, most: int) -> None:
        self._stream, self._most = stream, most

    def read(self, size: int = -1) -> bytes:
        if not 0 <= size <= _MAX_READ:
            raise tarfile.ReadError(f"a member's header claims {size} bytes")
        return self._stream.read(size)

    def seek(self, offset: int) -> int:
        if not 0 <= offset <= self._most:
            raise tarfile.ReadError(f"it claims to continue at byte {offset}")
        return self._stream.seek(offset)

    def tell(self) -> int:
        return self._stream.tell()


def _each(members: tarfile.TarFile) -> Iterator[tarfile.TarInfo]:
    """The members in order. `tarfile` itself would keep all of them, with headers of any length, in memory."""
    while (member := members.next()) is not None:
        members.members.clear()  # type: ignore[attr-defined]
        yield member


def _problems(
    members: tarfile.TarFile, wanted: Callable[[tuple[str, ...]], str | None], max_bytes: int, max_members: int
) -> Iterator[tuple[int, str]]:
    """Invalid members: number and a sentence. Raises UnpackError at the first member too many."""
    size = 0
    seen: set[tuple[str, ...]] = set()
    for count, member in enumerate(_each(members)):
        name, parts = shown(member.name), PurePosixPath(member.name).parts
        size += member.size
        if member.size < 0 or size > max_bytes or count >= max_members:
            raise UnpackError([f"{name}: the archive is larger than {max_bytes} bytes or {max_members} files unpacked"])
        why = wanted(parts) or _odd(member, parts) or ("there twice" if parts in seen else None)
        if why:
            yield count, f"{name}: {why}"
        seen.add(parts)


def _odd(member: tarfile.TarInfo, parts: tuple[str, ...]) -> str | None:
    if member.issparse() or not (member.isreg() or member.isdir()):
        return "neither a regular file nor a folder"
    plain = all(part.isprintable() and len(part.encode(errors="replace")) <= _MAX_NAME for part in parts)
    if not plain or ".." in parts or member.name.startswith("/") or (member.isreg() and not parts):
        return "not a normal relative path"
    return None


def _write(members: tarfile.TarFile, member: tarfile.TarInfo, to: Path) -> None:
    path = to / PurePosixPath(member.name)
    if member.isdir():
        path.mkdir(parents=True, exist_ok=True)
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    content = members.extractfile(member)
    assert content is not None  # a regular file has content
    # never through an existing link
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o644)
    with content, os.fdopen(descriptor, "wb") as file:
        shutil.copyfileobj(content, file)


def shown(name: str) -> str:
    """A name for a terminal: without control characters, and shortened."""
    printable = "".join(letter if letter.isprintable() else "?" for letter in name)
    return printable if len(printable) <= _MAX_NAME else f"{printable[:_MAX_NAME]}..."
