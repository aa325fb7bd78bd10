"""Files that people name by path, on the controller: the file, or a sentence on why it cannot be taken."""

from __future__ import annotations

import re
import stat
from pathlib import Path

from trainer.formats.archives import ArchiveError

GZIP, ZIP, HDF5 = "a gzip archive", "a zip archive", "an HDF5 file"
_SIGNS = (  # place in the file, what stands there, what that is
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
    (0, b"version https://git-lfs", "a pointer of Git LFS, in place of the file (git lfs pull)"),
    (0, b"<", "a web page or XML"),
)


def find(key: str, place: str, project: Path) -> Path:
    """The plain file that is not empty and can be read at `place`, relative to the checkout `project`.

    Raises ArchiveError, which names the field `key`.
    """
    told = f"{key} is {place!r}, but"
    try:
        path = project / Path(place).expanduser()
    except RuntimeError as error:
        home = place.partition("/")[0]
        raise ArchiveError(f"{told} there is no home folder {home}: write out the whole path") from error
    try:
        found = path.stat()
    except ValueError as error:
        raise ArchiveError(f"{told} no path has such characters: remove them") from error
    except (FileNotFoundError, NotADirectoryError) as error:
        raise ArchiveError(f"{told} there is no such file: {_hint(place, path)}") from error
    except OSError as error:
        raise ArchiveError(f"{told} it cannot be looked at ({error.strerror}): give another path") from error
    if stat.S_ISDIR(found.st_mode):
        raise ArchiveError(f"{told} that is a folder: give the path of a file")
    if not stat.S_ISREG(found.st_mode):
        raise ArchiveError(f"{told} that is a pipe or a device: give the path of a plain file")
    if not found.st_size:
        raise ArchiveError(f"{told} that file is empty: fetch or write it again")
    try:
        path.open("rb").close()
    except OSError as error:
        raise ArchiveError(f"{told} it cannot be read ({error.strerror}): see its owner and rights") from error
    return path


def _hint(place: str, path: Path) -> str:
    if path.is_symlink():
        return f"it is a link to {path.readlink()}, where nothing is; mend the link"
    if re.search(r"\$\w|\$\{|%\w+%", place):
        return "variables are not filled in; write out the path"
    if re.match(r"(https?|file|ftp|s3|gs|scp):", place, re.IGNORECASE):
        return "an address begins with https://; give such a one, or the path of a file"
    if re.match(r"[A-Za-z]:[\\/]|\\\\", place):
        return "that is a path of Windows; give the path that this machine has for it"
    if place != place.strip() or place[0] in "'\"":
        return "it begins or ends with a blank or a quote; remove that"
    if Path(place).expanduser().is_absolute():
        return "give the path of one"
    return f"{path} was looked for, from the checkout on; give the path of one"


def kind(path: Path) -> str | None:
    """What the file is, as far as its first bytes tell: GZIP, ZIP, HDF5 or other words; None where they do not."""
    with path.open("rb") as file:
        head = file.read(512)
    return next((name for place, sign, name in _SIGNS if head[place : place + len(sign)] == sign), None)
