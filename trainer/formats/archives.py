"""Reads and checks image archives. NumPy only: controller and boards use it."""

from __future__ import annotations

import hashlib
import pickle
import tarfile
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Callable, Dict, List, NamedTuple, Optional, Tuple

import numpy as np

FOLDER = "cifar-100-python"
SIDE = 32  # pixels


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


class _ArraysOnly(pickle.Unpickler):
    """An unpickler that makes NumPy arrays and nothing else, since a pickle can run code."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("_codecs", "encode"):
            return super().find_class(module, name)
        if module in ("numpy", "numpy.core.multiarray", "numpy._core.multiarray"):
            if name in ("ndarray", "dtype"):
                return getattr(np, name)
            if name == "_reconstruct":
                return np.zeros(0).__reduce__()[0]  # its module depends on NumPy's version
        raise pickle.UnpicklingError(f"it calls {module}.{name}, which image archives do not need")


def _load_cifar100(path: Path) -> Images:
    with tarfile.open(str(path), "r:gz") as archive:
        parts: Dict[str, Dict[bytes, Any]] = {}
        for member in archive:
            name = member.name.rpartition("/")[2]
            plain = member.isreg() and not member.issparse()  # links may point anywhere, sparse files may be huge
            stream = archive.extractfile(member) if plain and name in ("train", "test", "meta") else None
            if stream is not None:
                parts[name] = _ArraysOnly(stream, encoding="bytes").load()
    missing = [name for name in ("train", "test", "meta") if name not in parts]
    if missing:
        raise KeyError(f"it lacks {FOLDER}/{', '.join(missing)}")
    x_train, y_train = _rows(parts["train"])
    x_test, y_test = _rows(parts["test"])
    names: List[bytes] = parts["meta"][b"fine_label_names"]
    return Images(x_train, y_train, x_test, y_test, len(names), names[0].startswith(b"synthetic"))


def _rows(part: Dict[bytes, Any]) -> Tuple[np.ndarray, np.ndarray]:
    pixels, labels = part[b"data"], np.asarray(part[b"fine_labels"], np.int32)
    images = pixels.reshape(len(labels), 3, SIDE, SIDE).transpose(0, 2, 3, 1)
    return np.ascontiguousarray(images), labels


def _load_npz(path: Path) -> Images:
    with np.load(str(path), allow_pickle=False) as archive:
        arrays = {name: archive[name] for name in ("x_train", "y_train", "x_test", "y_test")}
    for split in ("train", "test"):
        x, y = arrays[f"x_{split}"], arrays[f"y_{split}"].reshape(-1)
        if x.dtype != np.uint8 or x.ndim != 4 or x.shape[-1] != 3:
            raise ValueError(f"x_{split} is {x.dtype} of shape {x.shape}; expected uint8 (n, height, width, 3)")
        if y.dtype.kind not in "iu" or len(y) != len(x) or len(y) == 0 or y.min() < 0:
            raise ValueError(f"y_{split} is {y.dtype} of shape {y.shape}; expected {len(x)} class numbers from 0")
        arrays[f"y_{split}"] = y.astype(np.int32)
    if arrays["x_train"].shape[1:] != arrays["x_test"].shape[1:]:
        raise ValueError("the images in x_train and x_test differ in size")
    classes = int(max(arrays["y_train"].max(), arrays["y_test"].max())) + 1
    return Images(arrays["x_train"], arrays["y_train"], arrays["x_test"], arrays["y_test"], classes, False)


class _Format(NamedTuple):
    name: str
    load: Callable[[Path], Images]


_CIFAR100 = _Format("CIFAR-100's python archive", _load_cifar100)
_FORMATS = {  # of data.source
    "cifar100": _CIFAR100,
    "synthetic": _CIFAR100,  # generated in it
    "npz": _Format("a NumPy archive with x_train, y_train, x_test, y_test", _load_npz),
}
