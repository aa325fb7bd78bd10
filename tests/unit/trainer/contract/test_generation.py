"""Generations of a run: what its trainers see of it, and what is refused."""

import dataclasses

import pytest

from trainer.contract.cluster import Cluster
from trainer.contract.config import parse
from trainer.contract.generation import Generation, as_generation, load_generation, write_generation
from trainer.contract.run import Run

RUN = Run(
    run_id="r",
    task="train",
    experiment="e",
    workers=3,
    seed=1,
    boards=["a", "b", "c"],
    config=parse({}),
    assets={},
    trainer_sha256="0",
    git_commit=None,
    git_dirty=None,
    speeds=[1.0, 0.5, 0.25],
)
ADDRESSES = ["10.0.0.1:1", "10.0.0.2:1", "10.0.0.3:1"]


def test_a_trainer_sees_the_boards_of_its_generation_alone():
    run, cluster = Generation(2, (1, 2), 4).narrow(RUN, Cluster(ADDRESSES, 2))
    assert (run.boards, run.workers, run.speeds) == (["b", "c"], 2, [0.5, 0.25])
    assert cluster.addresses == ADDRESSES[1:] and cluster.rank == 1
    _, chief = Generation(2, (1, 2), 4).narrow(RUN, Cluster(ADDRESSES, 1))
    assert chief.is_chief


def test_a_board_outside_has_no_part_in_it():
    with pytest.raises(ValueError, match="without this board's"):
        Generation(2, (1, 2), 4).narrow(RUN, Cluster(ADDRESSES, 0))


def test_without_a_file_it_is_the_first_generation_of_all_boards(tmp_path):
    assert load_generation(tmp_path, 3) == Generation(1, (0, 1, 2), 0)
    later = Generation(3, (0, 2), 7, (2,))
    write_generation(tmp_path, later)
    assert load_generation(tmp_path, 3) == later


def test_the_board_with_the_checkpoint_gives_it_to_those_that_joined():
    assert Generation(3, (0, 1, 2), 7, (0,)).donor == 1


@pytest.mark.parametrize(
    "odd",
    [
        None,
        [],
        {"members": []},
        {"members": [1, 0]},
        {"members": [0, 0]},
        {"members": [True]},
        {"members": [0.5]},
        {"members": [-1]},
        {"members": 3},
        {"joined": [0, 1]},
        {"joined": [5]},
        {"epoch": None},
        {"number": 1 << 40},
    ],
)
def test_what_is_no_generation_is_refused(odd):
    value = {**dataclasses.asdict(Generation(2, (0, 1), 3)), **odd} if isinstance(odd, dict) else odd
    with pytest.raises(ValueError, match="this is no generation"):
        as_generation(value)
