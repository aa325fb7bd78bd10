"""What a method of synchronising is to the training loop, and how several of its steps are made in one call."""

from __future__ import annotations

from typing import TYPE_CHECKING, Callable, ContextManager, Dict, Iterator, List, Protocol, Sequence

import tensorflow as tf

if TYPE_CHECKING:
    from trainer.sync.stepping import Worker

Logs = Dict[str, tf.Tensor]  # loss and accuracy: [] float32, means over the epoch so far on this board


class Method(Protocol):
    """A method of synchronising."""

    def step(self, number: int, images: tf.Tensor, labels: tf.Tensor) -> Logs:
        """images: [b, ...], labels: [b] int32 -> logs of step `number` of the run, from 1."""

    def alike(self, number: int) -> int:
        """How many steps from `number` on are of one kind, so that one call can make them."""

    def steps(self, number: int, count: int, batches: Iterator) -> Logs:
        """Make `count` steps that are alike, from `number` on; logs of the last."""

    def common(self, number: int) -> bool:
        """Whether all boards have the same weights after step `number`, once nothing is in flight."""

    @property
    def variables(self) -> Sequence[tf.Variable]:
        """The method's state, for checkpoints."""

    def trace(self) -> None:
        """Trace the steps, so that the first one is as fast as the others."""

    def finalize(self) -> None:
        """Give all boards the same weights after the last step."""

    def flush(self) -> None:
        """Wait for communication in flight, before a checkpoint."""

    def consensus(self) -> ContextManager[None]:
        """A context in which the model has weights that all boards share, for validation."""


class Several:
    """Makes several steps in one call of TensorFlow, which saves Python's time between them."""

    def __init__(self, step: Callable[[tf.Tensor, tf.Tensor], Logs], worker: Worker) -> None:
        """`step`: images: [b, ...], labels: [b] int32 -> logs."""

        def several(batches: Iterator, count: tf.Tensor) -> Logs:
            logs = step(*next(batches))
            for _ in tf.range(count - 1):
                logs = step(*next(batches))
            return logs

        self._many = worker.context.config.steps_a_call > 1
        self._steps = tf.function(several)
        self._signature = [tf.data.IteratorSpec(tuple(worker.signature)), tf.TensorSpec([], tf.int32)]

    def __call__(self, count: int, batches: Iterator) -> Logs:
        """Logs of the last of `count` steps, on the next of the batches."""
        logs: Logs = self._steps(batches, tf.constant(count))
        return logs

    def trace(self) -> None:
        """Trace the call, if there will be one."""
        if self._many:
            self._steps.get_concrete_function(*self._signature)


class Mean(Protocol):
    """Reduces the workers' gradients to their mean."""

    def __call__(self, gradient: List[tf.Tensor]) -> List[tf.Tensor]:
        """gradient: list of [*shape_i] float32 -> mean over workers, same shapes. Called in a tf.function."""
