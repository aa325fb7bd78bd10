"""Times PyTorch's strategies and methods in turn, in one process per board, as trainer/measure/trial.py does.

In every cycle each makes some steps, in a new order that is the same on all boards. For comparison, one board trains
while the others idle, and all boards train without synchronising.
"""

from __future__ import annotations

import copy
import dataclasses
import itertools
from typing import Callable, Dict, Iterator, Tuple

from trainer.contract.events import NO_SYNC, ONE_BOARD
from trainer.contract.methods import METHODS
from trainer.contract.sections import sync_of
from trainer.loop import turns
from trainer.loop.turns import Turn
from trainer.pytorch.context import TrainingContext
from trainer.pytorch.data import Batch
from trainer.pytorch.step_timer import StepTimer
from trainer.pytorch.synchronous import Synchronous
from trainer.pytorch.worker import Method, Worker

_CYCLES = 5  # fewer where the experiment has fewer epochs
_ALONE_STEPS = 16
# strategy and method, see sections.sync_of -> steps per turn; with local steps an average begins within a turn
_TURNS = {
    "ddp allreduce, float32": 8,
    "ddp allreduce, float16": 8,
    "ddp powersgd, rank 4": 16,
    "ddp local_sgd, period 16": 32,
    "c10d allreduce, float16": 8,
    "c10d local_sgd, period 16": 32,
    "rpc asynchronous": 8,
}

Step = Callable[[], None]


def measure(context: TrainingContext) -> None:
    """Time all methods and record each turn. All boards of the cluster take part."""
    context.ready()
    plain = plain_step(context)
    plain()

    def settle() -> None:
        context.group.in_order.submit(context.group.meet).result()

    taken: Dict[str, Turn] = {}
    if context.group.workers > 1:
        for name, steps in _TURNS.items():
            step, warm_up, timer = step_of(context, name)
            for _ in range(warm_up):
                step()
                context.log.progress()
            settle()
            taken[name] = Turn(step, steps, timer)
        taken[NO_SYNC] = Turn(plain, _ALONE_STEPS, context.timer)
    taken[ONE_BOARD] = Turn(plain if context.cluster.is_chief else lambda: None, _ALONE_STEPS, context.timer)
    turns.take(context, taken, min(_CYCLES, context.config.epochs), settle, context.compute.finish)
    context.log.close()


def plain_step(context: TrainingContext) -> Step:
    """A step of this board alone."""
    own = copy.copy(context)
    own.timer = StepTimer(context.compute, on=False)
    return _step(_worker(own), lambda worker: Synchronous(worker, alone=True))


def step_of(context: TrainingContext, name: str) -> Tuple[Step, int, StepTimer]:
    """A step of the named strategy and method, how many to make before timing, and what times them."""
    from trainer.pytorch.training import method  # which imports this module

    own = copy.copy(context)
    own.strategy, _, sync_name = name.partition(" ")
    sync = dataclasses.replace(sync_of(sync_name), step_times=context.config.sync.step_times)
    own.config = dataclasses.replace(context.config, strategy=own.strategy, sync=sync)
    own.timer = StepTimer(context.compute, sync.step_times)
    # an average then begins in the middle of a turn, so that all of its cost lies within it
    warm_up = sync.period * 3 // 2 if METHODS[sync.method].local_steps else 2
    return _step(_worker(own), method), warm_up, own.timer


def _worker(context: TrainingContext) -> Worker:
    """A worker with a model of its own, whose weights are discarded."""
    context.model = context.build_model()
    worker = Worker(context)
    worker.model.train()
    worker.last_step = 10**9
    return worker


def _step(worker: Worker, made: Callable[[Worker], Method]) -> Step:
    method, numbers, batches = made(worker), itertools.count(1), _batches(worker.context)

    def step() -> None:
        method.step(next(numbers), *next(batches))

    return step


def _batches(context: TrainingContext) -> Iterator[Batch]:
    for epoch in itertools.count():
        yield from context.data.training_batches(context.shard, context.seed, epoch)
