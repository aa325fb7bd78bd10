"""The paper's model: Keras MobileNetV2 and a head of two dense layers."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Dict, List, Optional, Tuple, Union

import tensorflow as tf

from trainer.contract.sections import Model
from trainer.formats.weights import check as check_weights


def build(
    config: Model,
    image_shape: Tuple[int, ...],
    classes: int,
    weights: Optional[Path],
    generator: Union[tf.random.Generator, Stateless],
) -> tf.keras.Model:
    """The model, ready to compile: uint8 images (n, height, width, 3) to probabilities (n, classes).

    Resizing and scaling to [-1, 1] are layers, so that they run on the device and boards hold small images.
    `weights` is a Keras weight file of the backbone (without top) or None for random ones; dropout draws from
    `generator`, made outside any strategy's scope. Raises ArchiveError for a file that is not one of weights.
    """
    if weights is not None:
        check_weights(weights)
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
    x = Dropout(config.dropout, generator, name="dropout")(x)
    # float32 at every precision: probabilities near 0 and 1 need it
    outputs = tf.keras.layers.Dense(classes, activation="softmax", name="classes", dtype="float32")(x)
    return tf.keras.Model(inputs, outputs)


class Stateless:
    """Draws from a seed that a step is given, and keeps no state."""

    def __init__(self) -> None:
        self.seed = tf.constant([0, 0])  # [2] int32; set where a step is traced

    def uniform_full_int(self, shape: List[tf.Tensor], dtype: tf.DType) -> tf.Tensor:
        """Any number of this type, in this shape."""
        return tf.random.stateless_uniform(shape, self.seed, minval=None, maxval=None, dtype=dtype)


class Dropout(tf.keras.layers.Layer):
    """Dropout that draws from the caller's generator.

    Keras' own has a hidden state, which a resumed run could not restore.
    """

    def __init__(self, rate: float, generator: Union[tf.random.Generator, Stateless], **options: Any) -> None:
        super().__init__(**options)
        self._rate, self._generator = rate, generator

    def call(self, inputs: tf.Tensor, training: bool = False) -> tf.Tensor:
        if not training or not self._rate:
            return inputs
        # two random bytes per element: drawing four would dominate the layer's time
        dropped = round(self._rate * 2**16)  # of 2^16
        words = -(-tf.size(inputs) // 4)
        drawn = tf.bitcast(self._generator.uniform_full_int([words], tf.uint64), tf.uint16)
        drawn = tf.reshape(tf.reshape(drawn, [-1])[: tf.size(inputs)], tf.shape(inputs))
        kept = tf.cast(drawn >= tf.cast(dropped, tf.uint16), inputs.dtype)
        return inputs * (kept * (2**16 / (2**16 - dropped)))

    def get_config(self) -> Dict[str, Any]:
        return {**super().get_config(), "rate": self._rate, "generator": self._generator}


def _freeze(backbone: tf.keras.Model, fine_tune: str) -> None:
    kind, _, count = fine_tune.partition(":")
    if kind == "head":
        backbone.trainable = False
    elif kind == "last":
        for layer in backbone.layers[: -int(count)]:
            layer.trainable = False


def parameter_counts(model: tf.keras.Model) -> Tuple[int, int]:
    """Number of trainable parameters, and of all parameters."""
    trainable = sum(weight.shape.num_elements() for weight in model.trainable_weights)
    return trainable, trainable + sum(weight.shape.num_elements() for weight in model.non_trainable_weights)


def moving_statistics(model: tf.keras.Model) -> List[tf.Variable]:
    """The variables that training changes without a gradient, those of batch normalisation: not the frozen weights."""
    layers = [module for module in model.submodules if isinstance(module, tf.keras.layers.Layer) and module.trainable]
    lone = [layer for layer in layers if not any(isinstance(it, tf.keras.layers.Layer) for it in layer.submodules)]
    changed = {id(variable) for layer in lone for variable in layer.non_trainable_weights}
    return [variable for variable in model.non_trainable_variables if id(variable) in changed]
