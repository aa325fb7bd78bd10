"""Reads NumPy's archives of numeric arrays. NumPy only.

NumPy's own reader evaluates an array's header and allocates what it claims. Here a header is matched, not evaluated,
and must claim as many bytes as the archive has of this array.
"""

from __future__ import annotations

import re
import struct
import zipfile
from pathlib import Path
from typing import Collection, Dict, Optional

import numpy as np

_HEADER = re.compile(
    rb"\{'descr': '([|<>=][biuf][1248])', 'fortran_order': (True|False), "
    rb"'shape': \(((?:\d{1,15}L?, ?)*(?:\d{1,15}L?)?)\), \}\s*"  # L: a long number of Python 2
)
_LONGEST_HEADER = 10_000  # bytes, as NumPy allows
_MOST_DIMENSIONS = 32  # NumPy 1's own limit
_MOST_ARRAYS = 10_000  # a checkpoint has some hundred


class NpzError(ValueError):
    """An archive that is not one of numeric arrays, or is not what it claims."""


def read(path: Path, most_bytes: int, names: Optional[Collection[str]] = None) -> Dict[str, np.ndarray]:
    """The archive's arrays by name, all or those in `names`; `most_bytes` limits what is unpacked.

    Raises NpzError where it lacks one, or one is not numeric or not as long as it claims; OSError, zipfile.BadZipFile
    and zlib.error where the file is damaged.
    """
    with path.open("rb") as file:
        if file.read(2) not in (b"PK", b""):
            raise NpzError("it is not a zip file")
    with zipfile.ZipFile(str(path)) as archive:
        members = {member.filename: member for member in archive.infolist()}
        wanted = [f"{name}.npy" for name in names] if names is not None else list(members)
        missing = [name[: -len(".npy")] for name in wanted if name not in members]
        if missing:
            raise NpzError(f"it lacks {', '.join(missing)}")
        if len(wanted) > _MOST_ARRAYS or sum(members[name].file_size for name in wanted) > most_bytes:
            raise NpzError(f"its {len(wanted)} arrays take more than {most_bytes} bytes")
        return {name[: -len(".npy")]: _array(archive, members[name]) for name in wanted}


def _array(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> np.ndarray:
    name = member.filename[: -len(".npy")]
    if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise NpzError(f"{name} is compressed in another way than NumPy's")
    with archive.open(member) as stream:
        magic = stream.read(8)
        width = {b"\x01\x00": "<H", b"\x02\x00": "<I", b"\x03\x00": "<I"}.get(magic[6:])
        if magic[:6] != b"\x93NUMPY" or width is None:
            raise NpzError(f"{name} is not an array of NumPy's")
        counted = stream.read(struct.calcsize(width))
        (length,) = struct.unpack(width, counted) if len(counted) == struct.calcsize(width) else (0,)
        header = stream.read(min(length, _LONGEST_HEADER))
        found = _HEADER.fullmatch(header)
        if not found:
            raise NpzError(f"{name} is not an array of numbers")
        try:
            kind = np.dtype(found[1].decode("ascii"))
        except TypeError as error:  # such as <b4: a letter and a size that do not go together
            raise NpzError(f"{name} is not an array of numbers") from error
        shape = tuple(int(part) for part in re.findall(rb"[0-9]+", found[3]))
        count = 1
        for part in shape:
            count *= part
        size = member.file_size - 8 - len(counted) - len(header)
        if count * kind.itemsize != size or len(shape) > _MOST_DIMENSIONS:
            raise NpzError(f"{name} claims the shape {shape} of {kind}, and has {size} bytes")
        content = stream.read(size)
        if len(content) != size or stream.read(1):
            raise NpzError(f"{name} is cut off")
    flat = np.frombuffer(content, kind) if content else np.zeros(0, kind)
    return flat.reshape(shape, order="F" if found[2] == b"True" else "C")
