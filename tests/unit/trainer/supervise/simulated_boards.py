"""Boards that decide generations with the shipped module, in a world that loses, delays, doubles and reorders messages,
crashes boards, and lets clocks jump. Each step checks what must always hold."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence

from trainer.contract.checkpoints import START, Place
from trainer.contract.generation import Generation, as_generation
from trainer.supervise import membership
from trainer.supervise.membership import Membership, decision


class Broken(AssertionError):
    """Something that must always hold did not."""


class Board:
    """What outlives a crash is the generation, the checkpoints, and what was kept; the rest is memory."""

    def __init__(self, world: World, rank: int) -> None:
        self.world, self.rank = world, rank
        self.generation = world.first
        self.places: list[Place] = []
        self.disk: str | None = None
        self.part: Membership | None = None  # None: the trainer runs
        self.up, self.outside = True, False
        self.newcomers: set[int] = set()
        self.clock_s = world.chance.uniform(0, 100)

    @property
    def trains(self) -> bool:
        return self.up and not self.outside and self.part is None

    def stop_training(self) -> None:
        if self.trains:
            self.part = self._new_part()

    def _new_part(self) -> Membership:
        return Membership(
            self.rank,
            self.generation,
            self.places,
            min_workers=self.world.min_workers,
            chance=self.world.chance,
            keep=self._keep,
            kept=json.loads(self.disk) if self.disk else None,
        )

    def _keep(self, state: dict) -> None:
        self.disk = json.dumps(state)

    def crash(self) -> None:
        self.up, self.part = False, None

    def restart(self) -> None:
        self.up = True
        if not self.outside:
            self.part = self._new_part()

    def receive(self, sender: int, message: dict) -> None:
        if not self.up:
            return
        if message["number"] <= self.generation.number:
            if message["kind"] != membership.DECIDED:
                self.world.send(self.rank, [(sender, decision(self.generation))])
            return
        if message["kind"] == membership.JOIN:
            self.newcomers.add(sender)
            return
        if self.outside:
            if message["kind"] == membership.DECIDED:
                self._begin(as_generation(message["value"]))
            return
        self.stop_training()
        assert self.part
        self.world.send(self.rank, self.part.receive(sender, message, self.clock_s))
        self._learn()

    def tick(self) -> None:
        if self.up and self.outside:
            number = self.generation.number + 1
            self.world.send(self.rank, [(to, {"kind": "join", "number": number}) for to in self.generation.members])
        if self.up and self.part:
            self.part.tie = self.world.tie(self.part.number, self.rank)
            self.part.newcomers = self.newcomers
            self.world.send(self.rank, self.part.tick(self.clock_s))
            self._learn()

    def _learn(self) -> None:
        decided = self.part.decided if self.part else None
        if decided is not None:
            self._begin(decided)

    def _begin(self, decided: Generation) -> None:
        self.world.check(decided)
        self.part, self.newcomers = None, set()
        self.generation = decided
        self.outside = self.rank not in decided.members
        if self.rank in decided.joined and decided.place != START:
            self.places = sorted({*self.places, decided.place})  # from another board
        if not self.outside:
            if decided.place != START and decided.place not in self.places:
                raise Broken(f"board {self.rank} lacks the checkpoint of {decided}")
            self.places = [place for place in self.places if place <= decided.place]


class World:
    def __init__(self, seed: int) -> None:
        self.chance = random.Random(seed)
        count = self.chance.randint(2, 5)
        self.first = Generation(1, tuple(range(count)), 0)
        self.min_workers = self.chance.randint(1, 2)
        self.witness, self.named = self.chance.random() < 0.3, {}
        self.flying: list[tuple[int, int, str]] = []
        self.decided: dict[int, Generation] = {1: self.first}
        self.loss, self.doubling = self.chance.choice([0, 0.1, 0.4]), self.chance.choice([0, 0.2])
        self.pause_s = self.chance.choice([2, 4, 8])
        self.weights = {
            "deliver": self.chance.choice([15, 40, 90]),
            "tick": 30,
            "jump": self.chance.choice([0, 2]),
            "train": 4,
            "fail": 3,
            "crash": self.chance.choice([0, 1, 6]),
            "restart": self.chance.choice([2, 12]),
            "reboot": self.chance.choice([0, 8]),
        }
        self.boards = [Board(self, rank) for rank in range(count)]

    def send(self, sender: int, messages: list[tuple[int, dict]]) -> None:
        for to, message in messages:
            if to == sender:
                self.boards[sender].receive(sender, json.loads(json.dumps(message)))
            elif self.chance.random() >= self.loss:
                copies = 2 if self.chance.random() < self.doubling else 1
                self.flying += [(sender, to, json.dumps(message))] * copies
        del self.flying[:-200]

    def tie(self, number: int, rank: int) -> int | None:
        """The tie-break of a generation, as this board knows it."""
        if not self.witness:
            return min(self.decided[number - 1].members)
        if self.chance.random() < 0.3:
            self.named.setdefault(number, rank)  # it has asked
        return rank if self.named.get(number) == rank else None

    def check(self, decided: Generation) -> None:
        """Of what a board takes for decided."""
        known = self.decided.setdefault(decided.number, decided)
        if known != decided:
            raise Broken(f"two generations of one number: {known} and {decided}")
        before = self.decided.get(decided.number - 1)
        tie = self.named.get(decided.number) if self.witness else before and min(before.members)
        if before is None or not is_quorum_by_definition(decided.members, before.members, tie):
            raise Broken(f"{decided} has no quorum of {before}")

    def check_at_once(self) -> None:
        running = {
            board.generation
            for board in self.boards
            if board.trains
            and all(
                self.boards[rank].trains and self.boards[rank].generation == board.generation
                for rank in board.generation.members
            )
        }
        if len(running) > 1:
            raise Broken(f"two generations at once: {running}")

    def step(self) -> None:
        chance = self.chance
        board = chance.choice(self.boards)
        what = chance.choices(list(self.weights), list(self.weights.values()))[0]
        if what == "deliver" and self.flying:
            sender, to, message = self.flying.pop(chance.randrange(len(self.flying)))  # in any order
            self.boards[to].receive(sender, json.loads(message))
        elif what == "tick":
            board.clock_s += chance.uniform(0, self.pause_s)
            board.tick()
        elif what == "jump":
            board.clock_s += chance.uniform(-1000, 1000)
        elif what == "train":
            self._train(board)
        elif what == "fail":
            board.stop_training()  # its own trainer failed, or a peer fell silent
        elif what == "crash" and board.up:
            board.crash()
        elif what == "restart" and not board.up:
            board.restart()
        elif what == "reboot":
            board.crash()
            board.restart()
        self.check_at_once()

    def _train(self, board: Board) -> None:
        """Write a checkpoint, if all boards of the generation train; each may be stopped before it has written it."""
        members = [self.boards[rank] for rank in board.generation.members]
        if all(it.trains and it.generation == board.generation for it in members):
            latest = [max(it.places, default=START) for it in members]
            behind = [it for it, place in zip(members, latest, strict=True) if place < max(latest)]
            for it in behind or members:
                if self.chance.random() < 0.8:
                    it.places = [*it.places, _next(max(it.places, default=START))][-2:]

    def settle(self) -> None:
        """Whatever happened: once messages arrive and a quorum is up, one of which knows the latest, it decides."""
        self.loss = self.doubling = 0
        latest = self.decided[max(self.decided)]
        alive = [rank for rank in latest.members if self.boards[rank].up]
        tie = self.named.get(latest.number + 1, alive[0] if alive else None) if self.witness else min(latest.members)
        if not is_quorum_by_definition(alive, latest.members, tie) or len(alive) < self.min_workers:
            return
        if not any(self.boards[rank].generation == latest for rank in alive):
            return
        for rank in alive:
            self.boards[rank].stop_training()
        for _ in range(4000):
            # a board that learned the latest one begins to train, and is asked for another one
            if all(self.boards[rank].generation.number >= latest.number for rank in alive) and all(
                self.boards[rank].part is None for rank in alive
            ):
                return
            while self.flying:
                sender, to, message = self.flying.pop(0)
                self.boards[to].receive(sender, json.loads(message))
            for board in self.boards:
                board.clock_s += 0.2
                board.tick()
        raise Broken(f"no generation after {latest}, whose ranks {alive} are up")


def _next(place: Place) -> Place:
    """The place of the checkpoint after this one; there are three in an epoch."""
    return Place(place.epoch, place.images + 64) if place.images < 128 else Place(place.epoch + 1)


def is_quorum_by_definition(ranks: Sequence[int], members: Sequence[int], tie: int | None) -> bool:
    """Apart from the module's own, which the tests break."""
    count = len(set(ranks) & set(members))
    return count > len(members) / 2 or (count == len(members) / 2 and tie in ranks)


def run(seeds: range, steps: int = 150) -> int:
    """Play a schedule for each seed; how many generations were decided. Raises Broken."""
    generations = 0
    for seed in seeds:
        world = World(seed)
        for _ in range(steps):
            world.step()
        world.settle()
        generations += max(world.decided) - 1
    return generations


def finds(seeds: range, steps: int = 150) -> bool:
    """Whether a schedule of these breaks what must hold."""
    try:
        run(seeds, steps)
    except Broken:
        return True
    return False
