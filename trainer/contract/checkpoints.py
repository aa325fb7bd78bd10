"""The files of a board's checkpoints: their names, and which of them are complete. Standard library only.

trainer/formats/checkpoint.py writes and reads what is in them.
"""

from __future__ import annotations

import re
import struct
import zipfile
from pathlib import Path
from typing import Any, List, NamedTuple

_NAME = re.compile("epoch-([0-9]{1,9})(?:-([0-9]{1,9}))?")
_MOST = 1 << 31


class Place(NamedTuple):
    """Where in a run a checkpoint was made; the later, the greater."""

    epoch: int  # the last completed one, from 1; 0: none
    images: int = 0  # of the next epoch that all boards together have trained on; with data.sharding whole: each board

    def __str__(self) -> str:
        if not self.images:
            return f"epoch {self.epoch}" if self.epoch else "the beginning"
        return f"{self.images} images of epoch {self.epoch + 1}"


START = Place(0)


def as_place(value: Any) -> Place:
    """The place that a JSON list describes. Raises ValueError or TypeError for anything else."""
    epoch, images = value
    if not all(isinstance(it, int) and not isinstance(it, bool) and 0 <= it < _MOST for it in (epoch, images)):
        raise ValueError("this is no place of a checkpoint: it needs two whole numbers")
    return Place(epoch, images)


def path_of(folder: Path, place: Place) -> Path:
    """Path of a place's checkpoint in the folder of checkpoints."""
    return folder / (f"epoch-{place.epoch:05d}" + (f"-{place.images:09d}" if place.images else "") + ".npz")


def whole(folder: Path) -> List[Place]:
    """The places with a complete checkpoint in the folder, in order."""
    return [place for place in named(folder) if is_whole(path_of(folder, place))]


def named(folder: Path) -> List[Place]:
    """The places with a file named as a checkpoint, in order; copies have other names."""
    matches = [_NAME.fullmatch(path.stem) for path in folder.glob("epoch-*.npz")]
    places = [Place(int(match[1]), int(match[2] or 0)) for match in matches if match]
    return sorted(place for place in places if path_of(folder, place).exists())


def is_whole(path: Path) -> bool:
    """Whether all of an uncompressed archive is there and has its checksums."""
    try:
        with zipfile.ZipFile(str(path)) as archive:
            members = archive.infolist()
            stored = all(member.compress_type == zipfile.ZIP_STORED for member in members)
            if not stored or sum(member.file_size for member in members) > path.stat().st_size:
                return False  # a bomb: these take no more than the file itself
            return archive.testzip() is None
    except (OSError, ValueError, RuntimeError, EOFError, struct.error, zipfile.BadZipFile):
        return False
