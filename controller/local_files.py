"""Finds files that users give by path, or says why a file cannot be used."""

from __future__ import annotations

import re
import stat
from pathlib import Path

from trainer.formats.archives import ArchiveError

GZIP, ZIP, HDF5 = "a gzip archive", "a zip archive", "an HDF5 file"
_SIGNS = (  # offset, bytes there, kind of file
    (0, b"\x1f\x8b", GZIP),
    (0, b"PK\x03\x04", ZIP),
    (0, b"PK\x05\x06", "an empty zip archive"),
    (0, b"\x89HDF\r\n\x1a\n", HDF5),
    (0, b"\x93NUMPY", "a single NumPy array (.npy)"),
    (0, b"BZh", "a bzip2 archive"),
    (0, b"\xfd7zXZ\x00", "an xz archive"),
    (0, b"\x28\xb5\x2f\xfd", "a zstd archive"),
    (0, b"7z\xbc\xaf\x27\x1c", "a 7z archive"),
    (0, b"Rar!", "a rar archive"),
    (257, b"ustar", "a tar archive without compression"),
    (0, b"version https://git-lfs", "a Git LFS pointer instead of the file (run git lfs pull)"),
    (0, b"<", "a web page or XML"),
)


def find(key: str, place: str, project: Path) -> Path:
    """The path of the readable regular file at `place`, relative to the checkout `project`.

    Raises ArchiveError for other files; the message names the field `key`.
    """
    told = f"{key} is {place!r}, but"
    try:
        path = project / Path(place).expanduser()
    except RuntimeError as error:
        home = place.partition("/")[0]
        raise ArchiveError(f"{told} there is no home folder {home}: give the absolute path") from error
    try:
        found = path.stat()
    except ValueError as error:
        raise ArchiveError(f"{told} paths cannot contain such characters: remove them") from error
    except (FileNotFoundError, NotADirectoryError) as error:
        raise ArchiveError(f"{told} there is no such file: {_hint(place, path)}") from error
    except OSError as error:
        raise ArchiveError(f"{told} it cannot be accessed ({error.strerror}): give another path") from error
    if stat.S_ISDIR(found.st_mode):
        raise ArchiveError(f"{told} it is a folder: give the path of a file")
    if not stat.S_ISREG(found.st_mode):
        raise ArchiveError(f"{told} it is a pipe or device: give the path of a regular file")
    if not found.st_size:
        raise ArchiveError(f"{told} the file is empty: fetch or write it again")
    try:
        path.open("rb").close()
    except OSError as error:
        raise ArchiveError(f"{told} it cannot be read ({error.strerror}): check its owner and permissions") from error
    return path


def _hint(place: str, path: Path) -> str:
    if path.is_symlink():
        return f"it is a link to {path.readlink()}, which does not exist; correct the link"
    if re.search(r"\$\w|\$\{|%\w+%", place):
        return "variables are not filled in; write out the path"
    if re.match(r"(https?|file|ftp|s3|gs|scp):", place, re.IGNORECASE):
        return "a URL begins with https://; give such a URL, or the path of a file"
    if re.match(r"[A-Za-z]:[\\/]|\\\\", place):
        return "it is a Windows path; give this machine's path"
    if place != place.strip() or place[0] in "'\"":
        return "it begins or ends with a space or quote; remove it"
    if Path(place).expanduser().is_absolute():
        return "give the path of one"
    return f"the path is relative to the checkout: {path}; give the path of an existing file"


def kind(path: Path) -> str | None:
    """The kind of file according to its first bytes: GZIP, ZIP, HDF5 or others; None if unknown."""
    with path.open("rb") as file:
        head = file.read(512)
    return next((name for place, sign, name in _SIGNS if head[place : place + len(sign)] == sign), None)
