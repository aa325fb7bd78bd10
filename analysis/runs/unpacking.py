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
from typing import IO, BinaryIO, cast

from trainer.contract.reading import MAX_NAME, is_name, opened, printable

MAX_BYTES, MAX_MEMBERS = 20 * 10**9, 30_000  # unpacked: more than any run or study has
_MAX_READ = 1 << 16  # maximum bytes of one read: tarfile reads a whole header, but files in blocks
_HEADER = 4096  # bytes of a member's headers, on average: a long name takes three blocks more
# A bomb is small: what is unpacked may be larger than the archive by this factor, and by as many bytes as are soon read
_RATIO, _SOON_READ = 100, 1 << 25
_MAX_PATH = 1024  # characters of a member's name
_TOLD = 20  # sentences about members


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
    left out, and their sentences returned. Of many, the first sentences. Raises UnpackError as well where the archive
    is torn, too large or a bomb, and OSError where a file cannot be written.
    """
    with _reading(archive, max_bytes, strict) as (members, stream):
        odd, sentences = _problems(members, stream, wanted, max_bytes, max_members)
    if odd and strict:
        raise UnpackError([f"{sentence}; nothing was unpacked" for sentence in sentences])
    with _reading(archive, max_bytes, strict) as (members, _):
        for count, member in enumerate(_each(members)):
            if count not in odd:
                _write(members, member, to)
    return sentences


@contextlib.contextmanager
def _reading(archive: Path, max_bytes: int, strict: bool) -> Iterator[tuple[tarfile.TarFile, _Bounded]]:
    """The opened archive, and its stream. Errors in its bytes become an UnpackError."""
    try:
        with opened(archive) as file, gzip.GzipFile(fileobj=file) as packed:
            bounded = _Bounded(packed, max_bytes + MAX_MEMBERS * tarfile.RECORDSIZE, file if strict else None)
            with tarfile.open(fileobj=cast(IO[bytes], bounded), mode="r:") as members:
                yield members, bounded
    except (tarfile.TarError, zlib.error, gzip.BadGzipFile, EOFError, ValueError, RecursionError) as error:
        if isinstance(error, UnpackError):  # is a ValueError too
            raise
        raise UnpackError([f"{archive.name} cannot be unpacked: {error}"]) from error


class _Bounded:
    """A stream with limited reads, since a header may claim gigabytes."""

    def __init__(self, stream: gzip.GzipFile, most: int, packed: BinaryIO | None) -> None:
        """`most`: bytes unpacked; `packed`: the file, where a bomb is to be refused."""
        self._stream, self._most, self._packed = stream, most, packed
        self.bytes_read = 0

    def read(self, size: int = -1) -> bytes:
        if not 0 <= size <= _MAX_READ:
            raise tarfile.ReadError(f"a member's header claims {size} bytes")
        self.bytes_read += size
        return self._stream.read(size)

    def seek(self, offset: int) -> int:
        if not 0 <= offset <= self._most:
            raise tarfile.ReadError(f"it claims to continue at byte {offset}")
        while (at := self._stream.tell()) < offset and self._packed is not None:
            self._stream.seek(min(offset, at + _SOON_READ))
            if at > _SOON_READ + _RATIO * self._packed.tell():
                raise tarfile.ReadError(f"unpacked it is more than {_RATIO} times as large, as only bombs are")
            if self._stream.tell() == at:
                raise tarfile.ReadError("it ends early")
        return self._stream.seek(offset)

    def tell(self) -> int:
        return self._stream.tell()


def _each(members: tarfile.TarFile) -> Iterator[tarfile.TarInfo]:
    """The members in order. `tarfile` itself would keep all of them, with headers of any length, in memory."""
    while (member := members.next()) is not None:
        members.members.clear()  # type: ignore[attr-defined]
        if members.pax_headers:
            raise tarfile.ReadError("it has a header for all members")  # no archive of the kit has; each would grow
        yield member


def _problems(
    members: tarfile.TarFile,
    stream: _Bounded,
    wanted: Callable[[tuple[str, ...]], str | None],
    max_bytes: int,
    max_members: int,
) -> tuple[set[int], list[str]]:
    """The numbers of invalid members, and sentences. Raises UnpackError at the first member too many."""
    size = 0
    odd: set[int] = set()
    sentences: list[str] = []
    seen: set[tuple[str, ...]] = set()
    for count, member in enumerate(_each(members)):
        name, parts = shown(member.name), PurePosixPath(member.name[:_MAX_PATH]).parts
        size += member.size
        if member.size < 0 or size > max_bytes or count >= max_members:
            raise UnpackError([f"{name}: the archive is larger than {max_bytes} bytes or {max_members} files unpacked"])
        if stream.bytes_read > _MAX_READ + _HEADER * (count + 1):
            raise UnpackError([f"{name}: the headers before it have {stream.bytes_read} bytes"])
        why = wanted(parts) or _odd(member, parts) or ("there twice" if parts in seen else None)
        if why:
            odd.add(count)
            sentences.append(f"{name}: {why}")
        else:
            seen.add(parts)
    if len(sentences) > _TOLD:
        sentences[_TOLD:] = [f"{len(sentences) - _TOLD} more members that are not as they should be"]
    return odd, sentences


def _odd(member: tarfile.TarInfo, parts: tuple[str, ...]) -> str | None:
    if member.issparse() or not (member.isreg() or member.isdir()):
        return "neither a regular file nor a folder"
    plain = all(map(is_name, parts)) and len(member.name) <= _MAX_PATH and not member.name.startswith("/")
    return None if plain and (parts or member.isdir()) else "not a normal relative path"


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
    return printable(name) if len(name) <= MAX_NAME else f"{printable(name[:MAX_NAME])}..."
