"""Measures what decides a run's speed: a step on this board alone, and the all-reduce of its gradient.

The result, one record in events.jsonl, is what predictions and the lab's calibration are made from.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, List

import tensorflow as tf

from trainer.contract.events import Probe
from trainer.learning import data
from trainer.learning.model import parameter_counts
from trainer.sync import keras

if TYPE_CHECKING:
    from trainer.learning.context import TrainingContext

_WARM_UP = 2  # calls that trace and fill caches
_WINDOWS = 3
_WINDOW_STEPS = 5
_ALL_REDUCES = 5


def measure(context: TrainingContext) -> None:
    """Time steps and all-reduces on this board, and write the record. All boards of the cluster take part."""
    alone = _compiled(context)
    context.ready(alone)
    # alone, then with the others: the difference is the cost of synchronising
    steps = _step_times(context, alone, distributed=False)
    distributed_steps: List[float] = []
    all_reduces: List[float] = []
    if context.distributed:
        with context.strategy.scope():
            together = _compiled(context)
        distributed_steps = _step_times(context, together, distributed=True)
        all_reduces = _all_reduce_times(context, alone)
    context.log.write(
        Probe(
            step_s=steps,
            distributed_step_s=distributed_steps,
            all_reduce_s=all_reduces,
            payload_bytes=4 * parameter_counts(alone)[0],
        )
    )
    context.log.close()


def _compiled(context: TrainingContext) -> tf.keras.Model:
    model = context.build_model()
    keras.compile_model(context, model)
    return model


def _step_times(context: TrainingContext, model: tf.keras.Model, distributed: bool) -> List[float]:
    """Seconds per step of `fit`, a mean for each window."""
    # not train_on_batch: it makes an input pipeline each time, which can take as long as the step
    step = model.make_train_function()
    images, shard = context.images, context.shard
    count = _WARM_UP + _WINDOWS * _WINDOW_STEPS
    epochs = range(-(-count // shard.steps(len(images.y_train))))
    batches = data.training_batches(images, shard, context.seed, epochs)
    iterator = iter(keras.on_this_board(context, batches) if distributed else batches)
    for _ in range(_WARM_UP):
        float(step(iterator)["loss"])
    times = []
    for _ in range(_WINDOWS):
        before = time.monotonic()
        for _ in range(_WINDOW_STEPS):
            logs = step(iterator)
        float(logs["loss"])  # waits until the device has finished
        times.append((time.monotonic() - before) / _WINDOW_STEPS)
    return times


def _all_reduce_times(context: TrainingContext, model: tf.keras.Model) -> List[float]:
    """Seconds of each sum of tensors of the gradient's shapes over all boards, as Keras' optimizer makes it."""
    shapes = [weight.shape for weight in model.trainable_weights]

    @tf.function
    def on_all() -> tf.Tensor:
        def on_each() -> tf.Tensor:
            gradient: List[tf.Tensor] = [tf.zeros(shape) for shape in shapes]
            summed = tf.distribute.get_replica_context().all_reduce("SUM", gradient)
            return tf.add_n([tf.reduce_sum(part) for part in summed])

        return context.strategy.run(on_each)

    times = []
    for _ in range(_WARM_UP + _ALL_REDUCES):
        before = time.monotonic()
        float(context.strategy.experimental_local_results(on_all())[0])
        times.append(time.monotonic() - before)
    return times[_WARM_UP:]
