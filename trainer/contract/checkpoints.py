"""The files of a board's checkpoints: their names, and which of them are complete. Standard library only.

trainer/formats/checkpoint.py writes and reads what is in them.
"""

from __future__ import annotations

import struct
import zipfile
from pathlib import Path
from typing import List


def path_of(folder: Path, epoch: int) -> Path:
    """Path of an epoch's checkpoint in the folder of checkpoints."""
    return folder / f"epoch-{epoch:05d}.npz"


def whole(folder: Path) -> List[int]:
    """The epochs with a complete checkpoint in the folder, in order."""
    return [epoch for epoch in named(folder) if is_whole(path_of(folder, epoch))]


def named(folder: Path) -> List[int]:
    """The epochs with a file named as a checkpoint, in order; copies have other names."""
    numbers = [path.stem.partition("-")[2] for path in folder.glob("epoch-*.npz")]
    return sorted(int(number) for number in numbers if number.isdecimal() and path_of(folder, int(number)).exists())


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
