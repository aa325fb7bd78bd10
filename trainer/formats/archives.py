"""Reads and checks image archives. NumPy only: controller and boards use it."""

from __future__ import annotations

import gzip
import hashlib
import pickle
import tarfile
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Callable, Dict, NamedTuple, Optional, Tuple, cast

import numpy as np

from trainer.formats import npz, unpickle

FOLDER = "cifar-100-python"
SIDE = 32  # pixels
_PARTS = ("train", "test", "meta")
# What an archive may have when unpacked: this, or so many times its own size. Images are hardly compressed, bombs are.
_SMALL_BYTES, _MOST_TIMES = 1 << 30, 20
_MOST_MEMBERS = 1000
_MOST_CLASSES = 100_000  # each is a row of the last layer's weights; ImageNet has 21,841


class ArchiveError(ValueError):
    """An archive is missing, corrupt or of the wrong kind; the message has path and remedy."""


@dataclass(frozen=True)
class Images:
    """A data set in memory."""

    x_train: np.ndarray  # uint8, (n, height, width, 3)
    y_train: np.ndarray  # int32, (n,)
    x_test: np.ndarray
    y_test: np.ndarray
    classes: int
    synthetic: bool


def sha256(path: Path) -> str:
    """Checksum of a file, 64 hexadecimal digits."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        for block in iter(lambda: file.read(1 << 20), b""):
            digest.update(block)
    return digest.hexdigest()


def load(source: str, path: Path, train_images: Optional[int], validation_images: Optional[int]) -> Images:
    """The first images of an archive (None: all). `source` is cifar100, synthetic or npz.

    Raises ArchiveError where the file is missing or corrupt, or lacks the expected arrays.
    """
    try:
        images = _FORMATS[source].load(path)
    except FileNotFoundError as error:
        raise ArchiveError(f"{path} does not exist: give the path of the archive in data.path") from error
    except (
        tarfile.TarError,
        zipfile.BadZipFile,
        zlib.error,
        EOFError,
        OSError,
        pickle.UnpicklingError,
    ) as error:
        raise ArchiveError(f"{path} is corrupt ({error}): fetch or write it again") from error
    except Exception as error:  # unpickling and unzipping can raise anything
        raise ArchiveError(f"{path} is not {_FORMATS[source].name}: {error or type(error).__name__}") from error
    for key, wanted, labels in (
        ("data.train_images", train_images, images.y_train),
        ("data.validation_images", validation_images, images.y_test),
    ):
        if wanted is not None and wanted > len(labels):
            raise ArchiveError(f"{key} is {wanted}, but {path} has {len(labels)}: lower it, or leave it out for all")
    return Images(
        images.x_train[:train_images],
        images.y_train[:train_images],
        images.x_test[:validation_images],
        images.y_test[:validation_images],
        images.classes,
        images.synthetic,
    )


class _Unpacked:
    """A stream of which tarfile reads few bytes at once, since a member's header may claim gigabytes."""

    def __init__(self, stream: gzip.GzipFile, most: int) -> None:
        self._stream, self._most = stream, most
        self.tell = stream.tell

    def read(self, size: int = -1) -> bytes:
        if not 0 <= size <= unpickle.MOST_READ or self.tell() + size > self._most:
            raise tarfile.ReadError(f"a member's header claims {size} bytes, or all have more than {self._most}")
        return self._stream.read(size)

    def seek(self, offset: int) -> int:
        if not 0 <= offset <= self._most:
            raise tarfile.ReadError(f"it claims to continue at byte {offset}")
        return self._stream.seek(offset)


def _load_cifar100(path: Path) -> Images:
    parts: Dict[str, Dict[bytes, Any]] = {}
    with gzip.open(str(path)) as packed:
        archive = tarfile.open(fileobj=cast(IO[bytes], _Unpacked(packed, _most_bytes(path))), mode="r:")  # noqa: SIM115
        for count, member in enumerate(archive):
            name = member.name.rpartition("/")[2]
            plain = member.isreg() and not member.issparse()  # links may point anywhere, sparse files may be huge
            stream = archive.extractfile(member) if plain and name in _PARTS else None
            if count >= _MOST_MEMBERS or name in parts:
                raise ValueError(f"it has {name} twice" if name in parts else f"it has over {_MOST_MEMBERS} members")
            if stream is not None:
                parts[name] = unpickle.load(stream, member.size)
    missing = [name for name in _PARTS if name not in parts]
    if missing:
        raise KeyError(f"it lacks {FOLDER}/{', '.join(missing)}")
    names = parts["meta"][b"fine_label_names"]
    if not isinstance(names, list) or not all(isinstance(name, (bytes, str)) for name in names):
        raise ValueError("its fine_label_names are not a list of text")
    if not 0 < len(names) <= _MOST_CLASSES:
        raise ValueError(f"it has {len(names)} classes; give 1 to {_MOST_CLASSES}")
    x_train, y_train = _rows("train", parts["train"], len(names))
    x_test, y_test = _rows("test", parts["test"], len(names))
    synthetic = names[0].startswith("synthetic" if isinstance(names[0], str) else b"synthetic")
    return Images(x_train, y_train, x_test, y_test, len(names), synthetic)


def _rows(name: str, part: Dict[bytes, Any], classes: int) -> Tuple[np.ndarray, np.ndarray]:
    pixels, labels = part[b"data"], part[b"fine_labels"]
    if not isinstance(labels, list) or not labels or not all(type(it) is int and 0 <= it < classes for it in labels):
        raise ValueError(f"fine_labels of {name} are not a list of class numbers from 0 to {classes - 1}")
    if not isinstance(pixels, np.ndarray) or pixels.dtype != np.uint8 or pixels.shape != (len(labels), 3 * SIDE**2):
        found = f"{pixels.dtype} of shape {pixels.shape}" if isinstance(pixels, np.ndarray) else "no array"
        raise ValueError(f"data of {name} is {found}; expected uint8 ({len(labels)}, {3 * SIDE**2})")
    images = pixels.reshape(len(labels), 3, SIDE, SIDE).transpose(0, 2, 3, 1)
    return np.ascontiguousarray(images), np.asarray(labels, np.int32)


def _load_npz(path: Path) -> Images:
    arrays = npz.read(path, _most_bytes(path), ("x_train", "y_train", "x_test", "y_test"))
    for split in ("train", "test"):
        x, y = arrays[f"x_{split}"], arrays[f"y_{split}"].reshape(-1)
        if x.dtype != np.uint8 or x.ndim != 4 or x.shape[-1] != 3 or x.size == 0:
            raise ValueError(f"x_{split} is {x.dtype} of shape {x.shape}; expected uint8 (n, height, width, 3)")
        if y.dtype.kind not in "iu" or len(y) != len(x) or y.min() < 0:
            raise ValueError(f"y_{split} is {y.dtype} of shape {y.shape}; expected {len(x)} class numbers from 0")
        if y.max() >= _MOST_CLASSES:
            raise ValueError(f"y_{split} has the class {y.max()}; give classes below {_MOST_CLASSES}")
        arrays[f"y_{split}"] = y.astype(np.int32)
    if arrays["x_train"].shape[1:] != arrays["x_test"].shape[1:]:
        raise ValueError("the images in x_train and x_test differ in size")
    classes = int(max(arrays["y_train"].max(), arrays["y_test"].max())) + 1
    return Images(arrays["x_train"], arrays["y_train"], arrays["x_test"], arrays["y_test"], classes, False)


def _most_bytes(path: Path) -> int:
    """What an archive may have when unpacked."""
    return max(_SMALL_BYTES, _MOST_TIMES * path.stat().st_size)


class _Format(NamedTuple):
    name: str
    load: Callable[[Path], Images]


_CIFAR100 = _Format("CIFAR-100's python archive", _load_cifar100)
_FORMATS = {  # of data.source
    "cifar100": _CIFAR100,
    "synthetic": _CIFAR100,  # generated in it
    "npz": _Format("a NumPy archive with x_train, y_train, x_test, y_test", _load_npz),
}
