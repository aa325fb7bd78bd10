"""Steps in which all workers apply the same gradient: its mean as one flat vector (strategy c10d).

On one board without a strategy, the same steps without a mean.
"""

from __future__ import annotations

from typing import ContextManager

import torch

from trainer.pytorch.context import Restorable
from trainer.pytorch.vectors import ScaledMean
from trainer.pytorch.worker import Statistics, Worker


class Synchronous:
    """One all-reduce of the gradient per step, or per `accumulate_steps` steps; on one board none."""

    def __init__(self, worker: Worker, alone: bool = False) -> None:
        """`alone`: this worker exchanges nothing."""
        config = worker.context.config.sync
        self._worker, self._every = worker, config.accumulate_steps
        self._exchanges = worker.group.workers > 1 and not alone
        self._gradient = worker.flatten_gradient() if worker.gradient is None else worker.gradient
        size = self._gradient.numel()
        self._mean = ScaledMean(worker.group, config.gradient_dtype, [size], worker.compute.device)
        self._statistics = Statistics(worker)

    def step(self, number: int, images: torch.Tensor, labels: torch.Tensor) -> None:
        """images: [b, ...], labels: [b] int64; synchronises after `accumulate_steps` batches."""
        worker = self._worker
        worker.backward(images, labels, worker.context.shard.weight)
        held = (number - 1) % self._every + 1
        if held < self._every and number < worker.last_step:
            return
        worker.unscale(1.0 / held)
        if self._exchanges:
            self._gradient.copy_(self._mean.timed(self._gradient, worker.timer))
        worker.apply()

    def finalize(self) -> None:
        """Nothing to do: all workers have the same weights."""

    def flush(self) -> None:
        """Nothing to do: no communication is in flight between steps."""

    def consensus(self) -> ContextManager[None]:
        """Give all workers the mean of their moving statistics; their weights are always the same."""
        return self._statistics.averaged()

    def state(self) -> Restorable:
        return [self._mean.largest, *([self._gradient] if self._every > 1 else [])]
