"""Runs on a board: the training of the kit's rehearsal on one board, written in plain Keras.

bare_keras.py OUT.json TRAIN_IMAGES VALIDATION_IMAGES EPOCHS
"""

import json
import sys
import time
from typing import Optional

import numpy as np
import tensorflow as tf

out, train, validation, epochs = sys.argv[1], *map(int, sys.argv[2:])
tf.keras.utils.set_random_seed(1)
generator = np.random.default_rng(1)
x = generator.integers(0, 256, (train + validation, 32, 32, 3), dtype=np.uint8)
y = generator.integers(0, 100, train + validation).astype(np.int32)

backbone = tf.keras.applications.MobileNetV2(input_shape=(64, 64, 3), include_top=False, weights=None)
model = tf.keras.Sequential(
    [
        tf.keras.Input((32, 32, 3), dtype="uint8"),
        tf.keras.layers.Resizing(64, 64),
        tf.keras.layers.Rescaling(1 / 127.5, offset=-1.0),
        backbone,
        tf.keras.layers.GlobalAveragePooling2D(),
        tf.keras.layers.Dense(512, activation="relu"),
        tf.keras.layers.Dropout(0.3),
        tf.keras.layers.Dense(100, activation="softmax"),
    ]
)
model.compile(tf.keras.optimizers.Adam(0.001), "sparse_categorical_crossentropy", metrics=["accuracy"])


class Times(tf.keras.callbacks.Callback):
    """Records when each epoch, with its validation, ended."""

    def __init__(self) -> None:
        super().__init__()
        self.ended_s = []

    def on_epoch_end(self, epoch: int, logs: Optional[dict] = None) -> None:
        self.ended_s.append(time.monotonic())


def batches(part: slice) -> tf.data.Dataset:
    """Batches of 64 from memory, shuffled."""
    data = tf.data.Dataset.from_tensor_slices((x[part], y[part]))
    return data.shuffle(train).batch(64).prefetch(tf.data.AUTOTUNE)


times = Times()
history = model.fit(
    batches(slice(0, train)),
    validation_data=batches(slice(train, None)),
    epochs=epochs,
    callbacks=[times],
    verbose=0,
)
with open(out, "w") as file:  # noqa: PTH123
    json.dump({"ended_s": times.ended_s, "losses": history.history["loss"]}, file)
