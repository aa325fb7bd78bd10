"""PyTorch's DistributedDataParallel (strategy ddp), with its own communication hooks.

allreduce: no hook in float32, else the hook that compresses to 16 bits. powersgd: PyTorch's hook (Vogels, Karimireddy,
Jaggi, NeurIPS 2019), after at least two steps with the whole gradient. local_sgd: post-local SGD (Lin et al., "Don't
use large mini-batches, use local SGD", ICLR 2020): no gradient is sent, and the weights are averaged in line.
"""

from __future__ import annotations

import contextlib
import inspect
import time
import warnings
from typing import Any, Callable, Iterator, List, Optional, Sequence, Tuple

import torch
import torch.distributed as dist
from torch.distributed.algorithms.ddp_comm_hooks import default_hooks, powerSGD_hook
from torch.distributed.algorithms.model_averaging.averagers import PeriodicModelAverager
from torch.nn.parallel import DistributedDataParallel

from trainer.pytorch.context import Restorable, State
from trainer.pytorch.synchronous import Steps
from trainer.pytorch.vectors import Flat
from trainer.pytorch.worker import Worker, assign

_Hook = Callable[[Any, dist.GradBucket], "torch.futures.Future[torch.Tensor]"]
_HOOKS = {
    "float32": default_hooks.allreduce_hook,  # what PyTorch does without a hook; here its times can be measured
    "float16": default_hooks.fp16_compress_hook,
    "bfloat16": default_hooks.bf16_compress_hook,
}
_ELEMENT_BYTES = {"float32": 4, "float16": 2, "bfloat16": 2}
_DEFAULT_BUCKET_MB = 25.0  # PyTorch's
_FIRST_LOW_RANK = 2  # steps: PyTorch arranges its buckets anew after the first


def method(worker: Worker) -> Synchronous:
    """The configured method under DistributedDataParallel."""
    name = worker.context.config.sync.method
    if worker.compute.device.type != "cpu":
        worker.timer.on = False  # buckets are on their way before the device has computed them
    return PostLocalSgd(worker) if name == "local_sgd" else Synchronous(worker)


class Synchronous(Steps):
    """Every step of the optimizer applies the mean of all workers' gradients."""

    def __init__(self, worker: Worker) -> None:
        super().__init__(worker)
        config = worker.context.config.sync
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # newer versions have another name for broadcast_buffers
            self._ddp = DistributedDataParallel(
                worker.forward,
                broadcast_buffers=False,  # each worker has its own moving statistics, as with the other strategies
                gradient_as_bucket_view=True,
                bucket_cap_mb=config.bucket_bytes / 2**20 if config.bucket_bytes else _DEFAULT_BUCKET_MB,
            )
        self._low_rank: Optional[powerSGD_hook.PowerSGDState] = None
        state, hook, element_bytes = self._hook()
        self._sent: Optional[_Timed] = _Timed(hook, element_bytes)  # null: a step is not to synchronise
        self._ddp.register_comm_hook(state, self._sent)
        worker.forward = self._ddp

    def _hook(self) -> Tuple[Any, _Hook, int]:
        """The hook's state, the hook, and bytes of an element on the wire."""
        worker = self._worker
        config = worker.context.config.sync
        if config.method != "powersgd":
            return None, _HOOKS[config.gradient_dtype], _ELEMENT_BYTES[config.gradient_dtype]
        self._low_rank = powerSGD_hook.PowerSGDState(
            None,
            matrix_approximation_rank=config.rank,
            # counts exchanges; the errors are not in checkpoints: a resumed run begins with whole gradients again
            start_powerSGD_iter=max(_FIRST_LOW_RANK, -(-(worker.warm_up_steps - worker.made_steps) // self._every)),
            random_seed=worker.context.seed,
        )
        return self._low_rank, powerSGD_hook.powerSGD_hook, _ELEMENT_BYTES["float32"]

    def _backward(self, images: torch.Tensor, labels: torch.Tensor, holds: bool) -> None:
        with self._ddp.no_sync() if holds or self._sent is None else contextlib.nullcontext():
            super()._backward(images, labels, holds)
        if self._sent is not None and not holds:
            self._account(self._sent)

    def _account(self, sent: _Timed) -> None:
        """Add the times and bytes of the backward pass that has just ended."""
        timer = self._worker.timer
        whole, compressed = sent.elements, 0
        if self._low_rank is not None:
            before, after = self._low_rank.total_numel_before_compression, self._low_rank.total_numel_after_compression
            whole, compressed = whole - (before - sent.before), after - sent.after
            sent.before, sent.after = before, after
        payload_bytes = sent.element_bytes * (whole + compressed)
        if timer.on:
            stall_s, hidden_s = sent.times(timer.now())
            timer.add(stall_s, None, hidden_s, payload_bytes)
        else:
            timer.add(payload_bytes=payload_bytes)
        sent.clear()

    def state(self) -> Restorable:
        """The gradients of the batches since the last step of the optimizer."""
        return [State(self._held, self._hold)] if self._every > 1 else []

    def _held(self) -> List[torch.Tensor]:
        parameters = self._worker.parameters
        return [torch.zeros_like(part) if part.grad is None else part.grad for part in parameters]

    def _hold(self, gradients: Sequence[torch.Tensor]) -> None:
        for parameter, gradient in zip(self._worker.parameters, gradients):
            parameter.grad = gradient.to(parameter.device)  # DDP copies it into its bucket


class _Timed:
    """A communication hook with the times and elements of its buckets."""

    def __init__(self, hook: _Hook, element_bytes: int) -> None:
        self._hook, self.element_bytes = hook, element_bytes
        self.before = self.after = 0  # PowerSGD's totals of elements, before and after compression
        self.clear()
        # which DDP looks at
        self.__qualname__ = self.__name__ = type(self).__name__
        self.__signature__ = inspect.signature(hook)

    def __call__(self, state: Any, bucket: dist.GradBucket) -> torch.futures.Future[torch.Tensor]:
        began = time.monotonic()
        self.elements += bucket.buffer().numel()
        if bucket.is_last():
            self._ready = began
        future = self._hook(state, bucket)

        def note(done: torch.futures.Future[torch.Tensor]) -> torch.Tensor:
            self._spans.append((began, time.monotonic()))
            return done.value()

        return future.then(note)

    def times(self, end: float) -> Tuple[float, float]:
        """Seconds that the step stalled after its last gradient, and that buckets travelled before it."""
        hidden_s = sum(max(0.0, min(arrived, self._ready) - began) for began, arrived in self._spans)
        return max(0.0, end - self._ready), hidden_s

    def clear(self) -> None:
        self.elements = 0
        self._ready = 0.0
        self._spans: List[Tuple[float, float]] = []


class PostLocalSgd(Synchronous):
    """After `warm_up_steps` synchronous steps, workers step on their own, and average every `period` steps."""

    def __init__(self, worker: Worker) -> None:
        super().__init__(worker)
        self._warm_up_steps = worker.warm_up_steps
        self._averager = PeriodicModelAverager(worker.context.config.sync.period, self._warm_up_steps)
        self._averager.step = worker.made_steps
        self._synchronises = self._sent
        self._average_bytes = 4 * sum(parameter.numel() for parameter in worker.parameters)

    def step(self, number: int, images: torch.Tensor, labels: torch.Tensor) -> None:
        """images: [b, ...], labels: [b] int64."""
        self._sent = self._synchronises if number <= self._warm_up_steps else None
        super().step(number, images, labels)
        self._average()

    def _average(self) -> None:
        worker, timer = self._worker, self._worker.timer
        due = self._averager.step >= self._averager.warmup_steps
        due = due and (self._averager.step - self._averager.warmup_steps) % self._averager.period == 0
        if due and timer.on:
            here = timer.now()
            worker.group.meet()
            everywhere = timer.now()
        self._averager.average_parameters(iter(worker.parameters))
        if due:
            times = (timer.now() - everywhere, everywhere - here) if timer.on else (0.0, 0.0)
            timer.add(*times, payload_bytes=self._average_bytes)

    def finalize(self) -> None:
        """Average the weights."""
        timer = self._worker.timer
        here = timer.now() if timer.on else 0.0
        self._worker.group.in_order.submit(self._mean_weights).result()
        timer.add(timer.now() - here if timer.on else 0.0, payload_bytes=self._average_bytes)

    @contextlib.contextmanager
    def consensus(self) -> Iterator[None]:
        """Give the model the mean of all workers' weights and moving statistics, then this worker's weights again."""
        own = [parameter.detach().clone() for parameter in self._worker.parameters]
        with super().consensus():
            self._worker.group.in_order.submit(self._mean_weights).result()
            yield
        assign(self._worker.parameters, own)

    def _mean_weights(self) -> None:
        parameters = self._worker.parameters
        flat = Flat(parameters)
        assign(parameters, flat.unpack(self._worker.group.mean(flat.pack(parameters))))
