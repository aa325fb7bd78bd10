"""Measures what decides a run's speed: a step on this board alone, and the all-reduce of its gradient.

The result, one record in events.jsonl, is what predictions and the lab's calibration are made from.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Callable, List

import tensorflow as tf

from trainer import data
from trainer.events import Probe
from trainer.model import parameter_counts

if TYPE_CHECKING:
    from trainer.loop import Session

_WARM_UP = 2  # calls that trace and fill caches
_STEPS = 10
_ALL_REDUCES = 5


def measure(session: Session) -> None:
    """Time steps and all-reduces on this board, and write the record. All boards of the cluster take part."""
    # outside the strategy's scope: a model of this board alone, as one board would train it
    model = session.build_model()
    model.compile(
        optimizer=session.build_optimizer(),
        loss="sparse_categorical_crossentropy",
        metrics=["accuracy"],
    )
    session.ready(model)
    images, labels = next(iter(data.training_batches(session.images, session.share, session.seed, range(1))))
    steps = _timed(lambda: float(model.train_on_batch(images, labels)[0]), _STEPS)
    all_reduces: List[float] = []
    if session.distributed:
        shapes = [weight.shape for weight in model.trainable_weights]

        @tf.function
        def all_reduce() -> tf.Tensor:
            def on_each() -> tf.Tensor:
                # one tensor a variable, as Keras' optimizer hands them over
                gradient = [tf.zeros(shape) for shape in shapes]
                context = tf.distribute.get_replica_context()
                return tf.add_n([tf.reduce_sum(part) for part in context.all_reduce("SUM", gradient)])

            return session.strategy.run(on_each)

        all_reduces = _timed(
            lambda: float(session.strategy.experimental_local_results(all_reduce())[0]),
            _ALL_REDUCES,
        )
    session.log.write(
        Probe(
            step_s=steps,
            all_reduce_s=all_reduces,
            payload_bytes=4 * parameter_counts(model)[0],
        )
    )
    session.log.close()


def _timed(call: Callable[[], float], times: int) -> List[float]:
    """Seconds of each call, after some that are not counted."""
    seconds = []
    for number in range(_WARM_UP + times):
        before = time.monotonic()
        call()
        if number >= _WARM_UP:
            seconds.append(time.monotonic() - before)
    return seconds
