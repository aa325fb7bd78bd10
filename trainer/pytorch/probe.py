"""Measures what decides a run's speed: a step on this board alone and with the others, as trainer/measure/probe.py.

Steps with the others are those of DistributedDataParallel without a hook, PyTorch's default.
"""

from __future__ import annotations

import time
from typing import Callable, List

import torch

from trainer.contract.events import Probe
from trainer.pytorch import trial
from trainer.pytorch.context import TrainingContext

_WARM_UP = 2
_WINDOWS = 3
_WINDOW_STEPS = 5
_ALL_REDUCES = 5


def measure(context: TrainingContext) -> None:
    """Time steps and all-reduces on this board, and write the record. All boards of the cluster take part."""
    context.ready()
    alone = _step_times(context, trial.plain_step(context))
    together: List[float] = []
    all_reduces: List[float] = []
    trainable = context.model.parameter_counts()[0]
    if context.group.workers > 1:
        together = _step_times(context, trial.step_of(context, "ddp allreduce, float32")[0])
        vector = torch.zeros(trainable, device=context.compute.device)
        for _ in range(_WARM_UP + _ALL_REDUCES):
            before = context.timer.now()
            context.group.mean(vector)
            all_reduces.append(context.timer.now() - before)
    context.log.write(
        Probe(
            step_s=alone,
            distributed_step_s=together,
            all_reduce_s=all_reduces[_WARM_UP:],
            payload_bytes=4 * trainable,
        )
    )
    context.log.close()


def _step_times(context: TrainingContext, step: Callable[[], None]) -> List[float]:
    """Seconds per step, a mean for each window."""
    for _ in range(_WARM_UP):
        step()
    times = []
    for _ in range(_WINDOWS):
        before = time.monotonic()
        for _ in range(_WINDOW_STEPS):
            step()
        context.compute.finish()
        times.append((time.monotonic() - before) / _WINDOW_STEPS)
        context.log.progress()
    return times
