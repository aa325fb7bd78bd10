"""Times a few synchronous steps, then chooses the method of synchronising with `contract.choice`.

The timed steps are part of the training. All boards decide from the mean of their times and so decide the same.
"""

from __future__ import annotations

import time
from typing import ContextManager, Dict, List, Optional

import tensorflow as tf

from trainer.contract.choice import choose
from trainer.contract.events import Choice, Resume
from trainer.sync.allreduce import GradientMean
from trainer.sync.local_sgd import LocalSgd
from trainer.sync.stepping import Logs, Method, SynchronousSteps, Worker

_TRACED, _TIMED = 2, 5  # steps per dtype: to trace and warm up, and to time
_DTYPES = ("float32", "float16")
MEASURED_STEPS = len(_DTYPES) * (_TRACED + _TIMED)


def method(worker: Worker) -> Auto:
    """The least lossy method that reaches `efficiency`."""
    return Auto(worker)


class Auto(tf.Module):
    """Times steps, chooses a method, then delegates to it."""

    def __init__(self, worker: Worker) -> None:
        super().__init__()
        self._worker = worker
        self._first = worker.made_steps  # steps before the first timed one
        self._synchronous = {dtype: SynchronousSteps(worker, GradientMean(worker, dtype)) for dtype in _DTYPES}
        self._compute_s: List[float] = []
        self._stall_s: Dict[str, List[float]] = {dtype: [] for dtype in _DTYPES}
        self._chosen: Optional[Method] = None
        begun = 0  # steps before the attempt that wrote the record
        for record in worker.context.records:
            if record["event"] == Resume.KIND:
                begun = record["epoch"] * worker.steps_per_epoch
            elif record["event"] == Choice.KIND:  # chosen by an earlier attempt
                self._first = begun
                self._be(record["gradient_dtype"], record["period"])

    def trace(self) -> None:
        """Trace the steps to time, or those of the method chosen by an earlier attempt."""
        for method in [self._chosen] if self._chosen else self._synchronous.values():
            method.trace()

    def step(self, number: int, images: tf.Tensor, labels: tf.Tensor) -> Logs:
        """images: [b, ...], labels: [b] int32 -> logs; times the first MEASURED_STEPS."""
        if self._chosen is not None:
            return self._chosen.step(number, images, labels)
        place = number - 1 - self._first
        dtype = _DTYPES[place // (_TRACED + _TIMED)]
        timer = self._worker.context.timer
        began, before = time.monotonic(), timer.read()
        logs = self._synchronous[dtype].step(number, images, labels)
        float(logs["loss"])  # waits until the device has finished
        if place % (_TRACED + _TIMED) >= _TRACED:
            split = timer.read().since(before)
            self._stall_s[dtype].append(split.communication_s)
            self._compute_s.append(time.monotonic() - began - split.communication_s - (split.waiting_s or 0.0))
        if place + 1 == MEASURED_STEPS:
            self._choose()
        return logs

    def finalize(self) -> None:
        if self._chosen is not None:
            self._chosen.finalize()

    def flush(self) -> None:
        if self._chosen is not None:
            self._chosen.flush()

    def consensus(self) -> ContextManager[None]:
        return (self._chosen or self._synchronous["float32"]).consensus()

    def _choose(self) -> None:
        context = self._worker.context
        seconds = [min(self._stall_s[dtype]) for dtype in _DTYPES]
        compute_s, float32_s, float16_s = self._worker.means([sum(self._compute_s) / len(self._compute_s), *seconds])
        choice = choose(compute_s, float32_s, float16_s, context.config.sync.efficiency)
        context.log.write(choice)
        print(f"auto: {choice.reason}")
        self._be(choice.gradient_dtype, choice.period)
        if self._chosen is not None and choice.period is not None:
            self._chosen.trace()

    def _be(self, dtype: str, period: Optional[int]) -> None:
        synchronous = self._synchronous[dtype]
        self._chosen = (
            synchronous if period is None else LocalSgd(self._worker, period, synchronous, self._first + MEASURED_STEPS)
        )
