"""The paper's model: Keras MobileNetV2 and a head of two dense layers."""

from __future__ import annotations

from pathlib import Path
from typing import Optional, Tuple

import tensorflow as tf

from trainer.config import Model


def build(
    config: Model, image_shape: Tuple[int, ...], classes: int, weights: Optional[Path], seed: int
) -> tf.keras.Model:
    """The model, ready to compile: uint8 images (n, height, width, 3) to probabilities (n, classes).

    Resizing and scaling to [-1, 1] are layers, so that they run on the device and boards hold small images.
    `weights` is a Keras weight file of the backbone (without top) or None for random ones; `seed` is that of
    dropout, which should differ from board to board.
    """
    inputs = tf.keras.Input(image_shape, dtype="uint8", name="images")
    x = tf.keras.layers.Resizing(config.image_size, config.image_size, name="resize")(inputs)
    x = tf.keras.layers.Rescaling(1 / 127.5, offset=-1.0, name="scale")(x)
    backbone = tf.keras.applications.MobileNetV2(
        input_shape=(config.image_size, config.image_size, 3),
        include_top=False,
        weights=None if weights is None else str(weights),
    )
    for layer in backbone.layers:
        if isinstance(layer, tf.keras.layers.BatchNormalization):
            layer.momentum = config.batch_norm_momentum
    _freeze(backbone, config.fine_tune)
    x = backbone(x)
    x = tf.keras.layers.GlobalAveragePooling2D(name="pool")(x)
    x = tf.keras.layers.Dense(config.dense_units, activation="relu", name="dense")(x)
    x = tf.keras.layers.Dropout(config.dropout, seed=seed, name="dropout")(x)
    # float32 whatever the precision: probabilities near 0 and 1 need it
    outputs = tf.keras.layers.Dense(classes, activation="softmax", name="classes", dtype="float32")(x)
    return tf.keras.Model(inputs, outputs)


def _freeze(backbone: tf.keras.Model, fine_tune: str) -> None:
    kind, _, count = fine_tune.partition(":")
    if kind == "head":
        backbone.trainable = False
    elif kind == "last":
        for layer in backbone.layers[: -int(count)]:
            layer.trainable = False


def parameter_counts(model: tf.keras.Model) -> Tuple[int, int]:
    """Trainable parameters and all parameters."""
    trainable = sum(int(tf.size(weight)) for weight in model.trainable_weights)
    return trainable, trainable + sum(int(tf.size(weight)) for weight in model.non_trainable_weights)
