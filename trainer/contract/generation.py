"""Generations of a run: the boards that train together, until one is lost. Standard library only, Python 3.8 syntax.

The first one has all boards of the run. With on_board_loss: continue, the boards that are left after a loss make up the
next one, and train on from the newest checkpoint that all of them have.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Tuple

from trainer.contract import reading
from trainer.contract.checkpoints import Place
from trainer.contract.cluster import Cluster
from trainer.contract.layout import GENERATION, write_json
from trainer.contract.run import Run


@dataclass(frozen=True)
class Generation:
    """Boards that train together."""

    number: int  # from 1
    members: Tuple[int, ...]  # the boards' ranks in the run, ascending; the first one is chief
    epoch: int  # whose checkpoint it begins with, from 1; 0: the beginning
    joined: Tuple[int, ...] = ()  # members that were not of the one before; they get the checkpoint from another one
    images: int = 0  # of the next epoch, where the checkpoint was made within it; see checkpoints.Place

    @property
    def place(self) -> Place:
        """Of the checkpoint that it begins with."""
        return Place(self.epoch, self.images)

    @property
    def donor(self) -> int:
        """The board that gives the checkpoint to those that joined."""
        return min(set(self.members) - set(self.joined))

    def narrow(self, run: Run, cluster: Cluster) -> Tuple[Run, Cluster]:
        """The run and the cluster with this generation's boards alone. Raises ValueError on a board outside."""
        if cluster.rank not in self.members:
            raise ValueError(f"generation {self.number} has the ranks {self.members}, without this board's")
        speeds = run.speeds and [run.speeds[rank] for rank in self.members]
        boards = [run.boards[rank] for rank in self.members]
        addresses = [cluster.addresses[rank] for rank in self.members]
        return (
            dataclasses.replace(run, boards=boards, workers=len(boards), speeds=speeds),
            Cluster(addresses=addresses, rank=self.members.index(cluster.rank)),
        )


def as_generation(value: Any) -> Generation:
    """The generation that a JSON object describes. Raises ValueError for anything else."""
    try:
        number, members, joined = value["number"], value["members"], value["joined"]
        epoch, images = value["epoch"], value["images"]
        numbers = [number, epoch, images, *members, *joined]
    except (KeyError, TypeError) as error:
        raise ValueError(f"this is no generation: {error!r}") from error
    if not all(isinstance(item, int) and not isinstance(item, bool) and 0 <= item < 1 << 31 for item in numbers):
        raise ValueError("this is no generation: it needs whole numbers")
    if not members or sorted(set(members)) != list(members):
        raise ValueError("this is no generation: its members are not ranks in ascending order")
    if not set(joined) < set(members):
        raise ValueError("this is no generation: all of its members joined it, or others did")
    return Generation(number, tuple(members), epoch, tuple(joined), images)


def load_generation(folder: Path, boards: int) -> Generation:
    """The generation that the run's folder on a board is in: the first one, of all boards, without a file.

    Raises ValueError for a file that is not one.
    """
    try:
        return as_generation(reading.read(folder / GENERATION))
    except FileNotFoundError:
        return Generation(1, tuple(range(boards)), 0)
    except OSError as error:
        raise ValueError(f"{folder / GENERATION} cannot be read: {error}") from error


def write_generation(folder: Path, generation: Generation) -> None:
    """Note the generation that the board is in. Raises OSError."""
    write_json(folder / GENERATION, dataclasses.asdict(generation))
