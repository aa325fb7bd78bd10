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

_WARM_UP = 2  # rounds that trace and fill caches
_ROUNDS = 10


def measure(session: Session) -> None:
    """Time steps and all-reduces on this board, and write the record. All boards of the cluster take part."""
    # outside the strategy's scope: a model of this board alone, as one board would train it
    model = session.build_model()
    model.compile(optimizer=session.build_optimizer(), loss="sparse_categorical_crossentropy", metrics=["accuracy"])
    session.ready(model)
    # what fit runs for a step; train_on_batch makes and ends an input pipeline each time, which can take as long
    step = model.make_train_function()
    images, share = session.images, session.share
    epochs = range(-(-(_WARM_UP + _ROUNDS) // share.steps(len(images.y_train))))
    batches = iter(data.training_batches(images, share, session.seed, epochs))
    all_reduce = _all_reduce(session, model)
    steps, all_reduces = [], []
    for _ in range(_WARM_UP + _ROUNDS):
        # in turns, as in training: a link that was idle for a step is slower than one in use (TCP starts slowly
        # again), and boards wait for each other
        steps.append(_seconds(lambda: float(step(batches)["loss"])))
        if session.distributed:
            all_reduces.append(_seconds(all_reduce))
    session.log.write(
        Probe(
            step_s=steps[_WARM_UP:],
            all_reduce_s=all_reduces[_WARM_UP:],
            payload_bytes=4 * parameter_counts(model)[0],
        )
    )
    session.log.close()


def _all_reduce(session: Session, model: tf.keras.Model) -> Callable[[], float]:
    """A call that sums tensors of the gradient's shapes over all boards, as Keras' optimizer does."""
    shapes = [weight.shape for weight in model.trainable_weights]

    @tf.function
    def on_all() -> tf.Tensor:
        def on_each() -> tf.Tensor:
            gradient: List[tf.Tensor] = [tf.zeros(shape) for shape in shapes]
            summed = tf.distribute.get_replica_context().all_reduce("SUM", gradient)
            return tf.add_n([tf.reduce_sum(part) for part in summed])

        return session.strategy.run(on_each)

    return lambda: float(session.strategy.experimental_local_results(on_all())[0])


def _seconds(call: Callable[[], float]) -> float:
    before = time.monotonic()
    call()
    return time.monotonic() - before
