"""A live view of a run, from the records that the run's controller copies into the run's folder."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console
from rich.live import Live

from analysis.runs.errors import AnalysisError
from analysis.runs.manifest import read_manifest
from analysis.watch.board import Board
from analysis.watch.tail import Reader, collected
from analysis.watch.view import Moment, render
from controller.watch import fallback
from trainer.contract.layout import BOARDS, RUN, entries, run_folders
from trainer.contract.run import Run, load_run

GONE_S = 15.0  # seconds without news after which the controller counts as gone
_REFRESH_S = 1.0
_WIDTH = 100  # columns, where there is no terminal


def watch(folder: Path, inventory: str | None = None, *, every_s: float = 10.0, once: bool = False) -> int:
    """Show a run on stdout until it has been collected; returns 0, or 1 if it did not succeed.

    inventory: that of the run, as for ansible -i; default: ansible.cfg's. Only needed if the run's controller has gone.
    every_s: seconds between frames if stdout is not a terminal.
    once: show one frame, and return 0 if the run is still active.
    Raises ConfigError for a run.json that does not describe a run.
    """
    run = load_run(folder / RUN)
    homes = {name: folder / BOARDS / name for name in run.boards}
    readers = [Reader(_board(name, run), home) for name, home in homes.items()]
    followers: list[fallback.Follower] | None = None
    try:
        with _screen(once, every_s) as show:
            while True:
                manifest, _ = read_manifest(folder)
                if manifest is not None:
                    boards = [collected(_board(name, run), home) for name, home in homes.items()]
                    show(Moment(run, boards, time.monotonic(), manifest))
                    return 0 if manifest["status"] == "succeeded" else 1
                for reader in readers:
                    reader.look()
                boards = [reader.board for reader in readers]
                followed = {board.name: board.overdue_s for board in boards if board.overdue_s is not None}
                if followers is None and followed and min(followed.values()) > GONE_S:
                    followers = fallback.start(run, list(followed), folder, inventory)
                    continue
                looked = all(follower.looked.is_set() for follower in followers or ())
                if looked or not once:
                    show(Moment(run, boards, time.monotonic()))
                if looked and once:
                    return 0
                time.sleep(_REFRESH_S)
    finally:
        for follower in followers or ():
            follower.stop()


def newest(runs: Path) -> Path:
    """The latest run in the folder of all runs. Raises AnalysisError without any."""
    folders = run_folders(entries(runs))
    if not folders:
        raise AnalysisError(
            f"there is no run in {runs}: start one with playbooks/run_experiment.yml, or give a run's folder"
        )
    return max(folders, key=lambda folder: (folder.stat().st_mtime, folder.name))


def _board(name: str, run: Run) -> Board:
    return Board(name, run.config.epochs, time.monotonic())


@contextmanager
def _screen(once: bool, every_s: float) -> Iterator[Callable[[Moment], None]]:
    """Shows frames: in place in a terminal, or one after the other as plain text."""
    terminal = sys.stdout.isatty()
    if terminal and not once:
        with Live(auto_refresh=False, vertical_overflow="visible") as live:
            yield lambda moment: live.update(render(moment), refresh=True)
        return
    console = Console() if terminal else Console(width=_WIDTH, force_terminal=False, color_system=None)
    next_s = 0.0

    def show(moment: Moment) -> None:
        """Plain text: a frame every `every_s` seconds, and the last one at once."""
        nonlocal next_s
        if moment.now_s >= next_s or moment.manifest is not None:
            next_s = moment.now_s + every_s
            console.print(render(moment), "")

    yield show
