"""Checks a Keras weight file (HDF5) before Keras reads it; controller and boards use it.

HDF5's own library allocates what a file claims, and opens other files that it names. Where h5py is there, as on boards,
every array in the file is looked at; without it, only its beginning and its size.
"""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any, Iterator, Tuple

from trainer.formats.archives import ArchiveError

_SIGNATURE = b"\x89HDF\r\n\x1a\n"
_MOST_BYTES = 4 << 30  # MobileNetV2's have 9 MB
_MOST_OBJECTS, _DEEPEST = 100_000, 20  # MobileNetV2's have some hundred arrays in three levels
_LONG = 60  # characters of a name in a message


def check(path: Path) -> None:
    """Raises ArchiveError with what is wrong with a weight file."""
    size = path.stat().st_size
    if size > _MOST_BYTES:
        raise ArchiveError(f"model.weights: {path} has {size} bytes; give a weight file of at most {_MOST_BYTES}")
    with path.open("rb") as file:
        head = file.read(48)
    if not head.startswith(_SIGNATURE):
        raise ArchiveError(f"model.weights: {path} is not a Keras weight file (HDF5): give a .h5 file")
    # superblock version 0, the one that Keras writes, keeps the end of the file at byte 40
    if head[8:9] == b"\0" and len(head) == 48 and size < struct.unpack("<Q", head[40:48])[0]:
        raise ArchiveError(f"model.weights: {path} is cut off: fetch it again")
    try:
        import h5py
    except ImportError:  # on the controller
        return
    try:
        with h5py.File(str(path), "r") as content:
            claimed = 0
            for name, array in _arrays(h5py, content):
                claimed += array.nbytes
                numeric = array.dtype.kind in "fiu" and not array.is_virtual and array.external is None
                if not numeric or claimed > size:
                    why = "claims more bytes than the file has" if numeric else "is not an array of numbers in it"
                    raise ArchiveError(f"model.weights: {path} has {name!r}, which {why}: fetch it again")
    except (OSError, RuntimeError, KeyError, TypeError, ValueError, AttributeError) as error:
        if isinstance(error, ArchiveError):
            raise
        raise ArchiveError(f"model.weights: {path} is corrupt ({error}): fetch it again") from error


def _arrays(h5py: Any, content: Any) -> Iterator[Tuple[str, Any]]:
    """Every array in a file, and its name. Raises ValueError for links, which may lead to other files or in circles."""
    left = [(0, content)]
    count = 0
    while left:
        depth, group = left.pop()
        for name in group:
            count += 1
            shown = name if len(name) <= _LONG else f"{name[:_LONG]}..."
            if not isinstance(group.get(name, getlink=True), h5py.HardLink):
                raise ValueError(f"{shown!r} is a link")
            if count > _MOST_OBJECTS or depth > _DEEPEST:
                raise ValueError(f"it has more than {_MOST_OBJECTS} arrays or {_DEEPEST} levels")
            inside = group[name]
            if isinstance(inside, h5py.Group):
                left.append((depth + 1, inside))
            else:
                yield shown, inside
