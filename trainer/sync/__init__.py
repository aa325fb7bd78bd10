"""How boards agree: one module per way, each with `train(session) -> model`; a new way is a module and a line here."""

from __future__ import annotations

from typing import TYPE_CHECKING, Callable, Dict

import tensorflow as tf

from trainer.sync import allreduce, keras, local_sgd

if TYPE_CHECKING:
    from trainer.loop import Session

WAYS: Dict[str, Callable[[Session], tf.keras.Model]] = {
    "keras": keras.train,
    "allreduce": allreduce.train,
    "local_sgd": local_sgd.train,
}
