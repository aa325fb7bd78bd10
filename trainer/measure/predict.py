"""Measures what a prediction needs in two or three minutes, without training.

Some steps of one board alone, of all boards without synchronising, and of the methods of synchronising; the collective
with vectors of several sizes, from which latency and rate follow; the validation of some batches.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, List

import tensorflow as tf

from trainer.contract.events import Collective, Validation
from trainer.contract.methods import VARIANTS
from trainer.learning import data
from trainer.learning.model import parameter_counts
from trainer.measure import trial
from trainer.sync.collective import mean_over_boards

if TYPE_CHECKING:
    from trainer.learning.context import TrainingContext

_CYCLES = 2
_ALONE_STEPS = 8
_COLLECTIVES = 4  # per size
_SIZES = (1 / 1024, 1 / 16, 1 / 4, 1 / 2, 1)  # of the gradient
_BATCHES = 6


def measure(context: TrainingContext) -> None:
    """Write the records that predictions are made from. All boards of the cluster take part."""
    turns = {variant.name: variant.predict_steps for variant in VARIANTS if variant.predict_steps}
    model = trial.take_turns(context, turns, _CYCLES, _ALONE_STEPS)
    if context.cluster.workers > 1:
        for share in _SIZES:
            _time_collective(context, int(share * parameter_counts(model)[0]))
    _time_validation(context, model)
    context.log.close()


def _time_collective(context: TrainingContext, elements: int) -> None:
    """Time the all-reduce of a float32 vector over all boards, a few times."""
    vector = tf.random.uniform([elements])  # zeros might be compressed
    mean = tf.function(lambda: mean_over_boards(context.strategy, vector))
    seconds: List[float] = []
    for _ in range(1 + _COLLECTIVES):  # the first one traces
        began = time.monotonic()
        context.in_order.submit(lambda: mean().numpy()).result()
        seconds.append(time.monotonic() - began)
    context.log.write(Collective(payload_bytes=4 * elements, seconds=seconds[1:]))
    context.log.progress()


def _time_validation(context: TrainingContext, model: tf.keras.Model) -> None:
    """Time the validation of the first batches on this board, as at the end of an epoch."""
    batches = data.validation_batches(context.images, context.validation_shard)
    test = model.make_test_function()
    iterator = iter(batches.repeat())
    float(test(iterator)["loss"])  # traces
    began = time.monotonic()
    for _ in range(_BATCHES):
        logs = test(iterator)
    float(logs["loss"])
    seconds = time.monotonic() - began
    shard = context.validation_shard
    context.log.write(
        Validation(batches=_BATCHES, seconds=seconds, batches_per_epoch=shard.steps(len(context.images.y_test)))
    )
