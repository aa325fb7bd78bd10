"""Decides which boards make up the next generation of a run, so that it cannot split. Standard library only.

The boards of generation g decide generation g + 1 by single-decree Paxos (Lamport, "Paxos made simple", 2001), once for
each number. A board stops its trainer before it takes part. It promises, with the places of which it has a checkpoint;
the proposer then proposes the boards that promised, and the newest place that all of them have. If they have none in
common but a quorum has, it proposes that quorum. Boards outside that ask are proposed beside them, without a vote; one
of the others gives them the checkpoint.

A quorum is more than half of generation g, or exactly half with one board: its lowest rank or, by configuration, the
one that a witness names; it names one board for each number. Any two quorums of a generation have a board in common, so
that these hold whatever is lost, late, doubled or reordered, and whatever clocks do:

1. No number has two generations.
2. Never two generations at once: some board of g + 1 is of g, and has stopped training in it for good.
3. A generation begins with the newest checkpoint that all its boards have, except those that join.

What a board promised and accepted is kept on disk before it is said. Time only decides when something is tried again.
"""

from __future__ import annotations

import random
from typing import Any, Callable, Dict, List, NamedTuple, Optional, Sequence, Set, Tuple

from trainer.contract.checkpoints import START, Place, as_place
from trainer.contract.generation import Generation, as_generation

Message = Dict[str, Any]
Outgoing = List[Tuple[int, Message]]  # to which rank
_Ballot = Tuple[int, int]  # round, rank of the proposer

PREPARE, PROMISE, REFUSE, ACCEPT, ACCEPTED, DECIDED = "prepare", "promise", "refuse", "accept", "accepted", "decided"
JOIN = "join"  # a board outside asks to be taken in
GATHER_S = 2.0  # time for boards to stop their trainers, after a quorum has promised
_AGAIN_S = 0.5  # until a message without an answer is sent again
_TRY_S = 6.0  # until a ballot without a quorum is given up
_TURN_S = 0.7  # the boards propose in turn, so that they seldom compete
_NONE: _Ballot = (0, -1)


class _Promise(NamedTuple):
    """What a board promised a proposal with."""

    places: Set[Place]  # of which it has a checkpoint
    at: _Ballot  # of the latest proposal that it accepted
    value: Optional[Generation]  # of that one


class Membership:
    """One board's part in deciding the generation after `now`; the caller carries messages and time."""

    def __init__(
        self,
        rank: int,
        now: Generation,
        places: Sequence[Place],
        *,
        min_workers: int,
        chance: random.Random,
        keep: Callable[[Message], None],
        kept: Optional[Message] = None,
    ) -> None:
        """`places`: of which this board has a checkpoint; `keep` writes to disk what `kept` is after a restart."""
        self.decided: Optional[Generation] = None
        # which board decides between two halves: the lowest rank, or the one that the witness names, None until it has
        self.tie: Optional[int] = min(now.members)
        self.newcomers: Set[int] = set()  # boards that ask to be taken in; they do not vote
        self._rank, self._now, self._places, self._min_workers = rank, now, list(places), min_workers
        self._chance, self._keep = chance, keep
        self._promised: _Ballot = _NONE
        self._accepted: Tuple[_Ballot, Optional[Generation]] = (_NONE, None)
        if kept and kept["number"] == self.number:
            self._promised = _ballot(kept["promised"])
            self._accepted = _ballot(kept["at"]), kept["value"] and as_generation(kept["value"])
        self._round = self._promised[0]  # the highest seen
        self._ballot: Optional[_Ballot] = None  # of this board's proposal, if one is under way
        self._value: Optional[Generation] = None  # proposed
        self._promises: Dict[int, _Promise] = {}
        self._yes: Set[int] = set()  # who accepted
        self._due: Dict[str, Tuple[float, float]] = {}  # when what is next: since, until

    @property
    def number(self) -> int:
        """Of the generation that is decided."""
        return self._now.number + 1

    def answered(self) -> List[int]:
        """The boards that promised this one's proposal."""
        return sorted(self._promises)

    def tick(self, now_s: float) -> Outgoing:
        """What to send at this time, by any clock."""
        if self.decided is not None:
            return []
        if self._ballot is None:
            if "turn" not in self._due:
                self._set("turn", now_s, _TURN_S * self._now.members.index(self._rank))
            return self._propose(now_s) if self._is_due("turn", now_s) else []
        if self._is_due("try", now_s):
            self._give_up(now_s)
            return []
        if self._value is None and self._gathered(now_s):
            self._value = self._chosen()
            if self._value is not None:
                self._due.pop("again")
        if not self._is_due("again", now_s):
            return []
        self._set("again", now_s, _AGAIN_S)
        if self._value is None:
            return self._to(set(self._now.members) - set(self._promises), PREPARE, ballot=self._ballot)
        waited = set(self._now.members) - self._yes
        return self._to(waited, ACCEPT, ballot=self._ballot, value=told(self._value))

    def receive(self, sender: int, message: Message, now_s: float) -> Outgoing:
        """Take a message; what to answer. One about another number is ignored, as is what is no message."""
        try:
            if message["kind"] == DECIDED:
                value = as_generation(message["value"])
                if value.number >= self.number:  # later where this board missed some
                    self.decided = value
                return []
            return self._take(sender, message, now_s) if message["number"] == self.number else []
        except (KeyError, TypeError, ValueError, OverflowError):
            return []

    def _take(self, sender: int, message: Message, now_s: float) -> Outgoing:
        kind = message["kind"]
        if sender not in self._now.members:
            return []
        if self.decided is not None:
            return [(sender, decision(self.decided))]
        ballot = _ballot(message["ballot"])
        self._round = max(self._round, ballot[0])
        if kind in (PREPARE, ACCEPT):
            return self._vote(sender, kind, ballot, message, now_s)
        if ballot != self._ballot:
            return []  # the answer to an earlier proposal
        if kind == PROMISE:
            value = message["value"] and as_generation(message["value"])
            places = {as_place(place) for place in message["places"]}
            self._promises[sender] = _Promise(places, _ballot(message["at"]), value)
        elif kind == REFUSE:
            self._round = max(self._round, _ballot(message["promised"])[0])
            self._give_up(now_s)
        elif kind == ACCEPTED and self._value is not None:
            self._yes.add(sender)
            if is_quorum(self._yes, self._now.members, self.tie):
                self.decided = self._value
                everybody = {*self._now.members, *self.decided.members} - {self._rank}
                return [(rank, decision(self.decided)) for rank in sorted(everybody)]
        return []

    def _vote(self, sender: int, kind: str, ballot: _Ballot, message: Message, now_s: float) -> Outgoing:
        """Promise, or accept, unless a later proposal was promised."""
        if ballot < self._promised:
            return self._to({sender}, REFUSE, ballot=ballot, promised=self._promised)
        if sender != self._rank and ballot > self._promised:
            self._give_up(now_s)  # another board's turn
        value = as_generation(message["value"]) if kind == ACCEPT else None
        if value is not None and value.number != self.number:
            return []
        self._promised = ballot
        if value is not None:
            self._accepted = ballot, value
        at, accepted = self._accepted
        self._keep({"number": self.number, "promised": ballot, "at": at, "value": told(accepted) if accepted else None})
        if kind == ACCEPT:
            return self._to({sender}, ACCEPTED, ballot=ballot)
        value_told = told(accepted) if accepted else None
        return self._to({sender}, PROMISE, ballot=ballot, places=self._places, at=at, value=value_told)

    def _propose(self, now_s: float) -> Outgoing:
        self._round += 1
        self._ballot, self._value, self._promises, self._yes = (self._round, self._rank), None, {}, set()
        self._set("try", now_s, _TRY_S)
        self._set("gather", now_s, GATHER_S)
        self._set("again", now_s, _AGAIN_S)
        return self._to(set(self._now.members), PREPARE, ballot=self._ballot)

    def _gathered(self, now_s: float) -> bool:
        """Whether enough boards promised, and all others had the time to."""
        if not is_quorum(self._promises, self._now.members, self.tie):
            return False
        return len(self._promises) == len(self._now.members) or self._is_due("gather", now_s)

    def _chosen(self) -> Optional[Generation]:
        """What to propose: what may have been decided already, else those who promised; None if these are too few."""
        latest = max(self._promises.values(), key=lambda promise: promise.at)
        if latest.value is not None:
            return latest.value
        common = set.intersection(*(promise.places for promise in self._promises.values()))
        members, place = set(self._promises), max(common, default=START)
        if place == START:  # a board that has lost its checkpoints must not cost the others theirs
            members, place = self._with_a_checkpoint() or (members, place)
        joined = self.newcomers - set(self._promises)
        if len(members | joined) < self._min_workers:
            return None
        return Generation(
            self.number, tuple(sorted(members | joined)), place.epoch, tuple(sorted(joined)), place.images
        )

    def _with_a_checkpoint(self) -> Optional[Tuple[Set[int], Place]]:
        """A quorum of those who promised that has a checkpoint in common, and its place; the newest such."""
        places = {place for promise in self._promises.values() for place in promise.places}
        for place in sorted(places, reverse=True):
            having = {rank for rank, promise in self._promises.items() if place in promise.places}
            if is_quorum(having, self._now.members, self.tie) and len(having) >= self._min_workers:
                return having, place
        return None

    def _give_up(self, now_s: float) -> None:
        """Leave it to the others for a while; the lower the rank, the shorter."""
        self._ballot, self._value = None, None
        place = self._now.members.index(self._rank)
        self._set("turn", now_s, _TURN_S * (1 + place + self._chance.random()) + GATHER_S)

    def _to(self, ranks: Set[int], kind: str, **content: Any) -> Outgoing:
        return [(rank, {"kind": kind, "number": self.number, **content}) for rank in sorted(ranks)]

    def _set(self, what: str, now_s: float, seconds: float) -> None:
        self._due[what] = now_s, now_s + seconds

    def _is_due(self, what: str, now_s: float) -> bool:
        """Whether the time for it has come; also after a clock has jumped back."""
        since_s, until_s = self._due.get(what, (now_s, now_s))
        return now_s >= until_s or now_s < since_s


def is_quorum(ranks: Any, members: Sequence[int], tie: Optional[int]) -> bool:
    """Whether these boards of a generation decide the next: more than half, or half with the board `tie`."""
    count = len(set(ranks) & set(members))
    return 2 * count > len(members) or (2 * count == len(members) and tie in ranks)


def decision(generation: Generation) -> Message:
    """The message that a generation was decided."""
    return {"kind": DECIDED, "number": generation.number, "value": told(generation)}


def told(generation: Generation) -> Message:
    """A generation as in messages and on disk."""
    return {
        "number": generation.number,
        "members": list(generation.members),
        "epoch": generation.epoch,
        "joined": list(generation.joined),
        "images": generation.images,
    }


def _ballot(value: Any) -> _Ballot:
    number, rank = value
    return int(number), int(rank)
