"""Steps in which all workers apply the same gradient: its mean as one flat vector (strategy c10d).

On one board without a strategy, the same steps without a mean.
"""

from __future__ import annotations

from typing import ContextManager

import torch

from trainer.pytorch.context import Restorable
from trainer.pytorch.vectors import ScaledMean
from trainer.pytorch.worker import Statistics, Worker


class Steps:
    """Every step, or every `accumulate_steps`, applies the gradient of all batches since the last."""

    def __init__(self, worker: Worker) -> None:
        self._worker, self._every = worker, worker.context.config.sync.accumulate_steps
        self._statistics = Statistics(worker)

    def step(self, number: int, images: torch.Tensor, labels: torch.Tensor) -> None:
        """images: [b, ...], labels: [b] int64; synchronises after `accumulate_steps` batches."""
        held = (number - 1) % self._every + 1
        holds = held < self._every and number < self._worker.last_step
        self._backward(images, labels, holds)
        if not holds:
            self._worker.unscale(1.0 / held)
            self._exchange()
            self._worker.apply()

    def _backward(self, images: torch.Tensor, labels: torch.Tensor, holds: bool) -> None:
        """Add the gradient of a batch; `holds`: no step of the optimizer follows."""
        self._worker.backward(images, labels, self._worker.context.shard.weight)

    def _exchange(self) -> None:
        """Replace the gradient by its mean over all workers, if it is not the mean already."""

    def finalize(self) -> None:
        """Nothing to do: all workers have the same weights."""

    def flush(self) -> None:
        """Nothing to do: no communication is in flight between steps."""

    def consensus(self) -> ContextManager[None]:
        """Give all workers the mean of their moving statistics; their weights are always the same."""
        return self._statistics.averaged()


class Synchronous(Steps):
    """One all-reduce of the gradient per step of the optimizer; on one board none."""

    def __init__(self, worker: Worker, alone: bool = False) -> None:
        """`alone`: this worker exchanges nothing."""
        super().__init__(worker)
        self._exchanges = worker.group.workers > 1 and not alone
        self._gradient = worker.flatten_gradient() if worker.gradient is None else worker.gradient
        dtype, size = worker.context.config.sync.gradient_dtype, self._gradient.numel()
        self._mean = ScaledMean(worker.group, dtype, [size], worker.compute.device)

    def _exchange(self) -> None:
        if self._exchanges:
            self._gradient.copy_(self._mean.timed(self._gradient, self._worker.timer))

    def state(self) -> Restorable:
        return [self._mean.largest, *([self._gradient] if self._every > 1 else [])]
