"""Turns what parameter servers' tasks tell of a board into its records.

The chief's and the workers' operations append lines to a file on each board: a worker's step is a line of numbers, what
the chief tells is a JSON object. Standard library only.
"""

from __future__ import annotations

import dataclasses
import json
import math
import time
from pathlib import Path
from typing import Any, Dict, Optional

from trainer.contract.causes import Cause
from trainer.contract.cluster import Cluster
from trainer.contract.events import End, Epoch, Lost, Resume, Served, Start, Window
from trainer.contract.interface import Bytes, counters, interface_with
from trainer.contract.layout import EVENTS, RELAY, append_json
from trainer.contract.records import EventLog
from trainer.contract.run import Run


@dataclasses.dataclass
class _Sums:
    """What the steps since a moment add up to."""

    since_s: float
    bytes: Optional[Bytes]
    steps: int = 0
    images: int = 0
    compute_s: float = 0.0
    communication_s: float = 0.0
    staleness: float = 0.0


class Relay:
    """Writes a board's records; `poll` reads what was told since."""

    def __init__(self, folder: Path, run: Run, cluster: Cluster) -> None:
        self._run, self._cluster = run, cluster
        self._computes = cluster.rank < run.config.computing(cluster.workers)
        self._path = folder / RELAY
        self._path.write_bytes(b"")  # before the tasks start: what an earlier attempt left is not read
        self._read, self._rest = 0, b""
        self._interface = interface_with(cluster.own_ip)
        self._log = EventLog(folder / EVENTS)
        self._epoch, self._step_bytes, self._rate = 0, 0, math.nan
        self._loss, self._right = 0.0, 0.0  # sums over the epoch's images
        self._of_epoch = self._of_window = self._sums()
        self._made: Optional[Dict[str, Any]] = None  # the epoch's steps, once all workers have made theirs
        self.started = self.ended = False
        self.cause: Optional[Cause] = None  # why this board's part has failed

    def poll(self) -> None:
        """Take the lines that were told since the last call."""
        with self._path.open("rb") as file:
            file.seek(self._read)
            told = file.read()
        self._read += len(told)
        *lines, self._rest = (self._rest + told).split(b"\n")
        for line in lines:
            if line.startswith(b"{"):
                self._take(json.loads(line.decode()))
            elif line.strip():
                self._step(*[float(word) for word in line.split()])

    def progress(self) -> None:
        """Show the supervisor that this board does what is left for it to do."""
        self._log.progress()

    def lose(self, cause: str) -> None:
        """Record that this board's worker ended, and the others go on."""
        self._log.write(Lost(epoch=max(1, self._epoch), cause=cause))

    def close(self) -> None:
        self._log.close()

    def _take(self, told: Dict[str, Any]) -> None:
        """What the chief told."""
        event = told.pop("event")
        if event == Start.KIND:
            self._begin_run(**told)
        elif event == "begin":
            self._epoch, self._loss, self._right = told["epoch"], 0.0, 0.0
            self._of_epoch, self._of_window = self._sums(), self._sums()
        elif event == "trained":
            self._end_steps()
        elif event == Epoch.KIND:
            self._end_epoch(**told)
        elif event == End.KIND:
            self._log.write(End(**told))
            self.ended = True
        elif event == "failed":  # a task of this board
            self.cause = self.cause or Cause(told["kind"], told["sentence"])

    def _begin_run(self, resumed: Optional[int], step_bytes: int, **told: Any) -> None:
        """The chief is ready for the first step; `step_bytes`: what a step of a worker reads and then updates."""
        self._step_bytes = step_bytes
        told.update(board=self._run.boards[self._cluster.rank], rank=self._cluster.rank, interface=self._interface)
        if not self._computes:
            told.update(steps_per_epoch=0, board_batch=0)
        if resumed is None:
            self._log.write(Start(**told))
        else:
            self._log.write(Resume(epoch=resumed, startup_s=told["startup_s"]))
        self.started = True
        self._log.progress()

    def _step(
        self, begun: float, pulled: float, computed: float, pushed: float, loss: float, right: float, images: float,
        staleness: float, rate: float,
    ) -> None:  # fmt: skip
        """This board's worker made a step: moments in seconds, sums over its images, updates by others meanwhile."""
        self._loss, self._right, self._rate = self._loss + loss, self._right + right, rate
        for sums in (self._of_epoch, self._of_window):
            sums.steps += 1
            sums.images += int(images)
            sums.compute_s += computed - pulled
            sums.communication_s += pulled - begun + pushed - computed
            sums.staleness += staleness
        self._log.progress()
        if self._of_window.steps == self._run.config.window_steps:
            self._end_window()

    def _end_window(self) -> None:
        window = self._of_window
        fields = self._measured(window)
        self._log.write(
            Window(
                epoch=self._epoch,
                first_step=self._of_epoch.steps - window.steps,
                elapsed_s=fields.pop("seconds"),
                loss=self._loss / self._of_epoch.images,
                accuracy=self._right / self._of_epoch.images,
                learning_rate=self._rate,
                compute_s=window.compute_s if self._run.config.sync.step_times else None,
                overlapped_s=None,
                **fields,
            )
        )
        self._of_window = self._sums()
        if not math.isfinite(self._loss):
            where = f"epoch {self._epoch}, step {self._of_epoch.steps}"
            self.cause = Cause("nan", f"the loss is {self._loss} in {where} of this board's worker")

    def _end_steps(self) -> None:
        """All workers have made their steps of the epoch."""
        if self._of_window.steps:
            self._end_window()
        self._made = self._measured(self._of_epoch)

    def _end_epoch(self, **told: Any) -> None:
        """Validation has ended; `told` has its results and the epoch's, of all workers together."""
        assert self._made is not None
        train_s = self._made.pop("seconds")
        if self._computes:
            epoch_s = time.monotonic() - self._of_epoch.since_s
            self._log.write(Epoch(train_s=train_s, epoch_s=epoch_s, **self._made, **told))
        else:
            sent, received = self._made["sent_bytes"], self._made["received_bytes"]
            self._log.write(Served(epoch=self._epoch, seconds=train_s, sent_bytes=sent, received_bytes=received))

    def _measured(self, sums: _Sums) -> Dict[str, Any]:
        """The fields that windows and epochs share, from the moment of these sums until now."""
        now = self._sums()
        seconds, timed = now.since_s - sums.since_s, self._run.config.sync.step_times
        known = now.bytes is not None and sums.bytes is not None
        return {
            "seconds": seconds,
            "steps": sums.steps,
            "images": sums.images,
            "communication_s": sums.communication_s if timed else None,
            "waiting_s": seconds - sums.compute_s - sums.communication_s if timed else None,
            "sent_bytes": now.bytes.sent - sums.bytes.sent if known else None,  # type: ignore[union-attr]
            "received_bytes": now.bytes.received - sums.bytes.received if known else None,  # type: ignore[union-attr]
            "payload_bytes": self._step_bytes * sums.steps,
            "staleness": sums.staleness / sums.steps if sums.steps else None,
        }

    def _sums(self) -> _Sums:
        return _Sums(time.monotonic(), counters(self._interface))


def tell_failure(folder: Path, cause: Cause) -> None:
    """Tell the board's relay why a task of this board ends."""
    append_json(folder / RELAY, {"event": "failed", **dataclasses.asdict(cause)})
