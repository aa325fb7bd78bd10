"""How many steps a board makes in an epoch: as many as the others, or in proportion to the speeds that were measured.

On a GPU a smaller batch saves little, so that a slower board makes fewer steps with whole batches instead of as many
with smaller ones. Only methods whose boards make steps on their own between exchanges can do that.
"""

from __future__ import annotations

import dataclasses
from typing import Any, Dict, List, Optional, Sequence

from trainer.contract.checkpoints import Place
from trainer.contract.config import divided
from trainer.contract.events import Pace as PaceRecord
from trainer.contract.run import Run
from trainer.loop.shard import Shard


class Pace:
    """The steps of this board, by epoch (from 0).

    Until speeds are known, all boards make equally many steps.
    """

    def __init__(self, shard: Shard, train_images: int, measured_in: Optional[int]) -> None:
        """`measured_in`: the epoch in which speeds are measured; null: the boards' steps stay equal."""
        self._equal = self._later = shard
        self._images, self.measured_in = train_images, measured_in

    @property
    def unequal(self) -> bool:
        """Whether the boards' steps differ by now."""
        return self._later is not self._equal

    def shard(self, epoch: int) -> Shard:
        """This board's part of the images in an epoch."""
        return self._equal if self.measured_in is None or epoch <= self.measured_in else self._later

    def steps(self, epoch: int) -> int:
        """This board's steps in an epoch."""
        return self.shard(epoch).steps(self._images)

    def images(self, epoch: int, done: int = 0) -> int:
        """Images of this board in an epoch, or in what is left of it after `done` images of its order."""
        return self.shard(epoch).images(self._images - done)

    def begun(self, begins: Place) -> int:
        """This board's steps of the next epoch before a place; as if its boards had made them all."""
        return self.steps(begins.epoch) - self.shard(begins.epoch).steps(self._images - begins.images)

    def place(self, begins: Place, epoch: int, step: int) -> Place:
        """The place after `step` steps of an epoch (from 0), for a trainer that began at `begins`."""
        taken = self.shard(epoch).taken
        if epoch == begins.epoch:
            return Place(epoch, begins.images + (step - self.begun(begins)) * taken)
        return Place(epoch, step * taken)

    @property
    def batch(self) -> int:
        """Images per step of this board."""
        return self._equal.batch

    def before(self, epoch: int) -> int:
        """This board's steps of the run before an epoch."""
        alike = epoch if self.measured_in is None else min(epoch, self.measured_in + 1)
        return alike * self.steps(0) + (epoch - alike) * self.steps(epoch)

    def follow(self, step_s: Sequence[float]) -> PaceRecord:
        """Share out the steps of the epochs to come by each board's seconds for one; what was decided."""
        batches = max(len(step_s), -(-self._images // self._equal.batch))
        counts = divided(batches, [1 / seconds for seconds in step_s])
        self._later = dataclasses.replace(self._equal, counts=counts)
        assert self.measured_in is not None
        return PaceRecord(epoch=self.measured_in + 2, steps=list(counts), step_s=list(step_s))

    def go_on(self, records: Sequence[Dict[str, Any]]) -> None:
        """Share out the steps as an earlier attempt of the run did, if it had come so far."""
        for record in records:
            if record["event"] == PaceRecord.KIND:
                self._later = dataclasses.replace(self._equal, counts=tuple(record["steps"]))

    def rounds(self, period: int) -> List[int]:
        """The steps of an epoch, from 1, after which this board begins an average; as many on all boards.

        A board's share of an epoch is cut into as many pieces as its period fits into a mean board's.
        """
        counts = self._later.counts
        rounds = max(1, min(round(sum(counts) / len(counts) / period), *counts))
        own = counts[self._later.rank]
        return [-(-own * (number + 1) // rounds) for number in range(rounds)]

    def weight(self, number: int, rounds: int) -> float:
        """This board's weight in the mean of an epoch's round (from 0): its steps over those of a mean board."""
        made = [-(-count * (number + 1) // rounds) - -(-count * number // rounds) for count in self._later.counts]
        return made[self._later.rank] * len(made) / sum(made)


def pace_of(run: Run, shard: Shard, train_images: int) -> Pace:
    """The steps of this board, as the run is configured."""
    measured_in = None
    if run.config.data.sharding == "measured" and shard.workers > 1:
        steps = shard.steps(train_images)
        # boards make the first steps together, and then whole epochs at their own pace
        measured_in = max(0, -(-run.config.sync.first_steps(steps) // steps) - 1)
    return Pace(shard, train_images, measured_in)
