"""Methods of synchronising: one module each, named as in contract/methods.py.

Modules of methods with `own_loop` have a function `method` that returns a stepping.Method; the others have `train`.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

import tensorflow as tf

from trainer.contract.methods import METHODS
from trainer.sync.method import Method
from trainer.sync.stepping import Worker

if TYPE_CHECKING:
    from trainer.learning.context import TrainingContext


def train(context: TrainingContext) -> tf.keras.Model:
    """Train all epochs and return the model; the context's recorder writes the records."""
    if not METHODS[context.config.sync.method].own_loop:
        return _module(context).train(context)
    worker = Worker(context)
    return worker.train(made_for(worker))


def made_for(worker: Worker) -> Method:
    """The method that the worker's context configures."""
    method: Method = _module(worker.context).method(worker)
    return method


def _module(context: TrainingContext) -> Any:
    return importlib.import_module(f"{__name__}.{context.config.sync.method}")
