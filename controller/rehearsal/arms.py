"""The progress of each arm of the rehearsal, read from the records of its run."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from analysis.runs.progress import ODD, Progress
from analysis.watch.tail import Tail
from controller.study import Slot
from trainer.contract.config import Config
from trainer.contract.events import End, Epoch, Start, Window
from trainer.contract.layout import BOARDS, EVENTS, MANIFEST, RUN, entries
from trainer.contract.reading import read
from trainer.contract.records import is_complete, parse_record

# by the study's names: what an arm is, and how long an epoch takes as a multiple of one board's, to estimate the time
# left until it is measured
ONE_BOARD, PAPERS, SHARED, FAST = "one_board", "keras", "shared", "fast"
WORDS = {
    ONE_BOARD: ("One board", 1.0),
    PAPERS: ("Two boards, as in the paper", 3.0),
    SHARED: ("Two boards, images shared out", 1.6),
    FAST: ("Two boards, the fast way", 0.55),
}
_BESIDE_S = 28.0  # seconds of a run beside its epochs: checks, TensorFlow's start, tracing, collecting
_COLLECTING_S = 5.0


@dataclass
class Arm:
    """A run of the study, before, while and after it is made."""

    slot: Slot
    title: str
    share: float  # expected time of an epoch, one board's = 1
    epochs: int
    run: Path | None = None
    began_s: float | None = None  # on the monotonic clock
    ended_s: float | None = None
    earlier: bool = False  # made by an earlier rehearsal, which was stopped
    made: list[Mapping[str, Any]] = field(default_factory=list)  # records of the epochs
    _start: Mapping[str, Any] | None = None
    _window: Mapping[str, Any] | None = None
    _over: bool = False
    _progress: Progress | None = None
    _tail: Tail | None = None

    @property
    def running(self) -> bool:
        return self.began_s is not None and self.ended_s is None

    @property
    def done(self) -> float:
        """Epochs, with the part of the one that is being made."""
        inside = 0.0
        if self._start and self._window and self._window["epoch"] > len(self.made):
            inside = (self._window["first_step"] + self._window["steps"]) / self._start["steps_per_epoch"]
        return min(len(self.made) + inside, float(self.epochs))

    @property
    def now(self) -> str:
        """What happens now, in words."""
        if self._over or len(self.made) >= self.epochs:
            return "collecting the records"
        if self._window is not None:
            return f"epoch {int(self.done) + 1}/{self.epochs}"
        if self._start is not None:
            return "tracing the first step"
        return "checking the boards" if self.run is None else "starting TensorFlow"

    def begin(self, run: Path) -> None:
        """Follow this run, a second try included."""
        self.run, self.made, self._start, self._window, self._over = run, [], None, None, False
        chief = read(run / RUN)["boards"][0]
        self._tail = Tail(run / BOARDS / chief / EVENTS)
        self._progress = Progress(self.epochs, self.slot.workers)

    def look(self) -> Iterator[Mapping[str, Any]]:
        """Read new records; yields those of epochs."""
        if self._tail is None:
            return
        for line in self._tail.lines()[0]:
            with suppress(*ODD):
                record = parse_record(line)
                if is_complete(record) and self._take(record):
                    yield record

    def _take(self, record: Mapping[str, Any]) -> bool:
        assert self._progress is not None
        self._progress.take(record)
        kind = record["event"]
        if kind == Start.KIND:
            self._start = record
        elif kind == Window.KIND:
            self._window = record
        elif kind == End.KIND:
            self._over = True
        elif kind == Epoch.KIND:
            self.made.append(record)
            return True
        return False

    def left_s(self, epoch_s: float, now_s: float) -> float:
        """Estimated seconds until this arm is done. `epoch_s`: of one board's epoch."""
        if self.ended_s is not None:
            return 0.0
        measured = self._progress.left_s() if self._progress else None
        if measured is not None:
            return measured + _COLLECTING_S
        spent_s = 0.0 if self.began_s is None else now_s - self.began_s
        return max(_COLLECTING_S, _BESIDE_S + self.epochs * self.share * epoch_s - spent_s)


class Runs:
    """Finds the run that is being made, among those of the study."""

    def __init__(self, folder: Path, arms: Sequence[Arm]) -> None:
        self._folder, self._arms = folder, arms
        self._known = set(entries(folder))

    def look(self) -> None:
        """Let an arm follow its run, if that has begun."""
        for folder in set(entries(self._folder)) - self._known:
            try:
                study = read(folder / RUN).get("study")
            except (OSError, ValueError):
                continue  # no run, or not yet one
            for arm in self._arms:
                if arm.slot.name == study:
                    self._known.add(folder)
                    arm.begin(folder)

    def not_collected(self) -> list[Path]:
        """The runs that have begun, and were not collected."""
        begun = [arm.run for arm in self._arms if arm.run is not None and not arm.earlier]
        return [run for run in begun if not (run / MANIFEST).exists()]


def arm_of(slot: Slot, config: Config) -> Arm:
    """The arm of a planned run."""
    title, share = WORDS.get(slot.arm, (f"{slot.arm}, {slot.workers} boards", 1.0))
    return Arm(slot, title, share, config.epochs)


def clock(seconds: float) -> str:
    """Such as 0:07 or 4:05."""
    whole = max(0, round(seconds))
    return f"{whole // 60}:{whole % 60:02d}"


def since(began_s: float | None, ended_s: float | None = None) -> float:
    """Seconds from a moment to another one, or to now."""
    if began_s is None:
        return 0.0
    return (time.monotonic() if ended_s is None else ended_s) - began_s
