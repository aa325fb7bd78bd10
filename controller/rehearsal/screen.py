"""What the rehearsal shows: a list that changes in place, or plain lines where there is no terminal."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Protocol

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from controller.rehearsal.arms import Arm, clock, since

_BAR, _TITLE, _TIME = 15, 29, 5  # characters
_EPOCH_S = 6.0  # of one board on one core of an ordinary machine, until it is measured
_NARROW = 72  # columns, below which there is no room for bars
_STOPPING = "Stopping"


@dataclass
class Step:
    """What is done before and after the runs."""

    title: str
    expected_s: float
    note: str = ""  # shown while it runs
    began_s: float | None = None
    ended_s: float | None = None

    @property
    def running(self) -> bool:
        return self.began_s is not None and self.ended_s is None

    def left_s(self, now_s: float) -> float:
        if self.ended_s is not None:
            return 0.0
        return max(1.0, self.expected_s - (0.0 if self.began_s is None else now_s - self.began_s))


@dataclass
class Plan:
    """Everything that the rehearsal does, in order."""

    before: Step
    arms: Sequence[Arm]
    report: Step
    after: Step
    began_s: float = field(default_factory=time.monotonic)
    stopping: bool = False

    def left_s(self, now_s: float) -> float:
        """Estimated seconds until the end."""
        epoch_s = self._epoch_s()
        steps = (self.before, self.report, self.after)
        return sum(arm.left_s(epoch_s, now_s) for arm in self.arms) + sum(step.left_s(now_s) for step in steps)

    def _epoch_s(self) -> float:
        """Seconds of one board's epoch: those measured, without the first, in which TensorFlow traces."""
        for arm in self.arms:
            if arm.slot.workers == 1 and len(arm.made) > 1:
                return float(sum(record["epoch_s"] for record in arm.made[1:]) / (len(arm.made) - 1))
        return _EPOCH_S


class Screen(Protocol):
    def refresh(self) -> None:
        """Show the plan as it is now."""

    def epoch(self, arm: Arm, record: Mapping[str, Any]) -> None:
        """An epoch has been made."""

    def stopping(self) -> None:
        """The user wants to stop."""


@contextmanager
def screen(console: Console, plan: Plan) -> Iterator[Screen]:
    """The screen that suits the terminal, or the lack of one."""
    if console.is_terminal and not console.is_dumb_terminal:
        with Live(console=console, auto_refresh=False, redirect_stdout=False, redirect_stderr=False) as live:
            yield InPlace(live, plan)
    else:
        yield Lines(console, plan)


class InPlace:
    """A list that changes in place."""

    def __init__(self, live: Live, plan: Plan) -> None:
        self._live, self._plan = live, plan

    def refresh(self) -> None:
        width = self._live.console.width
        self._live.update(render(self._plan, time.monotonic(), width), refresh=True)

    def epoch(self, arm: Arm, record: Mapping[str, Any]) -> None:
        self.refresh()

    def stopping(self) -> None:
        self.refresh()


class Lines:
    """A line for each thing that begins, and for each epoch."""

    def __init__(self, console: Console, plan: Plan) -> None:
        self._console, self._plan = console, plan
        self._told: set[int] = set()

    def refresh(self) -> None:
        for part in _parts(self._plan):
            if part.running and id(part) not in self._told:
                self._told.add(id(part))
                left = f", about {clock(self._plan.left_s(time.monotonic()))} left"
                self._print(f"{part.title}{left}")

    def epoch(self, arm: Arm, record: Mapping[str, Any]) -> None:
        self._print(f"  epoch {record['epoch']} of {arm.epochs}: {_of_epoch(record)}")

    def stopping(self) -> None:
        self._print(_STOPPING)

    def _print(self, text: str) -> None:
        gone = clock(since(self._plan.began_s))
        self._console.print(f"{gone:>5}  {text}", markup=False, highlight=False, soft_wrap=True)


def render(plan: Plan, now_s: float, width: int) -> RenderableType:
    """The whole list, for a terminal with so many columns."""
    rows = Table.grid(padding=(0, 1), expand=True)
    rows.add_column(width=1)
    rows.add_column(width=_TITLE, no_wrap=True)
    bars = width >= _NARROW
    if bars:
        rows.add_column(width=_BAR)
    rows.add_column(ratio=1, no_wrap=True, overflow="ellipsis")
    rows.add_column(width=_TIME, justify="right", no_wrap=True)
    parts: list[RenderableType] = []
    for part in _parts(plan):
        mark, style = ("✓", "green") if part.ended_s else ("▸", "bold") if part.running else (" ", "dim")
        bar = [_bar(part)] if bars else []
        taken = "" if part.began_s is None else clock(since(part.began_s, part.ended_s))
        rows.add_row(Text(mark, style), Text(part.title, style if style != "green" else ""), *bar, _told(part), taken)
    parts.append(rows)
    running = next((arm for arm in plan.arms if arm.running), None)
    if running is not None and running.made:
        lines = [f"    epoch {record['epoch']}: {_of_epoch(record)}" for record in running.made]
        parts += [Text(""), *(Text(line, "dim", no_wrap=True, overflow="ellipsis") for line in lines)]
    gone = f"{clock(now_s - plan.began_s)} gone"
    if plan.stopping:
        last = Text(f"{gone}. {_STOPPING}", "yellow")
    else:
        last = Text(f"{gone}, about {clock(plan.left_s(now_s))} left. Ctrl-C stops it.", "dim")
    return Group(*parts, Text(""), last)


def _parts(plan: Plan) -> list[Step | Arm]:
    return [plan.before, *plan.arms, plan.report, plan.after]


def _bar(part: Step | Arm) -> RenderableType:
    if isinstance(part, Step) or part.began_s is None:
        return Text("")
    return ProgressBar(total=part.epochs, completed=part.done, width=_BAR)


def _told(part: Step | Arm) -> Text:
    if isinstance(part, Step):
        return Text(part.note if part.running else "")
    last = f"accuracy {part.made[-1]['val_accuracy']:.2f}" if part.made else ""
    return Text(", ".join(filter(None, [part.now if part.running else "", last])))


def _of_epoch(record: Mapping[str, Any]) -> str:
    return f"accuracy {record['val_accuracy']:.3f}, loss {record['loss']:.2f}, {record['epoch_s']:.1f} s"
