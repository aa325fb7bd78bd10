"""The other boards of a run that goes on without those that it loses. Standard library only.

Beside the heartbeats, boards exchange messages about the next generation (membership.py), in the same authenticated
datagrams. Only what the boards of this generation say stops a trainer.
"""

from __future__ import annotations

import contextlib
import json
import time
from pathlib import Path
from typing import Dict, List, Optional, Set, Tuple

from trainer.contract import reading
from trainer.contract.causes import Cause
from trainer.contract.cluster import Cluster
from trainer.contract.generation import Generation, as_generation
from trainer.contract.layout import CHECKPOINTS
from trainer.supervise import membership
from trainer.supervise.membership import DECIDED, JOIN, decision
from trainer.supervise.peers import CHANGING, FAILED, INTERRUPTED, RUNNING, SUCCEEDED, Message, Peers

_FRESH_S = 3.0  # since a board asked to be taken in


class ElasticPeers(Peers):
    """The other boards, those of the current generation first."""

    def __init__(self, cluster: Cluster, names: List[str], key: bytes, silence_s: float, folder: Path) -> None:
        """`folder`: of the run on this board. See `Peers`."""
        super().__init__(cluster, names, key, silence_s)
        self.cluster, self.rank, self.names = cluster, cluster.rank, names
        self.generation = Generation(1, tuple(range(cluster.workers)), 0)
        self.deciding = False  # whether the trainer is stopped, so that nothing more needs to stop it
        self.succeeded: Set[int] = set()
        self.left: Set[int] = set()  # boards that said that they failed, and do not come back
        self._inbox: List[Tuple[int, membership.Message]] = []
        self._asked_s: Dict[int, Tuple[float, float]] = {}  # boards that ask to be taken in: since when, and latest
        self.checkpoints = folder / CHECKPOINTS
        self._looked_s = 0.0

    @property
    def key(self) -> bytes:
        """The key of the heartbeats."""
        return self._key

    @property
    def heard_s(self) -> float:
        """When a board of this generation was last heard, by the monotonic clock."""
        return max((at for rank, at in self._heard_s.items() if rank in self.others), default=0.0)

    def newcomers(self) -> Set[int]:
        """The boards that ask to be taken in."""
        now = time.monotonic()
        return {rank for rank, (_, latest) in self._asked_s.items() if now - latest < _FRESH_S}

    @property
    def others(self) -> Set[int]:
        """The other boards of this generation."""
        return set(self.generation.members) - {self.rank}

    def say(self, rank: int, message: membership.Message) -> None:
        """Send a board a message about the next generation."""
        self._send(CHANGING, json.dumps(message, separators=(",", ":")), [rank])

    def taken(self) -> List[Tuple[int, membership.Message]]:
        """The messages about the next generation since the last call, with their senders."""
        taken, self._inbox = self._inbox, []
        return taken

    def begin(self, generation: Generation) -> None:
        """A generation begins, whose boards have just been heard."""
        self.generation, self._generation = generation, generation.number
        self.deciding, self._inbox, self._asked_s = False, [], {}
        now = time.monotonic()
        self._heard_s = {rank: now for rank in self.others - self.succeeded}

    def _take(self, heard: Message, now: float) -> Optional[Cause]:
        rank, name = heard.rank, self.names[heard.rank]
        self.left.discard(rank)
        if heard.state == CHANGING:
            return self._asked(rank, heard.cause, now)
        if heard.state in (SUCCEEDED, FAILED):
            (self.succeeded if heard.state == SUCCEEDED else self.left).add(rank)
        if heard.state in (FAILED, INTERRUPTED) and rank not in self.generation.members:
            return None
        cause = super()._take(heard, now)
        if heard.state == RUNNING and heard.generation > self.generation.number and not self.deciding:
            return Cause("peer", f"stopped, because {name} is in generation {heard.generation} already")
        return cause

    def _asked(self, rank: int, text: str, now: float) -> Optional[Cause]:
        """Keep a message about the next generation; one about an earlier one is answered."""
        try:
            message: membership.Message = reading.parse(text)
            number, kind, value = int(message["number"]), message["kind"], message.get("value")
            if value and as_generation(value).members[-1] >= self.cluster.workers:
                return None
        except (ValueError, TypeError, KeyError, AttributeError, OverflowError):
            return None
        if kind == JOIN:
            return self._asked_in(rank, number, now)
        self._heard_s[rank] = now
        if number <= self.generation.number:
            if kind != DECIDED:
                self.say(rank, decision(self.generation))
            return None
        self._inbox.append((rank, message))
        if self.deciding:
            return None
        return Cause("peer", f"stopped, because {self.names[rank]} asked for generation {number}")

    def _asked_in(self, rank: int, number: int, now: float) -> Optional[Cause]:
        """Note that a board asks to be taken in; one that is still a member has lost its trainer."""
        if number <= self.generation.number:  # it has not heard of this generation yet
            self.say(rank, decision(self.generation))
            return None
        since_s, _ = self._asked_s.get(rank, (now, now))
        self._asked_s[rank] = since_s, now
        if rank in self.generation.members and not self.deciding:
            return Cause("peer", f"stopped, because {self.names[rank]} begins anew")
        return None

    def exchange(self) -> Optional[Cause]:
        """See `Peers.exchange`; boards that ask are taken in at the next checkpoint, at the chief's word."""
        cause = super().exchange()
        now = time.monotonic()
        if cause or self.deciding or self.rank != min(self.generation.members) or now - self._looked_s < 1.0:
            return cause
        self._looked_s = now
        newcomers = self.newcomers()
        if not newcomers:
            return None
        since = time.time() - now + min(self._asked_s[rank][0] for rank in newcomers)
        if self._newest() < since:
            return None
        names = ", ".join(self.names[rank] for rank in sorted(newcomers))
        return Cause("joining", f"stopped, to take in {names}")

    def _newest(self) -> float:
        """When the newest checkpoint was written, as Unix time."""
        latest = 0.0
        for path in self.checkpoints.glob("epoch-*.npz"):
            with contextlib.suppress(FileNotFoundError):  # the trainer has just deleted an old one
                latest = max(latest, path.stat().st_mtime)
        return latest

    def _silent(self, now: float) -> Optional[Cause]:
        self._heard_s: Dict[int, float] = {rank: at for rank, at in self._heard_s.items() if rank in self.others}
        return super()._silent(now)
