"""The input pipeline: images stay in memory as bytes, each board draws its own batches.

The order is that of loop/shard.py.
"""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from trainer.formats.archives import Images
from trainer.loop.shard import Shard, training_order, validation_order


def training_batches(images: Images, shard: Shard, seed: int, epochs: range, done: int = 0) -> tf.data.Dataset:
    """Batches of (uint8 images, int32 labels) of all `epochs` (from 0) in order; of the first one, from `done` on."""
    indices = training_indices(len(images.y_train), shard, seed, epochs, done)
    return _batches(indices, images.x_train, images.y_train)


def training_indices(total: int, shard: Shard, seed: int, epochs: range, done: int = 0) -> tf.data.Dataset:
    """The indices of each batch of all `epochs` (from 0) in order: [b] int32, among `total` images.

    `done`: see shard.training_order; of the first epoch.
    """

    def order_of(epoch: np.int64) -> np.ndarray:
        return training_order(shard, total, seed, int(epoch), done if epoch == epochs.start else 0)

    def order(epoch: tf.Tensor) -> tf.data.Dataset:
        mine = tf.ensure_shape(tf.numpy_function(order_of, [epoch], tf.int32), [None])
        return tf.data.Dataset.from_tensor_slices(mine).batch(shard.batch)

    return tf.data.Dataset.range(epochs.start, epochs.stop).flat_map(order)


def validation_batches(images: Images, shard: Shard) -> tf.data.Dataset:
    """Batches of this board's part of the validation images, in order."""
    mine = validation_order(shard, len(images.y_test))
    indices = tf.data.Dataset.from_tensor_slices(mine).batch(shard.batch)
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
