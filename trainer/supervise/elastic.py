"""Has the boards that are left go on after one was lost, in a new generation. Standard library only.

A board whose own trainer died takes part as well: its supervisor lives, and starts another one. It leaves only with a
fault that stays (`_UNFIT`), or if its trainer fails twice without a checkpoint in between. A board that the others went
on without asks to be taken in, and is at their next checkpoint.
"""

from __future__ import annotations

import contextlib
import random
import sys
import time
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, Callable, Dict, List, Optional, Union

from trainer.contract import causes, checkpoints, reading
from trainer.contract.causes import Cause
from trainer.contract.checkpoints import START, Place
from trainer.contract.events import NewGeneration, Window
from trainer.contract.generation import Generation, as_generation, load_generation, write_generation
from trainer.contract.layout import CHECKPOINTS, EVENTS, GRANT, MEMBERSHIP, PROGRESS, RESULT, RUN, write_json
from trainer.contract.records import EventLog, counted, read_records
from trainer.supervise import transfer, witness
from trainer.supervise.elastic_peers import ElasticPeers
from trainer.supervise.membership import DECIDED, JOIN, Membership, Message, Outgoing, decision, is_quorum
from trainer.supervise.peers import Peers

# these would happen again, or end all boards at once
_UNFIT = ("disk_full", "data", "port_taken", "nan", "not_learning", "timeout", "interrupted")
_FRUITLESS = 4  # generations in a row that begin with the same checkpoint
_POLL_S = 0.05
_SAY_S = 10.0  # until a board that waits for others says so
_ASK_S = 1.0  # between two times that a board asks to be taken in
_SHARE_S = 20.0  # for the transfer of a checkpoint


Witness = Union[witness.Controller, witness.Host]


def elastic_of(
    folder: Path, peers: Optional[Peers], alone_s: float, beat: Callable[[float, Optional[int]], None], host: str
) -> Optional[Elastic]:
    """What takes the board to the next generation when one is lost; None where the run then ends.

    `beat`: see witness.Controller; `host`: address and port of the witness that is a host, where there is one.
    """
    if not isinstance(peers, ElasticPeers):
        return None
    config = reading.read(folder / RUN)["config"]
    between: Optional[Witness] = None
    if config["tie_break"] == "controller":
        between = witness.Controller(peers.rank, beat, folder / GRANT)
    elif config["tie_break"] == "witness":
        between = witness.Host(peers.rank, host, peers.key)
    return Elastic(folder, peers, config["min_workers"], alone_s, between)


class Elastic:
    """Takes a board from one generation to the next."""

    def __init__(
        self,
        folder: Path,
        peers: ElasticPeers,
        min_workers: int,
        alone_s: float,
        between: Optional[Witness],
    ) -> None:
        """`alone_s`: seconds that a board waits for enough others; `between`: the witness, if there is one."""
        self._witness = between
        self._folder, self._peers, self._min_workers, self._alone_s = folder, peers, min_workers, alone_s
        self._failed_at: Optional[Place] = None  # of the newest checkpoint when the own trainer failed last
        self._begun: List[Place] = []  # that the latest generations began with
        self._kept: Optional[Message] = None
        with contextlib.suppress(OSError, ValueError):  # of a supervisor before this one
            self._kept = reading.read(folder / MEMBERSHIP)

    def go_on(self, cause: Cause) -> Optional[Cause]:
        """Decide the next generation, after the trainer ended by `cause`; the cause to end with if there is none.

        The trainer has to be dead: the checkpoints must not change any more.
        """
        own = causes.weight(cause.kind) == 0
        places = checkpoints.whole(self._folder / CHECKPOINTS)
        if cause.kind in _UNFIT or (own and self._failed_at == max(places, default=START)):
            return cause
        if own:
            self._failed_at = max(places, default=START)
        self._peers.deciding = True
        try:
            decided = self._decided(places, cause)
            if isinstance(decided, Cause):
                return cause if own else decided
            self._begun = [*self._begun, decided.place][-_FRUITLESS:]
            if len(self._begun) == _FRUITLESS and len(set(self._begun)) == 1:
                return cause
            try:
                self._share(decided)
            except OSError as error:  # the board that was to give it is lost, too
                self._peers.begin(decided)
                missed = f"the checkpoint of {decided.place} could not be fetched: {error}"
                return self.go_on(Cause("peer", missed))
            self._begin(decided, cause)
        except OSError as error:
            return causes.of_exception(error)
        return None

    def come_back(self, cause: Cause) -> Optional[Cause]:
        """As `go_on`, for a supervisor that begins after one that died: with what that one promised."""
        self._peers.begin(load_generation(self._folder, self._peers.cluster.workers))
        return self.go_on(cause)

    def _decided(self, places: List[Place], cause: Cause) -> Union[Generation, Cause]:
        """The next generation, or the cause to end if this board is not in it or there is none."""
        peers, now = self._peers, self._peers.generation
        part = Membership(
            peers.rank,
            now,
            places,
            min_workers=self._min_workers,
            chance=random.Random(),
            keep=self._keep,
            kept=self._kept,
        )
        began_s, said = time.monotonic(), False
        while part.decided is None:
            told = peers.exchange()
            if told and told.kind == "interrupted":
                return told
            now_s = time.monotonic()
            part.newcomers = peers.newcomers()
            if self._witness:
                half = 2 * len(part.answered()) == len(now.members)
                part.tie = self._witness.named(part.number, half, now_s)
            for sender, message in peers.taken():
                self._send(part, part.receive(sender, message, now_s))
            self._send(part, part.tick(now_s))
            if peers.others and peers.others <= peers.succeeded:
                return cause  # nobody is left to go on with, and nothing to do
            possible = set(now.members) - peers.left - peers.succeeded
            tie = peers.rank if self._witness else part.tie
            if not is_quorum(possible, now.members, tie) or now_s - began_s > self._alone_s:
                waited = f"waited {now_s - began_s:.0f} s for {self._wanted(part)}; before, {cause.sentence}"
                return Cause("alone", waited)
            if not said and now_s - began_s > _SAY_S:
                said = True
                print(f"supervisor: waiting for {self._wanted(part)}", file=sys.stderr, flush=True)
            time.sleep(_POLL_S)
        for rank in peers.others:  # those that have not heard it ask again, and are answered then
            peers.say(rank, decision(part.decided))
        return part.decided if peers.rank in part.decided.members else self._taken_in(part.decided, cause)

    def _taken_in(self, latest: Generation, cause: Cause) -> Union[Generation, Cause]:
        """Ask the boards that went on until a later generation has this one too; the cause to end if none does."""
        peers, asked_s = self._peers, 0.0
        print(f"supervisor: {self._names(latest)} went on; asking to be taken in", file=sys.stderr, flush=True)
        peers.begin(latest)
        peers.deciding = True
        while True:
            told = peers.exchange()
            if told and told.kind == "interrupted":
                return told
            for _, message in peers.taken():
                with contextlib.suppress(KeyError, TypeError, ValueError):
                    value = as_generation(message["value"]) if message["kind"] == DECIDED else latest
                    if value.number > latest.number:
                        latest = value
                        if peers.rank in latest.members:
                            return latest
                        peers.begin(latest)
                        peers.deciding = True
            now_s = time.monotonic()
            if peers.others <= peers.succeeded or now_s - peers.heard_s > self._alone_s:
                return Cause(
                    "outside",
                    f"{self._names(latest)} went on without this board, as generation {latest.number}; "
                    f"before, {cause.sentence}",
                )
            if now_s - asked_s > _ASK_S:
                asked_s = now_s
                for rank in latest.members:
                    peers.say(rank, {"kind": JOIN, "number": latest.number + 1})
            time.sleep(_POLL_S)

    def _share(self, generation: Generation) -> None:
        """Give the checkpoint to the boards that joined, or fetch it. Raises OSError where it cannot be fetched."""
        peers, joined = self._peers, set(generation.joined)
        place = generation.place
        path = checkpoints.path_of(self._folder / CHECKPOINTS, place)
        address = peers.cluster.addresses[generation.donor]
        if not joined or place == START or peers.rank not in joined | {generation.donor}:
            return
        with ThreadPoolExecutor(max_workers=1) as pool:
            work: Future[Any]
            if peers.rank == generation.donor:
                work = pool.submit(transfer.serve, address, path, place, peers.key, joined, _SHARE_S)
            else:
                work = pool.submit(transfer.fetch, address, path, peers.rank, place, peers.key, _SHARE_S)
            while not work.done():
                peers.exchange()  # the others must not take this board for lost
                time.sleep(_POLL_S)
        if peers.rank in joined:
            work.result()

    def _wanted(self, part: Membership) -> str:
        """Which boards this one waits for."""
        now, heard = self._peers.generation, [self._peers.names[rank] for rank in part.answered()]
        tie = f"and {self._witness.name}" if self._witness else f"with {self._peers.names[min(now.members)]}"
        enough = f"more than half of {self._names(now)}, or half {tie}"
        least = f", and at least {self._min_workers}" if self._min_workers > 1 else ""
        return f"{enough}{least} (so far only {', '.join(heard) or 'none'})"

    def _names(self, generation: Generation) -> str:
        return ", ".join(self._peers.names[rank] for rank in generation.members)

    def _send(self, part: Membership, messages: Outgoing) -> None:
        for rank, message in messages:
            if rank == self._peers.rank:
                self._send(part, part.receive(rank, message, time.monotonic()))
            else:
                self._peers.say(rank, message)

    def _keep(self, state: Message) -> None:
        self._kept = state
        write_json(self._folder / MEMBERSHIP, state)

    def _begin(self, generation: Generation, cause: Cause) -> None:
        """Leave this board's folder as the next trainer is to find it. Raises OSError."""
        folder = self._folder / CHECKPOINTS
        for place in checkpoints.named(folder):
            if place > generation.place:  # of steps that other boards have not made
                checkpoints.path_of(folder, place).unlink()
        self._record(generation, cause)
        write_generation(self._folder, generation)
        for name in (RESULT, PROGRESS):
            with contextlib.suppress(FileNotFoundError):
                (self._folder / name).unlink()
        self._peers.begin(generation)

    def _record(self, generation: Generation, cause: Cause) -> None:
        path = self._folder / EVENTS
        records: List[Dict[str, Any]] = read_records(path)[0] if path.exists() else []
        kept = {id(it) for it in counted(records, generation.place)}
        again = [it for it in records if it["event"] == Window.KIND and id(it) not in kept]
        moved_s = [place.stat().st_mtime for place in (path, self._folder / PROGRESS) if place.exists()]
        lost = set(self._peers.generation.members) - set(generation.members)
        if path.exists() and not path.read_bytes().endswith(b"\n"):
            with path.open("ab") as file:  # the trainer died within a line
                file.write(b"\n")
        log = EventLog(path)
        log.write(
            NewGeneration(
                number=generation.number,
                boards=[self._peers.names[rank] for rank in generation.members],
                epoch=generation.epoch,
                lost=[self._peers.names[rank] for rank in sorted(lost)],
                cause_kind=cause.kind,
                cause=cause.sentence,
                stopped_s=max(0.0, time.time() - max(moved_s, default=time.time())),
                discarded_s=sum(it["elapsed_s"] or 0.0 for it in again),
                images=generation.images,
            )
        )
        log.close()
