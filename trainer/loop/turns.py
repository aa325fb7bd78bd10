"""Times steps in turns, whatever engine makes them."""

from __future__ import annotations

import random
import time
from dataclasses import dataclass
from typing import Callable, Mapping, Optional, Protocol

from trainer.contract.cluster import Cluster
from trainer.contract.events import ONE_BOARD, Trial
from trainer.contract.interface import counters
from trainer.contract.records import EventLog
from trainer.loop.shard import Shard
from trainer.loop.step_times import Timer


@dataclass(frozen=True)
class Turn:
    """Steps of one kind that are timed together."""

    step: Callable[[], None]
    steps: int
    timer: Timer


class Board(Protocol):
    """What is needed of an engine's TrainingContext."""

    seed: int
    cluster: Cluster
    shard: Shard
    interface: Optional[str]
    log: EventLog


def take(
    board: Board,
    turns: Mapping[str, Turn],
    cycles: int,
    settle: Callable[[], object],
    finish: Callable[[], object] = lambda: None,
) -> None:
    """Record every turn, in an order that is new in each cycle.

    `settle` returns when no collective is on its way and all boards have come so far, `finish` when this board's device
    has computed what it was given.
    """
    order = random.Random(board.seed)  # the same on all boards
    for cycle in range(1, cycles + 1):
        for name in order.sample(sorted(turns), len(turns)):
            settle()
            turn, counted = turns[name], counters(board.interface)
            began, split = time.monotonic(), turn.timer.read()
            for _ in range(turn.steps):
                turn.step()
            finish()
            elapsed_s = time.monotonic() - began
            settle()  # bytes of an unfinished average, and those that a server sends to others, belong to this turn
            split, after = turn.timer.read().since(split), counters(board.interface)
            idles = name == ONE_BOARD and not board.cluster.is_chief
            board.log.write(
                Trial(
                    sync=name,
                    cycle=cycle,
                    steps=turn.steps,
                    images=0 if idles else turn.steps * board.shard.batch,
                    elapsed_s=elapsed_s,
                    communication_s=split.communication_s,
                    waiting_s=split.waiting_s,
                    overlapped_s=split.overlapped_s,
                    sent_bytes=None if counted is None or after is None else after.sent - counted.sent,
                    payload_bytes=split.payload_bytes,
                )
            )
            board.log.progress()
