"""The paper's method: Keras' own `fit`, under MultiWorkerMirroredStrategy where there are several boards.

The strategy sums the gradient of every step over all boards before the optimizer applies it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Dict, List, Optional, Tuple

import tensorflow as tf

from trainer.learning import data
from trainer.learning.model import parameter_counts
from trainer.learning.step_timer import ready

if TYPE_CHECKING:
    from trainer.learning.context import TrainingContext


def train(context: TrainingContext) -> tf.keras.Model:
    """The model after all epochs of the context; the context's recorder writes the records."""
    with context.strategy.scope():
        model = context.build_model()
        # a step of the head alone is short beside what Keras does around it: many go into one call
        compile_model(context, model, context.config.window_steps if context.config.model.cache_features else 1)
        model.optimizer.build(model.trainable_variables)
    if context.distributed:
        time_aggregation(context, model)
    context.ready(model, lambda: [*model.variables, *model.optimizer.variables])
    images, shard, validation = context.images, context.shard, context.validation_shard
    model.fit(
        on_this_board(context, data.training_batches(images, shard, context.seed, context.epochs)),
        initial_epoch=context.epochs.start,
        epochs=context.epochs.stop,
        steps_per_epoch=shard.steps(len(images.y_train)),
        validation_data=on_this_board(context, data.validation_batches(images, validation)),
        validation_steps=validation.steps(len(images.y_test)),
        callbacks=[context.recorder, _Epochs(context)],
        verbose=0,
    )
    return model


class _Epochs(tf.keras.callbacks.Callback):
    """Tells the context of epochs, as the kit's own loop does."""

    # Keras then hands over tensors and does not wait for the device at every step
    _supports_tf_logs = True

    def __init__(self, context: TrainingContext) -> None:
        super().__init__()
        self._session = context

    def on_epoch_begin(self, epoch: int, logs: Optional[Dict[str, Any]] = None) -> None:
        self._session.on_epoch_begin(epoch)

    def on_epoch_end(self, epoch: int, logs: Optional[Dict[str, Any]] = None) -> None:
        self._session.save(epoch)


def compile_model(context: TrainingContext, model: tf.keras.Model, steps_a_call: int = 1) -> None:
    """Give the model the context's optimizer, the paper's loss, and accuracy; fit hears of each `steps_a_call`."""
    model.compile(
        optimizer=context.build_optimizer(),
        # the paper's categorical cross-entropy, with labels as numbers instead of one-hot rows
        loss="sparse_categorical_crossentropy",
        metrics=["accuracy"],
        steps_per_execution=steps_a_call,
    )


def time_aggregation(context: TrainingContext, model: tf.keras.Model) -> None:
    """Note how long steps stand still between a gradient and its sum over all boards.

    It only looks: fit's collectives leave when they would have left. Waiting for a slower board is part of it.
    """
    optimizer, timer = model.optimizer, context.timer
    aggregate = optimizer.aggregate_gradients
    payload_bytes = 4 * parameter_counts(model)[0] if context.cluster.workers > 1 else 0

    def timed(gradients: List[Tuple[tf.Tensor, tf.Variable]]) -> List[Tuple[tf.Tensor, tf.Variable]]:
        here = ready([part for part, _ in gradients])
        summed = aggregate(gradients)
        stall_s = tf.maximum(ready([part for part, _ in summed]) - here, 0.0)
        noted = timer.add(stall_s, None, payload_bytes=payload_bytes)
        with tf.control_dependencies([noted]):
            return [(tf.identity(part), variable) for part, variable in summed]

    optimizer.aggregate_gradients = timed


def on_this_board(context: TrainingContext, batches: tf.data.Dataset) -> tf.data.Dataset:
    """This board's batches in the form that its strategy takes them."""
    if not context.distributed:
        return batches
    return context.strategy.distribute_datasets_from_function(lambda _: batches)
