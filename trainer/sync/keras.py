"""The paper's method: Keras' `fit`, on several boards under MultiWorkerMirroredStrategy.

The strategy sums the gradient of every step over all boards before the optimizer applies it. The loss is divided by the
number of boards, so that the sum is a mean.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Dict, List, Optional, Tuple

import tensorflow as tf

from trainer.contract.methods import KERAS_METRICS
from trainer.learning import data
from trainer.learning.model import parameter_counts
from trainer.learning.step_timer import StepTimer, ready

if TYPE_CHECKING:
    from trainer.learning.context import TrainingContext


def train(context: TrainingContext) -> tf.keras.Model:
    """Train all epochs and return the model; the context's recorder writes the records."""
    with context.strategy.scope():
        model = context.build_model()
        compile_model(context, model, context.config.steps_a_call)
        model.optimizer.build(model.trainable_variables)
    time_steps(context, model)
    context.ready(model, model.optimizer)
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
        jit_compile=context.xla == "jit_compile" or None,
    )


def time_steps(context: TrainingContext, model: tf.keras.Model) -> None:
    """Have the context's timer measure what a step of `fit` waits for; call it before the first step.

    Keras' collectives are the gradient, list of [*shape_i] float32 -> sum over workers, and one number each for total
    and count of loss and accuracy, and for the sums of both. They are unchanged, unless `sync.metrics` is epoch: then
    loss and accuracy stay on their board until Keras asks for an epoch's. One board makes the same marks.
    """
    if model.jit_compile:  # XLA has no clock, and the one board that it compiles for waits for nobody
        return
    _time_gradient(context.timer, model)
    if context.config.sync.metrics == "epoch" and _boards(model) > 1:
        _keep_metrics(model)
    elif context.timer.on:
        _time_metrics(context.timer, model)


def _boards(model: tf.keras.Model) -> int:
    return model.distribute_strategy.num_replicas_in_sync


def _time_gradient(timer: StepTimer, model: tf.keras.Model) -> None:
    """The stall is timed from the gradient to its sum, including waiting for a slower board."""
    # with mixed precision, the optimizer that scales the loss has the inner one aggregate
    optimizer = getattr(model.optimizer, "inner_optimizer", model.optimizer)
    aggregate, boards = optimizer.aggregate_gradients, _boards(model)
    payload_bytes = 4 * parameter_counts(model)[0] if boards > 1 else 0

    def timed(gradients: List[Tuple[tf.Tensor, tf.Variable]]) -> List[Tuple[tf.Tensor, tf.Variable]]:
        gradients = list(gradients)
        here = ready([part for part, _ in gradients]) if timer.on else 0.0
        summed = aggregate(gradients)
        stall_s = tf.maximum(ready([part for part, _ in summed]) - here, 0.0) if timer.on else 0.0
        alone = boards == 1  # the marks cost what they cost several boards, and what is between them is nothing
        noted = timer.add(0.0 if alone else stall_s, 0.0 if alone else None, payload_bytes=payload_bytes)
        with tf.control_dependencies([noted]):
            return [(tf.identity(part), variable) for part, variable in summed]

    optimizer.aggregate_gradients = timed


def _time_metrics(timer: StepTimer, model: tf.keras.Model) -> None:
    """The stall is timed from this board's totals and counts to the last sum over the boards."""
    strategy, boards = model.distribute_strategy, _boards(model)
    results, reduce = model.get_metrics_result, strategy.reduce
    left: List[tf.Tensor] = []  # for each sum that the step being traced has yet to make: when its totals were ready

    def timed_results() -> Dict[str, tf.Tensor]:
        if tf.executing_eagerly():  # an epoch's
            return results()
        here = ready([tf.identity(metric.total) for metric in model.metrics])
        with tf.control_dependencies([here]):
            found: Dict[str, tf.Tensor] = results()
        if boards > 1:
            left[:] = [here] * len(found)
        return found

    def timed_reduce(reduce_op: Any, value: Any, axis: Any) -> tf.Tensor:
        summed = reduce(reduce_op, value, axis)
        if left:
            here = left.pop()
            if not left:
                stall_s = tf.maximum(ready([summed]) - here, 0.0)
                timer.add(stall_s, None, payload_bytes=KERAS_METRICS * summed.dtype.size)
        return summed

    model.get_metrics_result = timed_results
    if boards > 1:
        strategy.reduce = timed_reduce


def _keep_metrics(model: tf.keras.Model) -> None:
    """Have a step return this board's loss and accuracy; at an epoch's end Keras reduces them over the boards."""
    results = model.get_metrics_result

    def own_results() -> Dict[str, tf.Tensor]:
        if tf.executing_eagerly():  # an epoch's
            return results()
        return {metric.name: tf.math.divide_no_nan(metric.total, metric.count) for metric in model.metrics}

    model.get_metrics_result = own_results
    model.distribute_reduction_method = "first"


def on_this_board(context: TrainingContext, batches: tf.data.Dataset) -> tf.data.Dataset:
    """This board's batches in the form that the strategy expects."""
    if not context.distributed:
        return batches  # under a strategy of one board, Keras itself divides a batch between its GPUs
    # of batches that end, boards would ask each other before every step whether all have one: one more collective
    return context.strategy.distribute_datasets_from_function(lambda _: batches.repeat())
