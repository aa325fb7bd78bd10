"""The backbone's features of all images, computed once: for training the head alone.

A frozen backbone gives the same features in every epoch (batch normalisation uses its moving statistics, images are
not augmented), so they need not be computed again.
"""

from __future__ import annotations

import dataclasses
import time
from typing import List

import numpy as np
import tensorflow as tf

from trainer.formats.archives import Images

_LAST_OF_BACKBONE = "pool"  # see model.build


class Cached:
    """The features, and models that train on them."""

    def __init__(self, whole: tf.keras.Model, images: Images, seconds: float) -> None:
        """`images` has features, (n, channels) float32, in place of pixels."""
        self._whole, self.images, self.seconds = whole, images, seconds
        self._initial = [layer.get_weights() for layer in self._head_layers()]

    def build_head(self) -> tf.keras.Model:
        """The head in its initial state: features to probabilities."""
        head = tf.keras.Sequential(
            [tf.keras.Input(self.images.x_train.shape[1:], name="features")]
            + [type(layer).from_config(layer.get_config()) for layer in self._head_layers()]
        )
        for layer, weights in zip(head.layers, self._initial):
            layer.set_weights(weights)
        return head

    def whole_with(self, head: tf.keras.Model) -> tf.keras.Model:
        """The whole model with the trained head."""
        for layer, trained in zip(self._head_layers(), head.layers):
            layer.set_weights(trained.get_weights())
        return self._whole

    def _head_layers(self) -> List[tf.keras.layers.Layer]:
        names = [layer.name for layer in self._whole.layers]
        return self._whole.layers[names.index(_LAST_OF_BACKBONE) + 1 :]


def cache(whole: tf.keras.Model, images: Images, batch: int) -> Cached:
    """The features of all images on this board, `batch` images at a time."""
    began = time.monotonic()
    backbone = tf.keras.Model(whole.input, whole.get_layer(_LAST_OF_BACKBONE).output)
    extract = tf.function(lambda pixels: backbone(pixels, training=False), reduce_retracing=True)

    def features(pixels: np.ndarray) -> np.ndarray:
        parts = [extract(tf.constant(pixels[at : at + batch])).numpy() for at in range(0, len(pixels), batch)]
        return np.concatenate(parts).astype(np.float32)

    there = dataclasses.replace(images, x_train=features(images.x_train), x_test=features(images.x_test))
    return Cached(whole, there, time.monotonic() - began)
