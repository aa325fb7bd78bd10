"""The input pipeline: images stay in memory as bytes, each board draws its own batches.

The order of an epoch is a function of seed, epoch and rank alone: the same run gives the same batches, and a
resumed one goes on with the batches that the uninterrupted one would have seen.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import List, Tuple

import numpy as np
import tensorflow as tf

from trainer.formats.archives import Images

_LARGER = 4  # times; without a backward pass a layer's values need not be kept


@dataclass(frozen=True)
class Shard:
    """The part of the images that one board trains on in an epoch."""

    rank: int
    workers: int
    sharded: bool  # a part of the images; false: all
    batch: int  # images per step
    # batches of all boards in rank order, if they differ: parts are then in proportion to them
    batches: Tuple[int, ...] = ()
    # steps of all boards in an epoch in rank order, if they differ in number
    counts: Tuple[int, ...] = ()

    @property
    def weight(self) -> float:
        """This board's weight in a mean over the boards; 1 if all are equal."""
        return self.batch * self.workers / sum(self.batches) if self.batches else 1.0

    def of_all(self) -> List[Shard]:
        """The parts of all boards in rank order."""
        return [dataclasses.replace(self, rank=rank) for rank in range(self.workers)]

    def images(self, total: int) -> int:
        """Images of this board in an epoch; where parts must be equal or have whole batches, some repeat."""
        if self.batches or self.counts:
            return self.steps(total) * self.batch
        return -(-total // self.workers) if self.sharded else total

    def steps(self, total: int) -> int:
        """Steps of this board in an epoch; the last may have fewer images."""
        if self.counts:
            return self.counts[self.rank]
        return -(-total // sum(self.batches)) if self.batches else -(-self.images(total) // self.batch)


def validation_shard(shard: Shard) -> Shard:
    """The part of the validation images of a board, in batches several times as large as those of training."""
    batches = tuple(_LARGER * batch for batch in shard.batches)
    return dataclasses.replace(shard, sharded=True, batch=_LARGER * shard.batch, batches=batches, counts=())


def training_batches(images: Images, shard: Shard, seed: int, epochs: range) -> tf.data.Dataset:
    """Batches of (uint8 images, int32 labels) of all `epochs` (from 0) in order."""
    indices = training_indices(len(images.y_train), shard, seed, epochs)
    return _batches(indices, images.x_train, images.y_train)


def training_indices(total: int, shard: Shard, seed: int, epochs: range) -> tf.data.Dataset:
    """The indices of each batch of all `epochs` (from 0) in order: [b] int32, among `total` images."""

    def order(epoch: tf.Tensor) -> tf.data.Dataset:
        # boards that share an epoch must cut the same permutation; boards that each see all need their own
        stream = epoch if shard.sharded else epoch * shard.workers + shard.rank
        permutation = tf.random.experimental.stateless_shuffle(
            tf.range(total), seed=tf.stack([tf.constant(seed, tf.int64), stream])
        )
        if shard.batches:
            begin = tf.range(shard.steps(total)) * sum(shard.batches) + sum(shard.batches[: shard.rank])
            mine = tf.reshape(begin[:, None] + tf.range(shard.batch)[None], [-1])
            permutation = tf.gather(permutation, mine % total)
        elif shard.counts:
            mine = tf.range(shard.images(total)) + sum(shard.counts[: shard.rank]) * shard.batch
            permutation = tf.gather(permutation, mine % total)
        elif shard.sharded:
            mine = tf.range(shard.images(total)) * shard.workers + shard.rank
            permutation = tf.gather(permutation, mine % total)
        return tf.data.Dataset.from_tensor_slices(permutation).batch(shard.batch)

    return tf.data.Dataset.range(epochs.start, epochs.stop).flat_map(order)


def validation_batches(images: Images, shard: Shard) -> tf.data.Dataset:
    """Batches of this board's part of the validation images, in order."""
    total = len(images.y_test)
    if shard.batches:
        ends = [round(total * sum(shard.batches[:rank]) / sum(shard.batches)) for rank in (shard.rank, shard.rank + 1)]
        mine = np.arange(*ends)
    else:
        mine = (np.arange(shard.images(total)) * shard.workers + shard.rank) % total
    indices = tf.data.Dataset.from_tensor_slices(mine.astype(np.int32)).batch(shard.batch)
    return _batches(indices, images.x_test, images.y_test)


def _batches(indices: tf.data.Dataset, x: np.ndarray, y: np.ndarray) -> tf.data.Dataset:
    with tf.device("CPU:0"):
        pixels, labels = tf.constant(x), tf.constant(y)
    # no parallel calls: gathering a few hundred kilobytes takes microseconds
    batches = indices.map(lambda index: (tf.gather(pixels, index), tf.gather(labels, index)))
    options = tf.data.Options()
    # the kit shards the images: TensorFlow must not shard them again
    options.experimental_distribute.auto_shard_policy = tf.data.experimental.AutoShardPolicy.OFF
    # nothing needs tuning, and its thread can take seconds to end
    options.autotune.enabled = False
    return batches.prefetch(8).with_options(options)
