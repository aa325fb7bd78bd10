"""Renders the state of a run."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rich import box
from rich.console import Group, RenderableType
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from analysis.runs.columns import Column
from analysis.runs.generations import sentences
from analysis.runs.progress import duration
from analysis.watch.alerts import alerts
from analysis.watch.board import Board
from trainer.contract.reading import printable
from trainer.contract.records import begins_at
from trainer.contract.run import Run

_BARS = "▁▂▃▄▅▆▇█"
_SPARKS = 50  # epochs
_STYLES = {
    "failed": "bold red",
    "interrupted": "red",
    "reconnecting": "yellow",
    "connecting": "yellow",
    "ended": "green",
}


@dataclass(frozen=True)
class Moment:
    run: Run
    boards: Sequence[Board]  # in rank order
    now_s: float  # on the controller's monotonic clock
    manifest: Mapping[str, Any] | None = None  # null until the run has been collected


def render(moment: Moment) -> RenderableType:
    """The whole view, for a terminal of 80 columns or more."""
    ended = moment.manifest is not None
    warnings = alerts(moment.boards, None if ended else moment.now_s)
    parts = [_title(moment), _progress(moment), _accuracy(_lead(moment.boards)), _table(moment.boards, moment.run)]
    parts += _outcome(moment)
    parts += [_said(f"! {sentence}", "yellow") for sentence in warnings]
    return Group(*parts)


def _title(moment: Moment) -> Text:
    run = moment.run
    boards = f"{run.workers} board{'s' if run.workers > 1 else ''}"
    title = _said(run.run_id, "bold")
    strategy = f"{run.config.strategy}, " if run.config.strategy else ""
    title.append(f"\n{printable(run.experiment)}, {boards}, {strategy}{run.config.sync.method}", style="not bold")
    latest = max((it.generation for it in moment.boards if it.generation), key=lambda it: it["number"], default=None)
    if latest:
        now = f"; generation {latest['number']}: {', '.join(latest['boards'])}, from {begins_at(latest)}"
        title.append(printable(now), style="not bold yellow")
    if marks := _marks(moment):
        title.append(f"; {', '.join(marks)}", style="not bold magenta")
    return title


def _marks(moment: Moment) -> list[str]:
    """The label for every figure: emulated boards, synthetic images."""
    told = moment.manifest or {}
    emulated = told.get("rehearsal") or any(board.emulated for board in moment.boards)
    synthetic = told.get("synthetic") or any(board.start and board.start["synthetic"] for board in moment.boards)
    return [word for word, true in (("emulated boards", emulated), ("synthetic images", synthetic)) if true]


def _lead(boards: Sequence[Board]) -> Board:
    """The board with the most records; the chief if equal."""
    return max(boards, key=lambda board: board.epochs_done)


def _progress(moment: Moment) -> RenderableType:
    lead, epochs = _lead(moment.boards), moment.run.config.epochs
    left_s = lead.progress.left_s() if moment.manifest is None else None
    row = Table.grid(padding=(0, 1))
    row.add_row(
        f"epoch {_epoch(lead, epochs)}, step {_step(lead)}",
        ProgressBar(total=epochs, completed=min(lead.epochs_done, epochs), width=40),
        f"{lead.epochs_done / epochs:4.0%}",
        "" if left_s is None else f"{duration(left_s)} left",
    )
    return row


def _accuracy(lead: Board) -> Text:
    values = [value for _, value in sorted(lead.accuracies.items()) if math.isfinite(value)]
    if not values:
        return Text("validation accuracy -")
    return Text(f"validation accuracy {sparkline(values[-_SPARKS:])} {values[-1]:.3f} after epoch {lead.epoch}")


def sparkline(values: Sequence[float]) -> str:
    """A bar per value, from the lowest for the minimum to the highest for the maximum."""
    low, high = min(values), max(values)
    steps = (len(_BARS) - 1) / (high - low) if high > low else 0.0
    return "".join(_BARS[round((value - low) * steps)] for value in values)


_COLUMNS = (
    Column("step_s", ("step", "[ms]"), 1e3, 0),
    Column("stall_share", ("sync", "[%]"), 100, 0),
    Column("cpu", ("CPU", "[%]"), 100, 0),
    Column("gpu", ("GPU", "[%]"), 100, 0),
    Column("hottest_c", ("temp", "[C]"), 1, 1),
    Column("power_w", ("power", "[W]"), 1, 1),
    Column("memory_bytes", ("mem", "[GB]"), 1e-9, 1),
)


def _table(boards: Sequence[Board], run: Run) -> Table:
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 1, 0, 0))
    table.add_column("board")
    table.add_column("state")
    table.add_column("epoch", justify="right")
    table.add_column("step", justify="right")
    for column in _COLUMNS:
        table.add_column(Text("\n".join(column.heading), justify="right"), justify="right")
    for board in boards:
        state = _said(board.state, _STYLES.get(board.state, ""))
        measured = {name: value for told in (board.steps, board.load) if told for name, value in vars(told).items()}
        cells = [column.cell(measured) for column in _COLUMNS]
        table.add_row(board.name, state, _epoch(board, run.config.epochs), _step(board), *cells)
    return table


def _epoch(board: Board, epochs: int) -> str:
    """The current epoch, or the last one."""
    now = max(board.epoch, board.steps.epoch if board.steps else 0)
    return f"{now or '-'}/{epochs}"


def _step(board: Board) -> str:
    if board.steps is None or board.start is None:
        return "-"
    return f"{board.steps.done}/{board.start['steps_per_epoch']}"


def _outcome(moment: Moment) -> list[Text]:
    """How the run ended, or the causes from failed boards."""
    told = moment.manifest
    if told is not None:
        good = told["status"] == "succeeded"
        sentence = f"The run {'was' if told['status'] == 'interrupted' else 'has'} {told['status']}"
        if told["started_s"] is not None and told["ended_s"] is not None:
            sentence += f" after {duration(told['ended_s'] - told['started_s'])}"
        said = [f"{sentence}: {told['cause']}." if told["cause"] else f"{sentence}."]
        said += [f"Remedy: {told['remedy']}."] if told.get("remedy") else []
        said += sentences(told.get("generations", []))
        return [_said(each, "green" if good else "bold red") for each in said]
    failed = [board for board in moment.boards if board.state in ("failed", "interrupted")]
    said = [f"{board.name} {board.state}: {(board.result or {}).get('cause')}" for board in failed]
    if all(board.result is not None for board in moment.boards):
        said.append(
            "All boards have ended. If no playbook is collecting their logs, run playbooks/collect.yml -e "
            f"run_id={moment.run.run_id}"
        )
    return [_said(each, "bold red") for each in said]


def _said(sentence: str, style: str) -> Text:
    """The text without control characters, since a board may have written it."""
    return Text(printable(sentence), style=style)
