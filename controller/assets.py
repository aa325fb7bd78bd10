"""The large files of a run, on the controller: found, fetched or generated, and checked before a board is touched."""

from __future__ import annotations

import hashlib
import os
import re
import struct
import urllib.parse
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from controller import local_files, synthetic
from controller.download import download
from trainer.contract.config import ConfigError, Data, Model
from trainer.formats import archives

# data.source -> address of its archive, and the checksum that Keras' loader of it has
DOWNLOADS = {
    "cifar100": (
        "https://www.cs.toronto.edu/~kriz/cifar-100-python.tar.gz",
        "85cd44d02ba6437773c5bbd22e183051d648de2e7d6b014e1ef29b855ba677a7",
    ),
}
# keras.applications' MobileNetV2 without top. Keras gives no checksum for it: the first download is pinned in a file
# beside it, and model.weights_sha256 may name it
IMAGENET_URL = (
    "https://storage.googleapis.com/tensorflow/keras-applications/mobilenet_v2/"
    "mobilenet_v2_weights_tf_dim_ordering_tf_kernels_1.0_224_no_top.h5"
)
_WANTED = {  # of data.source: what its archive is, and what else will do
    "cifar100": (
        local_files.GZIP,
        "give CIFAR-100's cifar-100-python.tar.gz as it was published; for a NumPy archive set data.source to npz",
    ),
    "npz": (
        local_files.ZIP,
        "write one with numpy.savez(path, x_train=..., y_train=..., x_test=..., y_test=...); for CIFAR-100's own "
        "archive set data.source to cifar100",
    ),
}
_LONGEST_NAME = 200  # bytes of a file's own name, in longer ones on boards and in the cache
_ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")
_SYNTHETIC_IMAGES = (50_000, 10_000)  # as many as CIFAR-100 has
_DOWNLOAD_TIMEOUT_S = 15.0  # without an answer


@dataclass(frozen=True)
class Asset:
    """A file that every board needs."""

    source: Path  # on the controller
    sha256: str

    def board_path(self, home: str) -> str:
        """Where it lies on a board: under its checksum, so that runs share it."""
        return f"{home}/assets/{self.sha256[:16]}-{_short(self.source.name)}"

    def staging(self, home: str) -> dict[str, str]:
        """What the stage that copies it to the boards must know."""
        return {"source": str(self.source), "path": self.board_path(home), "sha256": self.sha256}


def prepare(data: Data | None, model: Model | None, project: Path, download: bool = True) -> dict[str, Asset]:
    """The assets of a configuration by kind (dataset, weights), ready on the controller.

    Without `download` only those that are files here, and nothing is written: in check mode, and for a configuration of
    which not all could be understood.
    Raises ConfigError with a sentence and its remedy for each that is missing, torn or of another checksum.
    """
    problems: list[str] = []
    found: dict[str, Asset] = {}

    def away(place: str | None) -> bool:
        return not download and (place in (None, "imagenet") or bool(_ADDRESS.match(place or "")))

    cache = project / ".cache"
    if download:
        cache.mkdir(exist_ok=True)
    kinds: dict[str, Callable[[], Asset | None]] = {
        "dataset": lambda: None if data is None or away(data.path) else _dataset(data, project, cache),
        "weights": lambda: None if model is None or away(model.weights) else _weights(model, project, cache),
    }
    for kind, make in kinds.items():
        try:
            asset = make()
        except archives.ArchiveError as error:
            problems.append(str(error))
            continue
        except OSError as error:
            problems.append(f"the {kind} cannot be prepared ({error}): see that .cache has room and can be written")
            continue
        if asset is not None:
            found[kind] = asset
    if problems:
        raise ConfigError(problems)
    return found


def _dataset(config: Data, project: Path, cache: Path) -> Asset:
    if config.source == "synthetic":
        counts = [
            wanted or default
            for wanted, default in zip((config.train_images, config.validation_images), _SYNTHETIC_IMAGES, strict=True)
        ]
        path = cache / f"synthetic-{counts[0]}-{counts[1]}-v{synthetic.VERSION}.tar.gz"
        if not path.exists():
            synthetic.write_archive(path, *counts)
        return Asset(path, archives.sha256(path))
    if config.path is None:
        asset = _pinned("data.path", *DOWNLOADS[config.source], cache)
    else:
        asset = _pinned("data.path", config.path, config.sha256, cache, project)
        wanted, remedy = _WANTED[config.source]
        kind = local_files.kind(asset.source)
        if kind not in (wanted, None):
            raise archives.ArchiveError(
                f"data.path: {asset.source} is {kind}, but data.source {config.source} needs {wanted}: {remedy}"
            )
    if config.path or config.train_images or config.validation_images:  # the official archive is known to be whole
        archives.load(config.source, asset.source, config.train_images, config.validation_images)
    return asset


def _weights(config: Model, project: Path, cache: Path) -> Asset | None:
    if config.weights == "none":
        return None
    if config.weights == "imagenet":
        asset = _pinned("model.weights", IMAGENET_URL, config.weights_sha256, cache)
    else:
        asset = _pinned("model.weights", config.weights, config.weights_sha256, cache, project)
    _check_hdf5(asset.source)
    return asset


def _pinned(key: str, place: str, sha256: str | None, cache: Path, project: Path | None = None) -> Asset:
    """The file at a path or an address, checked against its checksum; `key` is the field that names it."""
    if _ADDRESS.match(place):
        _check_address(key, place)
        path = _downloaded(key, place, cache)
        pin = path.with_name(path.name + ".sha256")
        if sha256 is None and pin.exists():
            sha256 = pin.read_text(encoding="ascii").strip()
    else:
        path, pin = local_files.find(key, place, project or Path()), None
    found = archives.sha256(path)
    if sha256 is not None and found != sha256:
        raise archives.ArchiveError(
            f"{key}: {path} has the checksum {found}, wanted is {sha256}: it is torn or another file; "
            "remove it and fetch it again, or give its own checksum"
        )
    if pin is not None and not pin.exists():
        pin.write_text(found + "\n", encoding="ascii")
    return Asset(path, found)


def _downloaded(key: str, address: str, cache: Path) -> Path:
    # two addresses may end in the same name
    digest = hashlib.sha256(address.encode(errors="backslashreplace")).hexdigest()
    path = cache / f"{digest[:8]}-{_short(address.rpartition('/')[2])}"
    try:
        download(address, path, _DOWNLOAD_TIMEOUT_S)
    except OSError as error:
        raise archives.ArchiveError(
            f"{key}: {address} cannot be fetched ({error}): fetch it elsewhere and give its path in {key}"
        ) from error
    return path


def _check_address(key: str, address: str) -> None:
    try:
        parts = urllib.parse.urlsplit(address)
        scheme, host = parts.scheme, parts.hostname
    except ValueError as error:
        raise archives.ArchiveError(f"{key} is {address!r}, which is no address ({error}): correct it") from error
    if scheme == "file" and host in (None, "localhost"):
        local = urllib.request.url2pathname(parts.path)
        if os.path.lexists(local):  # else it may have been fetched before
            local_files.find(key, local, Path("/"))
    elif scheme != "https" or not host:
        # nothing would vouch for what arrives from elsewhere
        raise archives.ArchiveError(
            f"{key} is {address!r}, but only https://HOST/... is fetched: give such an address, or fetch the file "
            "yourself and give its path"
        )


def _short(name: str) -> str:
    """The name as any file system and sha256sum take it: without odd characters, or only its end."""
    plain = re.sub(r"[^\w.,+=@~-]", "_", name)
    return plain if len(plain.encode()) <= _LONGEST_NAME else plain[-_LONGEST_NAME // 4 :]


def _check_hdf5(path: Path) -> None:
    """Keras' weight files are HDF5; its superblock says how long the file must be."""
    kind = local_files.kind(path)
    if kind != local_files.HDF5:
        raise archives.ArchiveError(
            f"model.weights: {path} is not a Keras weight file (HDF5){f', but {kind}' if kind else ''}: give a .h5 "
            "file, as model.save_weights('NAME.h5') writes it"
        )
    with path.open("rb") as file:
        head = file.read(48)
    # superblock version 0, the one that Keras writes, keeps the end of the file at byte 40
    if head[8] == 0 and len(head) == 48 and path.stat().st_size < struct.unpack("<Q", head[40:48])[0]:
        raise archives.ArchiveError(f"model.weights: {path} is cut off: fetch it again")
