"""The paper's method: Keras' `fit`, on several boards under MultiWorkerMirroredStrategy.

The strategy sums the gradient of every step over all boards before the optimizer applies it. The loss is divided by the
number of boards, so that the sum is a mean.
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
    """Train all epochs and return the model; the context's recorder writes the records."""
    with context.strategy.scope():
        model = context.build_model()
        # a step of the head alone is short compared with Keras' overhead: run many in one call
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
    """Reports epochs to the context, as the kit's own loop does."""

    # Keras then passes tensors and does not wait for the device at every step
    _supports_tf_logs = True

    def __init__(self, context: TrainingContext) -> None:
        super().__init__()
        self._context = context

    def on_epoch_begin(self, epoch: int, logs: Optional[Dict[str, Any]] = None) -> None:
        self._context.on_epoch_begin(epoch)

    def on_epoch_end(self, epoch: int, logs: Optional[Dict[str, Any]] = None) -> None:
        self._context.save(epoch)


def compile_model(context: TrainingContext, model: tf.keras.Model, steps_a_call: int = 1) -> None:
    """Compile the model with the context's optimizer and the paper's loss, for calls of `steps_a_call` steps."""
    model.compile(
        optimizer=context.build_optimizer(),
        # the paper's categorical cross-entropy, with labels as numbers instead of one-hot rows
        loss="sparse_categorical_crossentropy",
        metrics=["accuracy"],
        steps_per_execution=steps_a_call,
    )


def time_aggregation(context: TrainingContext, model: tf.keras.Model) -> None:
    """Time the aggregation, gradients: list of [*shape_i] float32 -> sum over workers, same shapes.

    The stall is timed from the gradient to its sum, including waiting for a slower board. The collectives are
    unchanged.
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
    """This board's batches in the form that the strategy expects."""
    if not context.distributed:
        return batches
    return context.strategy.distribute_datasets_from_function(lambda _: batches)
