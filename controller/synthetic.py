"""Generated images: an archive of 20 learnable classes in CIFAR-100's own file format, and 100 classes for benchmarks.

For rehearsals and tests without the real archive. The same arguments give the same bytes. The archive has CIFAR-100's
100 classes, so that the model is the paper's, but images of the first 20 alone; its names say that it is synthetic.
"""

from __future__ import annotations

import gzip
import io
import pickle
import tarfile
from pathlib import Path
from typing import Any

import numpy as np

from trainer.formats.archives import FOLDER, SIDE

VERSION = 2  # raise it with every change to the archive's images
CLASSES = 100
SHOWN = 20  # classes of which the archive has images
_PATTERNS = 10
_NOISE = 20.0  # standard deviation, of 255
_ORIENTATIONS = 4
_TURNED_DEG = 10.0  # standard deviation of the orientation; the next one is 45 away
_ODD = 0.15  # part of the images that look like any class


def gratings(labels: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """One image for each label, from 0 to 19: uint8, (n, 32, 32, 3).

    A class is a grating in one of four orientations, give or take, and one of five pairs of colours. Each image has its
    own phase, so that single pixels tell little of the orientation, and its own brightness and noise. One image in
    seven looks like any class: a model that has learned all there is gets about 0.86 of them right.
    """
    count = len(labels)
    looks = np.where(rng.random(count) < _ODD, rng.integers(0, SHOWN, count), labels)
    y, x = _grid()
    turned = looks % _ORIENTATIONS * (np.pi / _ORIENTATIONS) + np.deg2rad(_TURNED_DEG) * rng.standard_normal(count)
    field = 3.5 * (x * np.cos(turned)[:, None, None] + y * np.sin(turned)[:, None, None])
    return _coloured(field, looks // _ORIENTATIONS / (SHOWN // _ORIENTATIONS), rng, _NOISE)


def patterns(labels: np.ndarray, rng: np.random.Generator, noise: float) -> np.ndarray:
    """One image for each label, from 0 to 99: uint8, (n, 32, 32, 3). `noise`: its standard deviation, of 255.

    A class is one of ten gratings and rings in one of ten pairs of colours; each image has its own phase, brightness
    and noise.
    """
    pattern, colour = labels % _PATTERNS, labels // _PATTERNS
    y, x = _grid()
    # gratings in seven orientations, then rings of three widths
    angle = (np.minimum(pattern, 6) * (np.pi / 7))[:, None, None]
    straight = x * np.cos(angle) + y * np.sin(angle)
    round_ = np.sqrt(x**2 + y**2)[None] * np.array([1.0, 1.6, 2.4])[np.maximum(pattern - 7, 0)][:, None, None]
    field = np.where((pattern < 7)[:, None, None], straight, round_)
    return _coloured(3.5 * field, colour / 10.0, rng, noise)


def _grid() -> np.ndarray:
    """y and x of each pixel: (2, 32, 32), from -0.5 on."""
    return np.mgrid[0:SIDE, 0:SIDE].astype(np.float32) / SIDE - 0.5


def _coloured(field: np.ndarray, hue: np.ndarray, rng: np.random.Generator, noise: float) -> np.ndarray:
    """Waves along `field` (n, 32, 32) in pairs of colours `hue` (n) -> images, uint8, (n, 32, 32, 3)."""
    count = len(hue)
    phase = rng.uniform(0, 2 * np.pi, (count, 1, 1))
    wave = (0.5 + 0.5 * np.sin(2 * np.pi * field + phase))[..., None]
    hue = hue[:, None] + np.array([0.0, 1 / 3, 2 / 3])
    bright, dark = 0.5 + 0.5 * np.cos(2 * np.pi * hue), 0.5 + 0.5 * np.cos(2 * np.pi * (hue + 0.35))
    blend = bright[:, None, None, :] * wave + dark[:, None, None, :] * (1 - wave)
    level = rng.uniform(0.75, 1.0, (count, 1, 1, 1))
    noisy = 255 * level * blend + rng.normal(0, noise, (count, SIDE, SIDE, 3))
    pixels: np.ndarray = np.clip(noisy, 0, 255).astype(np.uint8)
    return pixels


def write_archive(path: Path, train_images: int, validation_images: int, seed: int = 0) -> None:
    """Write the archive: CIFAR-100's layout, its first 20 classes equally often (within one)."""
    rng = np.random.default_rng(seed)
    names = [f"synthetic_{number:03d}".encode() for number in range(CLASSES)]
    groups = [f"synthetic_group_{number:02d}".encode() for number in range(20)]
    files = {
        "meta": {b"fine_label_names": names, b"coarse_label_names": groups},
        "test": _split(b"synthetic testing batch 1 of 1", validation_images, rng),
        "train": _split(b"synthetic training batch 1 of 1", train_images, rng),
    }
    draft = path.with_name(path.name + ".part")
    # no time stamps or names: the bytes depend on the arguments only
    with (
        draft.open("wb") as raw,
        gzip.GzipFile("", "wb", 1, raw, mtime=0) as packed,
        tarfile.open(fileobj=packed, mode="w", format=tarfile.USTAR_FORMAT) as archive,
    ):
        for name, content in files.items():
            _add(archive, f"{FOLDER}/{name}", _python2_pickle(content))
    draft.replace(path)


def _split(title: bytes, count: int, rng: np.random.Generator) -> dict[bytes, Any]:
    labels = rng.permutation(np.arange(count) % SHOWN)
    parts = [gratings(part, rng) for part in np.array_split(labels, max(1, count // 5000))]
    rows = np.concatenate(parts).transpose(0, 3, 1, 2).reshape(count, -1)
    return {
        b"batch_label": title,
        b"data": rows,
        b"fine_labels": [int(label) for label in labels],
        b"coarse_labels": [int(label) // 5 for label in labels],
        b"filenames": [f"synthetic_{label:03d}_{number:06d}.png".encode() for number, label in enumerate(labels)],
    }


def _python2_pickle(content: dict[bytes, Any]) -> bytes:
    # NumPy 2 names its module _core, which older NumPy cannot load; protocol 2 writes names as plain lines
    return pickle.dumps(content, protocol=2).replace(b"cnumpy._core.multiarray\n", b"cnumpy.core.multiarray\n")


def _add(archive: tarfile.TarFile, name: str, content: bytes) -> None:
    member = tarfile.TarInfo(name)
    member.size, member.mode = len(content), 0o644
    archive.addfile(member, io.BytesIO(content))
