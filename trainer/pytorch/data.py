"""Images in the memory of the device, and each board's batches of them in the order of loop/shard.py."""

from __future__ import annotations

from typing import Iterator, Tuple

import numpy as np
import torch

from trainer.formats.archives import Images
from trainer.loop.shard import Shard, training_order, validation_order

# images [b, 3, h, w] uint8, or features [b, n] float32; labels [b] int64
Batch = Tuple[torch.Tensor, torch.Tensor]


class Data:
    """All images on the device: uint8, a few hundred megabytes at most."""

    def __init__(self, images: Images, device: torch.device) -> None:
        self._train = _pixels(images.x_train, device), _labels(images.y_train, device)
        self._test = _pixels(images.x_test, device), _labels(images.y_test, device)
        self.train_images, self.validation_images = len(images.y_train), len(images.y_test)
        self.classes, self.synthetic = images.classes, images.synthetic

    def training_batches(self, shard: Shard, seed: int, epoch: int) -> Iterator[Batch]:
        """This board's batches of an epoch (from 0)."""
        return _batches(self._train, training_order(shard, self.train_images, seed, epoch), shard.batch)

    def validation_batches(self, shard: Shard) -> Iterator[Batch]:
        """Batches of this board's part of the validation images, in order."""
        return _batches(self._test, validation_order(shard, self.validation_images), shard.batch)

    def replace_images(self, train: torch.Tensor, test: torch.Tensor) -> None:
        """Train and validate on these features [n, f] instead of the images."""
        self._train, self._test = (train, self._train[1]), (test, self._test[1])

    def all_images(self, batch: int) -> Tuple[Iterator[torch.Tensor], Iterator[torch.Tensor]]:
        """The images of training and of validation in batches, in the order of the archive."""
        return iter(self._train[0].split(batch)), iter(self._test[0].split(batch))


def _pixels(array: np.ndarray, device: torch.device) -> torch.Tensor:
    # a view with channels first, and in memory last: the layout in which convolutions are fastest
    return torch.from_numpy(np.ascontiguousarray(array)).to(device).permute(0, 3, 1, 2)


def _labels(array: np.ndarray, device: torch.device) -> torch.Tensor:
    return torch.from_numpy(array.astype(np.int64)).to(device)


def _batches(images: Batch, order: np.ndarray, batch: int) -> Iterator[Batch]:
    x, y = images
    for chosen in torch.from_numpy(order.astype(np.int64)).to(y.device).split(batch):
        yield x[chosen], y[chosen]
