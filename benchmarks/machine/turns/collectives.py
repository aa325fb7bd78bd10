"""Means over the workers of one process, of which one runs at a time."""

from __future__ import annotations

import itertools
import threading
from types import SimpleNamespace
from typing import Any, Callable, Dict, List, Optional, Tuple

import numpy as np
import tensorflow as tf
from tensorflow.python.distribute.distribute_lib import ReplicaContextBase


class Abandoned(Exception):
    """Another worker has failed."""


class Turns:
    """The turn, which one of the workers has, and the means that they wait for."""

    def __init__(self, workers: int) -> None:
        self.workers = workers
        self._changed = threading.Condition()
        self._running: Optional[int] = None  # rank of the worker that has the turn
        self._parts: Dict[int, Dict[int, np.ndarray]] = {}  # by place in the workers' functions, and rank
        self._means: Dict[Tuple[int, int], np.ndarray] = {}  # by place and rank, until the worker takes it
        self._failed = False

    def begin(self, rank: int) -> None:
        """Wait for the turn."""
        with self._changed:
            self._take(rank, lambda: True)

    def end(self, rank: int, failed: bool = False) -> None:
        """Hand the turn on, for good; the other workers give up if this one has `failed`."""
        with self._changed:
            self._failed = self._failed or failed
            self._give(rank)

    def mean(self, place: int, part: np.ndarray) -> np.ndarray:
        """part: [n] of the worker that has the turn -> mean over the workers' parts for this place, [n] of the same
        dtype; the others run meanwhile.

        Parts are added up in rank order, in their own dtype, as collectives do it.
        """
        with self._changed:
            rank: int = self._running  # type: ignore[assignment]  # a function may have been traced by another worker
            parts = self._parts.setdefault(place, {})
            parts[rank] = part
            if len(parts) == self.workers:
                del self._parts[place]
                total = parts[0]
                for other in range(1, self.workers):
                    total = total + parts[other]
                mean = (total / total.dtype.type(self.workers)).astype(part.dtype)
                self._means.update({(place, each): mean for each in range(self.workers)})
            self._give(rank)
            self._take(rank, lambda: (place, rank) in self._means)
            return self._means.pop((place, rank))

    def _give(self, rank: int) -> None:
        if self._running == rank:
            self._running = None
        self._changed.notify_all()

    def _take(self, rank: int, due: Callable[[], bool]) -> None:
        self._changed.wait_for(lambda: self._failed or (due() and self._running in (None, rank)))
        if self._failed:
            raise Abandoned
        self._running = rank


class Strategy:
    """What trainer/sync asks of a tf.distribute.Strategy, for workers that take turns."""

    def __init__(self, turns: Turns) -> None:
        self.num_replicas_in_sync = turns.workers
        self.extended = SimpleNamespace(worker_devices=("CPU:0",), _get_local_replica_id=lambda number: number)
        self._turns = turns
        self._places = itertools.count()

    def run(self, function: Callable[..., Any], args: Tuple[Any, ...] = ()) -> Any:
        """What the function returns; it may call get_replica_context().all_reduce."""
        with _Replica(self, 0):
            return function(*args)

    def experimental_local_results(self, value: Any) -> Tuple[Any, ...]:
        return (value,)

    def mean(self, vector: tf.Tensor) -> tf.Tensor:
        """vector: [n] -> mean over the workers, same shape and dtype; each place in a function has means of its own."""
        place = next(self._places)
        found = tf.numpy_function(lambda part: self._turns.mean(place, part), [vector], vector.dtype)
        return tf.ensure_shape(found, vector.shape)


class _Replica(ReplicaContextBase):
    """What a function sees that a strategy runs."""

    def all_reduce(self, reduce_op: Any, value: tf.Tensor, options: Any = None) -> tf.Tensor:
        if reduce_op != tf.distribute.ReduceOp.MEAN:  # trainer/sync asks for nothing else
            raise NotImplementedError(f"workers that take turns have a mean alone, not {reduce_op}")
        return self._strategy.mean(value)


class LaterExecutor:
    """Replaces the thread from which boards call collectives: a call is made when its result is asked for.

    `done` is true from the `asked`-th time on. A worker asks once per step, so an average in flight arrives after
    `asked` steps.
    """

    def __init__(self, asked: int) -> None:
        self._asked = asked

    def submit(self, function: Callable[..., Any], *arguments: Any) -> _Later:
        return _Later(lambda: function(*arguments), self._asked)


class _Later:
    def __init__(self, call: Callable[[], Any], asked: int) -> None:
        self._call, self._left = call, asked
        self._found: List[Any] = []

    def done(self) -> bool:
        self._left -= 1
        return self._left <= 0

    def result(self) -> Any:
        if not self._found:
            self._found.append(self._call())
        return self._found[0]
