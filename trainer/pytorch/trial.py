"""Times PyTorch's strategies and methods in turn, in one process per board, as trainer/measure/trial.py does.

In every cycle each makes some steps, in a new order that is the same on all boards. For comparison, one board trains
while the others idle, and all boards train without synchronising.
"""

from __future__ import annotations

import copy
import dataclasses
import itertools
import random
import time
from typing import Callable, Dict, Iterator, Tuple

from trainer.contract.events import NO_SYNC, ONE_BOARD, Trial
from trainer.contract.interface import counters
from trainer.contract.methods import METHODS
from trainer.contract.sections import sync_of
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

Turn = Callable[[], None]  # one step


def measure(context: TrainingContext) -> None:
    """Time all methods and record each turn. All boards of the cluster take part."""
    context.ready()
    plain = plain_turn(context)
    plain()
    turns: Dict[str, Tuple[Turn, int, StepTimer]] = {}
    if context.group.workers > 1:
        for name, steps in _TURNS.items():
            turn, warm_up, timer = turn_of(context, name)
            for _ in range(warm_up):
                turn()
                context.log.progress()
            _settle(context)
            turns[name] = (turn, steps, timer)
        turns[NO_SYNC] = (plain, _ALONE_STEPS, context.timer)
    turns[ONE_BOARD] = (plain if context.cluster.is_chief else lambda: None, _ALONE_STEPS, context.timer)
    order = random.Random(context.seed)  # the same on all boards
    for cycle in range(1, min(_CYCLES, context.config.epochs) + 1):
        for name in order.sample(sorted(turns), len(turns)):
            _settle(context)
            context.log.write(_timed(context, name, cycle, *turns[name]))
            context.log.progress()
    _settle(context)
    context.log.close()


def plain_turn(context: TrainingContext) -> Turn:
    """A step of this board alone."""
    own = copy.copy(context)
    own.timer = StepTimer(context.compute, on=False)
    return _turn(_worker(own), lambda worker: Synchronous(worker, alone=True))


def turn_of(context: TrainingContext, name: str) -> Tuple[Turn, int, StepTimer]:
    """A step of the named strategy and method, how many to make before timing, and what times them."""
    from trainer.pytorch.training import method  # which imports this module

    own = copy.copy(context)
    own.strategy, _, sync_name = name.partition(" ")
    sync = dataclasses.replace(sync_of(sync_name), step_times=context.config.sync.step_times)
    own.config = dataclasses.replace(context.config, strategy=own.strategy, sync=sync)
    own.timer = StepTimer(context.compute, sync.step_times)
    # an average then begins in the middle of a turn, so that all of its cost lies within it
    warm_up = sync.period * 3 // 2 if METHODS[sync.method].local_steps else 2
    return _turn(_worker(own), method), warm_up, own.timer


def _worker(context: TrainingContext) -> Worker:
    """A worker with a model of its own, whose weights are discarded."""
    context.model = context.build_model()
    worker = Worker(context)
    worker.model.train()
    worker.last_step = 10**9
    return worker


def _turn(worker: Worker, made: Callable[[Worker], Method]) -> Turn:
    method, numbers, batches = made(worker), itertools.count(1), _batches(worker.context)

    def turn() -> None:
        method.step(next(numbers), *next(batches))

    return turn


def _batches(context: TrainingContext) -> Iterator[Batch]:
    for epoch in itertools.count():
        yield from context.data.training_batches(context.shard, context.seed, epoch)


def _settle(context: TrainingContext) -> None:
    """Return when no collective is on its way and all boards have come so far: no turn's run into the next one's."""
    context.group.in_order.submit(context.group.meet).result()


def _timed(context: TrainingContext, name: str, cycle: int, turn: Turn, steps: int, timer: StepTimer) -> Trial:
    began, split, counted = time.monotonic(), timer.read(), counters(context.interface)
    for _ in range(steps):
        turn()
    context.compute.finish()
    elapsed_s = time.monotonic() - began
    _settle(context)  # bytes of an unfinished average, and those that a server sends to others, belong to this turn
    split, after = timer.read().since(split), counters(context.interface)
    return Trial(
        sync=name,
        cycle=cycle,
        steps=steps,
        images=0 if name == ONE_BOARD and not context.cluster.is_chief else steps * context.shard.batch,
        elapsed_s=elapsed_s,
        communication_s=split.communication_s,
        waiting_s=split.waiting_s,
        overlapped_s=split.overlapped_s,
        sent_bytes=None if counted is None or after is None else after.sent - counted.sent,
        payload_bytes=split.payload_bytes,
    )
