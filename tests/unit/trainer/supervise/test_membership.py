"""Deciding the next generation: what must always hold does, in any schedule, and the schedules find what breaks it."""

import random

import pytest

from tests.unit.trainer.supervise import simulated_boards
from trainer.contract.checkpoints import START, Place
from trainer.contract.generation import Generation
from trainer.supervise import membership
from trainer.supervise.membership import Membership, decision, told

FIRST = Generation(1, (0, 1, 2), 0)


def part(rank, epochs=(3, 4), kept=None, keep=lambda state: None, now=FIRST, min_workers=1):
    chance = random.Random(1)
    places = [Place(epoch) for epoch in epochs]
    return Membership(rank, now, places, min_workers=min_workers, chance=chance, keep=keep, kept=kept)


def message(kind, ballot, **content):
    return {"kind": kind, "number": 2, "ballot": ballot, **content}


def played(parts, seconds=20.0):
    """Carry all messages between these boards, in order."""
    now_s, flying = 0.0, []
    while now_s < seconds and not all(it.decided for it in parts.values()):
        for rank, it in parts.items():
            flying += [(rank, to, sent) for to, sent in it.tick(now_s)]
        while flying:
            sender, to, sent = flying.pop(0)
            if to in parts:
                flying += [(to, rank, answer) for rank, answer in parts[to].receive(sender, sent, now_s)]
        now_s += 0.1
    return {rank: it.decided for rank, it in parts.items()}


def test_the_boards_that_are_left_begin_with_the_newest_checkpoint_that_all_of_them_have():
    decided = played({0: part(0, epochs=[3, 4]), 2: part(2, epochs=[4, 5])})
    assert set(decided.values()) == {Generation(2, (0, 2), 4)}


def test_all_boards_go_on_where_only_a_trainer_died():
    assert set(played({rank: part(rank) for rank in range(3)}).values()) == {Generation(2, (0, 1, 2), 4)}


@pytest.mark.parametrize(("alone", "goes_on"), [(0, True), (1, False)])
def test_of_two_boards_the_one_with_the_lowest_rank_goes_on_alone(alone, goes_on):
    decided = played({alone: part(alone, now=Generation(1, (0, 1), 0))})
    assert (decided[alone] is not None) == goes_on


def test_with_a_witness_the_board_that_it_names_goes_on_alone():
    last = part(1, now=Generation(1, (0, 1), 0))
    last.tie = None
    assert played({1: last}) == {1: None}, "not before it was named"
    last.tie = 1
    assert played({1: last}) == {1: Generation(2, (1,), 4)}


def test_a_checkpoint_within_an_epoch_is_newer_than_that_of_the_epoch_before():
    parts = {0: part(0, epochs=[3, 4]), 2: part(2, epochs=[4, 5])}
    for it in parts.values():
        it._places.append(Place(4, 640))
    assert set(played(parts).values()) == {Generation(2, (0, 2), 4, images=640)}


def test_fewer_boards_than_wanted_do_not_go_on():
    assert played({0: part(0, min_workers=3), 1: part(1, min_workers=3)}) == {0: None, 1: None}


def test_without_a_common_checkpoint_training_begins_anew():
    assert played({0: part(0, epochs=[1]), 2: part(2, epochs=[])})[2] == Generation(2, (0, 2), 0)


def test_a_board_that_has_lost_its_checkpoints_does_not_cost_the_others_theirs():
    decided = played({0: part(0, epochs=[3, 4]), 1: part(1, epochs=[]), 2: part(2, epochs=[4, 5])})
    assert set(decided.values()) == {Generation(2, (0, 2), 4)}


def test_boards_that_ask_are_taken_in_without_a_vote():
    parts = {rank: part(rank, now=Generation(5, (0, 1), 3)) for rank in (0, 1)}
    for it in parts.values():
        it.newcomers = {2}
    assert set(played(parts).values()) == {Generation(6, (0, 1, 2), 4, (2,))}
    alone = part(1, now=Generation(5, (0, 1), 3))
    alone.newcomers = {2}
    assert played({1: alone}) == {1: None}, "half of the boards without the lowest rank is not a quorum"


def test_a_promise_is_kept_also_after_a_restart():
    kept = []
    board = part(1, keep=kept.append)
    ((_, promise),) = board.receive(2, message("prepare", [5, 2]), 0.0)
    assert (promise["kind"], promise["places"]) == ("promise", [(3, 0), (4, 0)])
    value = told(Generation(2, (0, 1), 4))
    for board_now in (board, part(1, kept=kept[-1])):
        ((_, refusal),) = board_now.receive(0, message("accept", [3, 0], value=value), 0.0)
        assert refusal["kind"] == "refuse" and tuple(refusal["promised"]) == (5, 2)


def test_what_was_accepted_is_told_to_later_proposers_also_after_a_restart():
    kept, value = [], told(Generation(2, (0, 1), 4))
    board = part(1, keep=kept.append)
    board.receive(0, message("accept", [1, 0], value=value), 0.0)
    ((_, promise),) = part(1, kept=kept[-1]).receive(2, message("prepare", [2, 2]), 0.0)
    assert promise["value"] == value and tuple(promise["at"]) == (1, 0)


def test_a_decision_is_learned_also_a_later_one():
    board = part(1)
    board.receive(0, decision(Generation(4, (0, 2), 9)), 0.0)
    assert board.decided == Generation(4, (0, 2), 9)


@pytest.mark.parametrize(
    "odd",
    [
        {},
        {"kind": "prepare"},
        {"kind": "decided", "value": {"number": 2, "members": [1, 0], "epoch": 0, "joined": [], "images": 0}},
        {"kind": "decided", "value": None},
        message("prepare", "ballot"),
        message("accept", [1, 0], value={"number": True, "members": [0], "epoch": 0, "joined": [], "images": 0}),
    ],
)
def test_what_is_no_message_changes_nothing(odd):
    board = part(1)
    assert board.receive(0, odd, 0.0) == [] and board.decided is None


def test_nothing_is_broken_in_random_schedules():
    assert simulated_boards.run(range(300)) > 300


@pytest.mark.thorough
def test_nothing_is_broken_in_10000_random_schedules():
    assert simulated_boards.run(range(10_000)) > 10_000


def _half(ranks, members, tie):
    return 2 * len(set(ranks) & set(members)) >= len(members)


def _one(ranks, members, tie):
    return bool(set(ranks) & set(members))


@pytest.mark.parametrize("quorum", [_half, _one])
def test_schedules_find_a_quorum_that_is_too_small(monkeypatch, quorum):
    monkeypatch.setattr(membership, "is_quorum", quorum)
    assert simulated_boards.finds(range(300))


def test_schedules_find_a_proposer_that_overlooks_what_was_accepted(monkeypatch):
    def overlooking(self):
        common = set.intersection(*(promise.places for promise in self._promises.values()))
        newest = max(common, default=START)
        return Generation(self.number, tuple(sorted(self._promises)), newest.epoch, images=newest.images)

    monkeypatch.setattr(Membership, "_chosen", overlooking)
    assert simulated_boards.finds(range(1000))


def test_schedules_find_a_checkpoint_that_not_all_boards_have(monkeypatch):
    chosen = Membership._chosen

    def own(self):
        value = chosen(self)
        newest = max(self._places, default=START)
        return value and Generation(value.number, value.members, newest.epoch, images=newest.images)

    monkeypatch.setattr(Membership, "_chosen", own)
    assert simulated_boards.finds(range(300))
