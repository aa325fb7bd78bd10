"""A run's large files on the controller: found, downloaded or generated, and checked before a board is touched."""

from __future__ import annotations

import hashlib
import os
import re
import urllib.parse
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from controller import local_files, synthetic
from controller.download import download
from trainer.contract.config import ConfigError
from trainer.contract.layout import write_text
from trainer.contract.sections import Data, Model
from trainer.formats import archives, weights

# by data.source: the archive's URL, and its checksum from Keras' loader
DOWNLOADS = {
    "cifar100": (
        "https://www.cs.toronto.edu/~kriz/cifar-100-python.tar.gz",
        "85cd44d02ba6437773c5bbd22e183051d648de2e7d6b014e1ef29b855ba677a7",
    ),
}
# keras.applications' MobileNetV2 without top. Keras publishes no checksum: that of the first download is kept in a file
# beside it, and model.weights_sha256 can set it
IMAGENET_URL = (
    "https://storage.googleapis.com/tensorflow/keras-applications/mobilenet_v2/"
    "mobilenet_v2_weights_tf_dim_ordering_tf_kernels_1.0_224_no_top.h5"
)
_WANTED = {  # by data.source: the kind of its archive, and the remedy for another one
    "cifar100": (
        local_files.GZIP,
        "give the original cifar-100-python.tar.gz; for a NumPy archive set data.source to npz",
    ),
    "npz": (
        local_files.ZIP,
        "write one with numpy.savez(path, x_train=..., y_train=..., x_test=..., y_test=...); for CIFAR-100's own "
        "archive set data.source to cifar100",
    ),
}
_LONGEST_NAME = 200  # bytes of a file's name, which becomes part of longer names
_ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")
_SYNTHETIC_IMAGES = (50_000, 10_000)  # as in CIFAR-100
_DOWNLOAD_TIMEOUT_S = 15.0  # seconds without an answer


@dataclass(frozen=True)
class Asset:
    """A file that every board needs."""

    source: Path  # on the controller
    sha256: str

    def board_path(self, home: str) -> str:
        """Path on a board: includes the checksum, so that runs share the file."""
        return f"{home}/assets/{self.sha256[:16]}-{_short(self.source.name)}"

    def staging(self, home: str) -> dict[str, str]:
        """What the role dataset needs to copy it."""
        return {"source": str(self.source), "path": self.board_path(home), "sha256": self.sha256}


def prepare(data: Data | None, model: Model | None, project: Path, download: bool = True) -> dict[str, Asset]:
    """The assets of a configuration by kind (dataset, weights), present on the controller.

    Without `download` only those that exist already, and nothing is written: in check mode, and for a configuration
    with errors. Raises ConfigError with a sentence and remedy for each that is missing, corrupt or has another
    checksum.
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
            problems.append(
                f"the {kind} cannot be prepared ({error}): make sure that .cache is writable and has free space"
            )
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
    if config.path or config.train_images or config.validation_images:  # else its checksum suffices
        archives.load(config.source, asset.source, config.train_images, config.validation_images)
    return asset


def _weights(config: Model, project: Path, cache: Path) -> Asset | None:
    if config.weights == "none":
        return None
    if config.weights == "imagenet":
        asset = _pinned("model.weights", IMAGENET_URL, config.weights_sha256, cache)
    else:
        asset = _pinned("model.weights", config.weights, config.weights_sha256, cache, project)
    kind = local_files.kind(asset.source)
    if kind not in (local_files.HDF5, None):
        raise archives.ArchiveError(
            f"model.weights: {asset.source} is not a Keras weight file (HDF5), but {kind}: give a .h5 file, as "
            "model.save_weights('NAME.h5') writes it"
        )
    weights.check(asset.source)
    return asset


def _pinned(key: str, place: str, sha256: str | None, cache: Path, project: Path | None = None) -> Asset:
    """The file at a path or URL, checked against its checksum; `key` is its field."""
    if _ADDRESS.match(place):
        _check_address(key, place)
        path = _downloaded(key, place, cache)
        pin = path.with_name(path.name + ".sha256")
        if sha256 is None and pin.exists():
            sha256 = pin.read_text(encoding="ascii").strip() or None
    else:
        path, pin = local_files.find(key, place, project or Path()), None
    found = archives.sha256(path)
    if sha256 is not None and found != sha256:
        raise archives.ArchiveError(
            f"{key}: {path} has the checksum {found}, expected {sha256}: it is corrupt or another file; "
            "delete it and fetch it again, or correct the checksum"
        )
    if pin is not None and not (pin.exists() and pin.stat().st_size):
        write_text(pin, found + "\n")
    return Asset(path, found)


def _downloaded(key: str, address: str, cache: Path) -> Path:
    # two URLs may end in the same name
    digest = hashlib.sha256(address.encode(errors="backslashreplace")).hexdigest()
    path = cache / f"{digest[:8]}-{_short(address.rpartition('/')[2])}"
    try:
        download(address, path, _DOWNLOAD_TIMEOUT_S)
    except OSError as error:
        raise archives.ArchiveError(
            f"{key}: {address} cannot be downloaded ({error}): download it elsewhere and give its path as {key}"
        ) from error
    return path


def _check_address(key: str, address: str) -> None:
    try:
        parts = urllib.parse.urlsplit(address)
        scheme, host = parts.scheme, parts.hostname
    except ValueError as error:
        raise archives.ArchiveError(f"{key} is {address!r}, which is not a valid URL ({error}): correct it") from error
    if scheme == "file" and host in (None, "localhost"):
        local = urllib.request.url2pathname(parts.path)
        if os.path.lexists(local):  # else it may have been downloaded before
            local_files.find(key, local, Path("/"))
    elif scheme != "https" or not host:
        # other protocols do not authenticate the server
        raise archives.ArchiveError(
            f"{key} is {address!r}, but only https://HOST/... is supported: give such a URL, or download "
            "the file yourself and give its path"
        )


def _short(name: str) -> str:
    """The name with safe characters only, cut to its end if it is too long."""
    plain = re.sub(r"[^\w.,+=@~-]", "_", name)
    return plain if len(plain.encode()) <= _LONGEST_NAME else plain[-_LONGEST_NAME // 4 :]
