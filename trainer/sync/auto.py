"""Times a few synchronous steps of each kind, then chooses the method of synchronising with `contract.choice`.

The timed steps are part of the training. All boards decide from the mean of their times and so decide the same.
"""

from __future__ import annotations

import copy
import dataclasses
import time
from typing import ContextManager, Dict, Iterator, List, Optional

import tensorflow as tf

from trainer.contract.choice import FLOAT16, FLOAT32, TIMED, choose
from trainer.contract.events import Choice, Resume
from trainer.contract.records import begins_at
from trainer.contract.sections import sync_of
from trainer.sync.allreduce import GradientMean
from trainer.sync.local_sgd import LocalSgd
from trainer.sync.method import Logs, Method
from trainer.sync.powersgd import LowRankMean
from trainer.sync.stepping import SynchronousSteps, Worker

_TRACED, _TIMED = 2, 5  # steps of each kind: to warm up, and to time
MEASURED_STEPS = len(TIMED) * (_TRACED + _TIMED)


def method(worker: Worker) -> Auto:
    """The least lossy method that reaches `efficiency`."""
    return Auto(worker)


class Auto(tf.Module):
    """Times steps, chooses a method, then delegates to it."""

    def __init__(self, worker: Worker) -> None:
        super().__init__()
        self._worker = worker
        self._first = worker.made_steps  # steps before the first timed one
        self._synchronous = {name: _synchronous(worker, name) for name in TIMED}
        self._compute_s: Dict[str, List[float]] = {name: [] for name in TIMED}
        self._stall_s: Dict[str, List[float]] = {name: [] for name in TIMED}
        self._chosen: Optional[Method] = None
        begun = 0  # steps before the attempt that wrote the record
        for record in worker.context.records:
            if record["event"] == Resume.KIND:
                at = begins_at(record)
                begun = worker.pace.before(at.epoch) + worker.pace.begun(at)
            elif record["event"] == Choice.KIND:  # chosen by an earlier attempt
                self._first = begun
                self._be(record["chosen"])

    def trace(self) -> None:
        """Trace the steps to time, or those of the method chosen by an earlier attempt."""
        for method in [self._chosen] if self._chosen else self._synchronous.values():
            method.trace()

    def step(self, number: int, images: tf.Tensor, labels: tf.Tensor) -> Logs:
        """images: [b, ...], labels: [b] int32 -> logs; times the first MEASURED_STEPS."""
        if self._chosen is not None:
            return self._chosen.step(number, images, labels)
        place = number - 1 - self._first
        name = TIMED[place // (_TRACED + _TIMED)]
        timer = self._worker.context.timer
        began, before = time.monotonic(), timer.read()
        logs = self._synchronous[name].step(number, images, labels)
        float(logs["loss"])  # waits until the device has finished
        if place % (_TRACED + _TIMED) >= _TRACED:
            split = timer.read().since(before)
            self._stall_s[name].append(split.communication_s)
            self._compute_s[name].append(time.monotonic() - began - split.communication_s - (split.waiting_s or 0.0))
        if place + 1 == MEASURED_STEPS:
            self._choose()
        return logs

    def alike(self, number: int) -> int:
        return 1 if self._chosen is None else self._chosen.alike(number)

    def steps(self, number: int, count: int, batches: Iterator) -> Logs:
        return self._chosen.steps(number, count, batches)  # type: ignore[union-attr]

    def common(self, number: int) -> bool:
        return self._chosen is not None and self._chosen.common(number)

    def finalize(self) -> None:
        if self._chosen is not None:
            self._chosen.finalize()

    def flush(self) -> None:
        if self._chosen is not None:
            self._chosen.flush()

    def consensus(self) -> ContextManager[None]:
        return (self._chosen or self._synchronous[FLOAT32]).consensus()

    def _choose(self) -> None:
        context = self._worker.context
        stalls = [min(self._stall_s[name]) for name in TIMED]
        fastest = [min(self._compute_s[name]) for name in TIMED]
        of_steps = self._compute_s[FLOAT32] + self._compute_s[FLOAT16]
        # compression computes, too
        mine = [stall_s + max(0.0, own_s - fastest[0]) for stall_s, own_s in zip(stalls, fastest)]
        compute_s, *extra_s = self._worker.means([sum(of_steps) / len(of_steps), *mine])
        asked = context.config.sync
        choice = choose(compute_s, dict(zip(TIMED, extra_s)), asked.efficiency, asked.period)
        context.log.write(choice)
        print(f"auto: {choice.reason}")
        self._be(choice.chosen or FLOAT32)
        if self._chosen is not None and choice.period is not None:
            self._chosen.trace()

    def _be(self, name: str) -> None:
        """Delegate to the method of this name, and drop the others with their copies of the gradient."""
        kept = self._synchronous.get(name, self._synchronous[FLOAT16])
        self._synchronous = {}
        if name in TIMED:
            self._chosen = kept
        else:
            together = max(self._first + MEASURED_STEPS, self._worker.warm_up_steps)
            self._chosen = LocalSgd(self._worker, sync_of(name).period, kept, together)


def _synchronous(worker: Worker, name: str) -> SynchronousSteps:
    """Synchronous steps with the named method, which keep the experiment's other options."""
    named = sync_of(name)
    options = {option: getattr(named, option) for option in ("method", "gradient_dtype", "bucket_bytes", "rank")}
    context = copy.copy(worker.context)
    context.config = dataclasses.replace(context.config, sync=dataclasses.replace(context.config.sync, **options))
    own = worker.under(context)
    return SynchronousSteps(own, (LowRankMean if named.method == "powersgd" else GradientMean)(own))
