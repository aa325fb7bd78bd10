"""Workers train on their own and average every `period` steps (strategy c10d), as trainer/sync/local_sgd.py does it.

That module has the papers. A worker sends the change of its weights and moving statistics since the last average, in a
flat vector. With `overlap` it travels while the next steps compute, and the result is applied as a correction when it
arrives: weights += mean of all changes - own change.
"""

from __future__ import annotations

import contextlib
import time
from concurrent.futures import Future
from typing import Iterator, Optional, Tuple

import torch

from trainer.contract.events import Average
from trainer.pytorch.context import Restorable
from trainer.pytorch.synchronous import Synchronous
from trainer.pytorch.vectors import Flat, ScaledMean
from trainer.pytorch.worker import Worker, assign


class LocalSgd:
    """Local steps after a warm-up, and an average every `period` steps."""

    def __init__(self, worker: Worker) -> None:
        config = worker.context.config
        self._worker, self._period, self._overlap = worker, config.sync.period, config.sync.overlap
        # the step at which an average arrives is random
        self._as_they_come = not config.deterministic
        self._synchronous, self._warm_up_steps = Synchronous(worker), worker.warm_up_steps
        self._warm_up_period = config.sync.warm_up_period
        self._synchronous_steps = self._warm_up_steps if self._warm_up_period == 1 else 0  # synchronous steps
        self._averaging = _Averaging(worker)
        self._local = worker.made_steps > self._synchronous_steps  # whether local steps have begun
        self._number = worker.made_steps

    def step(self, number: int, images: torch.Tensor, labels: torch.Tensor) -> None:
        """images: [b, ...], labels: [b] int64; begins or applies averages when due."""
        self._number = number
        if number <= self._synchronous_steps:
            return self._synchronous.step(number, images, labels)
        if not self._local:
            with self._synchronous.consensus():  # changes are relative to weights that all workers share
                self._averaging.start()
            self._local = True
        self._worker.backward(images, labels)
        self._worker.unscale()
        self._worker.apply()
        if self._as_they_come:
            self._averaging.take_over_if_there(number)
        if self._due(number):
            self._averaging.begin(number)
            if not self._overlap:
                self._averaging.finish(number)
        return None

    def _due(self, number: int) -> bool:
        """Whether an average begins after this step."""
        since = number - self._warm_up_steps
        return since % (self._period if since > 0 else self._warm_up_period) == 0

    def finalize(self) -> None:
        """Average the changes since the last average, and wait for it."""
        if self._local:
            if not self._due(self._number):  # else the last step has begun it
                self._averaging.begin(self._number)
            self._averaging.finish(self._number)
            self._averaging.adopt()

    def flush(self) -> None:
        """Wait for the average in flight; usually it arrived during validation."""
        self._averaging.finish(self._number)

    @contextlib.contextmanager
    def consensus(self) -> Iterator[None]:
        """Give the model the weights of the last applied average, which all workers have; sends nothing."""
        with self._averaging.consensus() if self._local else self._synchronous.consensus():
            yield

    def state(self) -> Restorable:
        return [*self._synchronous.state(), *self._averaging.state()]


class _Averaging:
    """Averages all workers' weights in the background."""

    def __init__(self, worker: Worker) -> None:
        config, device = worker.context.config.sync, worker.compute.device
        self._worker, self._group, self._timer, self._log = worker, worker.group, worker.timer, worker.context.log
        self._momentum, self._outer_rate = config.outer_momentum, config.outer_learning_rate
        self._tensors = [*worker.parameters, *worker.model.moving_statistics()]
        self._flat = Flat(self._tensors)
        self._learned = sum(parameter.numel() for parameter in worker.parameters)  # elements; then the statistics
        sizes = [size for size in (self._learned, self._flat.size - self._learned) if size]
        self._scaled = ScaledMean(worker.group, config.gradient_dtype, sizes, device)
        # [n] float32: the weights of all workers after the last average
        self._anchor = self._flat.pack(self._tensors)
        self._velocity = torch.zeros(self._learned if self._momentum else 0, device=device)
        self._travelling: Optional[Tuple[int, torch.Tensor, Future[Tuple[torch.Tensor, float, float]]]] = None

    def state(self) -> Restorable:
        return [self._anchor, self._velocity, self._scaled.largest]

    def start(self) -> None:
        """Start from the current weights, which all workers share."""
        self._anchor.copy_(self._flat.pack(self._tensors))

    def begin(self, number: int) -> None:
        """Begin to send this worker's change since the last average, after the previous average has been applied."""
        self.finish(number)
        change = self._flat.pack(self._tensors) - self._anchor
        message = self._scaled.scaled(self._worker.context.shard.weight * change)
        self._timer.add(payload_bytes=self._scaled.payload_bytes)
        coming = self._group.in_order.submit(self._scaled.exchanged, message, self._timer)
        self._travelling = (number, change, coming)

    def take_over_if_there(self, number: int) -> None:
        """Apply the average in flight if it has arrived."""
        if self._travelling is not None and self._travelling[2].done():
            self.finish(number)

    def finish(self, number: int) -> None:
        """Wait for the average in flight, if any, and apply it."""
        if self._travelling is None:
            return
        begun, change, coming = self._travelling
        self._travelling = None
        before = time.monotonic()
        message, waiting_s, travel_s = coming.result()
        stall_s = time.monotonic() - before
        if self._timer.on:
            # workers wait for each other, then bytes travel: the stall covers the end of that
            communication_s = min(stall_s, travel_s)
            self._timer.add(communication_s, stall_s - communication_s, travel_s - communication_s)
        distance, moved = self._correct(change, self._scaled.unscaled(message))
        self._log.write(
            Average(
                step=begun,
                applied_at=number,
                travel_s=travel_s if self._timer.on else None,
                waiting_s=waiting_s if self._timer.on else None,
                stall_s=stall_s,
                distance=distance,
                moved=moved,
            )
        )

    def adopt(self) -> None:
        """Give the model the weights of the last average."""
        assign(self._tensors, self._flat.unpack(self._anchor))

    @contextlib.contextmanager
    def consensus(self) -> Iterator[None]:
        """Give the model the weights of the last average, then this worker's own again."""
        own = self._flat.pack(self._tensors)
        self.adopt()
        try:
            yield
        finally:
            assign(self._tensors, self._flat.unpack(own))

    def _correct(self, change: torch.Tensor, mean: torch.Tensor) -> Tuple[float, float]:
        learned, statistics = mean[: self._learned], mean[self._learned :]
        distance = float((change[: self._learned] - learned).norm())
        moved = float(learned.norm())
        if self._momentum:
            learned = self._velocity.mul_(self._momentum).add_(learned)
        step = torch.cat([self._outer_rate * learned, statistics])
        self._anchor += step
        with torch.no_grad():
            for tensor, part in zip(self._tensors, self._flat.unpack(step - change)):
                tensor += part
        return distance, moved
