"""The other boards of a run that goes on without those that it loses. Standard library only.

Beside the heartbeats, boards exchange messages about the next generation (membership.py), in the same authenticated
datagrams. Only what the boards of this generation say stops a trainer.
"""

from __future__ import annotations

import json
import time
from typing import Dict, List, Optional, Set, Tuple

from trainer.contract import reading
from trainer.contract.causes import Cause
from trainer.contract.cluster import Cluster
from trainer.contract.generation import Generation
from trainer.supervise.membership import DECIDED, Message, decision
from trainer.supervise.peers import CHANGING, FAILED, INTERRUPTED, RUNNING, SUCCEEDED, Heard, Peers


class ElasticPeers(Peers):
    """The other boards, those of the current generation first."""

    def __init__(self, cluster: Cluster, names: List[str], key: bytes, silence_s: float) -> None:
        super().__init__(cluster, names, key, silence_s)
        self.rank, self.names = cluster.rank, names
        self.generation = Generation(1, tuple(range(cluster.workers)), 0)
        self.deciding = False  # whether the trainer is stopped, so that nothing more needs to stop it
        self.succeeded: Set[int] = set()
        self._inbox: List[Tuple[int, Message]] = []

    @property
    def others(self) -> Set[int]:
        """The other boards of this generation."""
        return set(self.generation.members) - {self.rank}

    def say(self, rank: int, message: Message) -> None:
        """Send a board a message about the next generation."""
        self._send(CHANGING, json.dumps(message, separators=(",", ":")), [rank])

    def taken(self) -> List[Tuple[int, Message]]:
        """The messages about the next generation since the last call, with their senders."""
        taken, self._inbox = self._inbox, []
        return taken

    def begin(self, generation: Generation) -> None:
        """A generation begins, whose boards have just been heard."""
        self.generation, self._generation = generation, generation.number
        self.deciding, self._inbox = False, []
        now = time.monotonic()
        self._heard_s = {rank: now for rank in self.others - self.succeeded}

    def _take(self, heard: Heard, now: float) -> Optional[Cause]:
        rank, name = heard.rank, self.names[heard.rank]
        if heard.state == SUCCEEDED:
            self.succeeded.add(rank)
        elif heard.state == CHANGING:
            return self._asked(rank, heard.cause, now)
        elif heard.state in (FAILED, INTERRUPTED) and rank not in self.generation.members:
            return None
        cause = super()._take(heard, now)
        if heard.state == RUNNING and heard.generation > self.generation.number and not self.deciding:
            return Cause("peer", f"stopped, because {name} is in generation {heard.generation} already")
        return cause

    def _asked(self, rank: int, text: str, now: float) -> Optional[Cause]:
        """Keep a message about the next generation; one about an earlier one is answered."""
        self._heard_s[rank] = now
        try:
            message: Message = reading.parse(text)
            number, kind = int(message["number"]), message["kind"]
        except (ValueError, TypeError, KeyError):
            return None
        if number <= self.generation.number:
            if kind != DECIDED:
                self.say(rank, decision(self.generation))
            return None
        self._inbox.append((rank, message))
        if self.deciding:
            return None
        return Cause("peer", f"stopped, because {self.names[rank]} asked for generation {number}")

    def _silent(self, now: float) -> Optional[Cause]:
        self._heard_s: Dict[int, float] = {rank: at for rank, at in self._heard_s.items() if rank in self.others}
        return super()._silent(now)
