"""Which images a board trains on, and in which order.

The order of an epoch is a function of seed, epoch and rank alone, and the same with every engine: the same run gives
the same batches, and a resumed one goes on with the batches that the uninterrupted one would have seen.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import List, Tuple

import numpy as np

from trainer.contract.cluster import Cluster
from trainer.contract.run import Run

_LARGER = 4  # times; without a backward pass a layer's values need not be kept


@dataclass(frozen=True)
class Shard:
    """The part of the images that one board trains on in an epoch."""

    rank: int
    workers: int
    sharded: bool  # a part of the images; false: all
    batch: int  # images per step
    # batches of all boards in rank order, if they differ: parts are then in proportion to them
    batches: Tuple[int, ...] = ()
    # steps of all boards in an epoch in rank order, if they differ in number
    counts: Tuple[int, ...] = ()

    @property
    def weight(self) -> float:
        """This board's weight in a mean over the boards; 1 if all are equal."""
        return self.batch * self.workers / sum(self.batches) if self.batches else 1.0

    def of_all(self) -> List[Shard]:
        """The parts of all boards in rank order."""
        return [dataclasses.replace(self, rank=rank) for rank in range(self.workers)]

    def images(self, total: int) -> int:
        """Images of this board in an epoch; where parts must be equal or have whole batches, some repeat."""
        if self.batches or self.counts:
            return self.steps(total) * self.batch
        return -(-total // self.workers) if self.sharded else total

    @property
    def taken(self) -> int:
        """Images that a step takes from an epoch's order: all boards', or this one's if each sees all of them."""
        return sum(self.batches) or self.batch * (self.workers if self.sharded else 1)

    def steps(self, total: int) -> int:
        """Steps of this board in an epoch; the last may have fewer images."""
        if self.counts:
            return self.counts[self.rank]
        return -(-total // sum(self.batches)) if self.batches else -(-self.images(total) // self.batch)


def shard_of(run: Run, cluster: Cluster) -> Shard:
    """The part of this board."""
    config = run.config
    batches: Tuple[int, ...] = ()
    if config.data.sharding == "proportional":
        batches = config.batches(run.speeds or [1.0] * cluster.workers)
    computing = config.computing(cluster.workers)
    return Shard(
        rank=cluster.rank,
        workers=computing,
        sharded=config.data.sharding != "whole",
        batch=batches[cluster.rank] if batches else config.board_batch(computing),
        batches=batches,
    )


def validation_shard(shard: Shard) -> Shard:
    """The part of the validation images of a board, in batches several times as large as those of training."""
    batches = tuple(_LARGER * batch for batch in shard.batches)
    return dataclasses.replace(shard, sharded=True, batch=_LARGER * shard.batch, batches=batches, counts=())


def training_order(shard: Shard, total: int, seed: int, epoch: int, done: int = 0) -> np.ndarray:
    """Indices of the `total` images, [shard.images(total - done)] int32, in the order of an epoch (from 0).

    `done`: images at the beginning of that order that boards have trained on before; the rest is shared out anew, which
    gives as many boards as before what they would have had.
    """
    left = total - done
    # boards that share an epoch must cut the same permutation; boards that each see all need their own
    stream = epoch if shard.sharded else epoch * shard.workers + shard.rank
    # not Generator.permutation, whose results may change with NumPy's version, and engines have different ones
    drawn = np.random.Philox(key=np.array([seed, stream], np.uint64)).random_raw(total)
    permutation: np.ndarray = np.argsort(drawn, kind="stable").astype(np.int32)
    if shard.batches:
        begin = done + np.arange(shard.steps(left)) * sum(shard.batches) + sum(shard.batches[: shard.rank])
        mine = (begin[:, None] + np.arange(shard.batch)[None]).reshape(-1)
    elif shard.counts:
        mine = np.arange(shard.images(total)) + sum(shard.counts[: shard.rank]) * shard.batch
    elif shard.sharded:
        mine = done + np.arange(shard.images(left)) * shard.workers + shard.rank
    else:
        return permutation[done:]
    return np.take(permutation, mine % total)


def validation_order(shard: Shard, total: int) -> np.ndarray:
    """Indices of this board's part of the `total` validation images, int32, in order."""
    if shard.batches:
        ends = [round(total * sum(shard.batches[:rank]) / sum(shard.batches)) for rank in (shard.rank, shard.rank + 1)]
        return np.arange(*ends, dtype=np.int32)
    return ((np.arange(shard.images(total)) * shard.workers + shard.rank) % total).astype(np.int32)
