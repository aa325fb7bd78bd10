"""Turns of a trial: what is made in which order, and what is recorded of it."""

from types import SimpleNamespace

import pytest

from trainer.contract.cluster import Cluster
from trainer.contract.events import NO_SYNC, ONE_BOARD
from trainer.loop import turns
from trainer.loop.shard import Shard
from trainer.loop.step_times import StepTimes
from trainer.loop.turns import Turn


class Boards:
    """A board of two that takes turns; what it does, in order."""

    def __init__(self, rank):
        self.done, self.records, self.sent = [], [], 0
        self.cluster, self.seed, self.interface = Cluster(["a:1", "b:1"], rank), 7, "eth0"
        self.shard = Shard(rank=rank, workers=2, sharded=True, batch=8)
        self.log = SimpleNamespace(write=self.records.append, progress=lambda: None)

    def read(self):
        return StepTimes(0.5 * len(self.done), None, None, 100 * self.done.count(NO_SYNC))

    def step(self, name):
        return lambda: self.done.append(name)

    def take(self):
        taken = {name: Turn(self.step(name), 3, self) for name in (NO_SYNC, ONE_BOARD, "keras")}
        turns.take(self, taken, 4, self.step("settle"), self.step("finish"))
        return self.records


@pytest.fixture
def boards(monkeypatch):
    monkeypatch.setattr(turns, "counters", lambda _: None)
    return Boards(0), Boards(1)


def test_all_boards_have_the_same_new_order_in_every_cycle(boards):
    chief, other = ([(record.cycle, record.sync) for record in board.take()] for board in boards)
    assert chief == other and len(chief) == 12
    orders = [tuple(name for number, name in chief if number == cycle) for cycle in range(1, 5)]
    assert all(sorted(order) == sorted(orders[0]) for order in orders) and len(set(orders)) > 1


def test_a_turn_has_its_steps_between_two_moments_at_which_all_boards_have_settled(boards):
    boards[0].take()
    for start in range(0, len(boards[0].done), 6):
        before, *made, finished, after = boards[0].done[start : start + 6]
        assert (before, finished, after) == ("settle", "finish", "settle") and len(set(made)) == 1


def test_images_are_those_of_the_board_and_bytes_that_nobody_counted_are_null(boards):
    for record in boards[1].take():
        assert record.images == (0 if record.sync == ONE_BOARD else 24) and record.sent_bytes is None
        assert record.payload_bytes == (300 if record.sync == NO_SYNC else 0)
        assert record.communication_s == 2.5, "of five marks: three steps, the end and the last meeting"
    assert {record.images for record in boards[0].take()} == {24}
