"""A live view of a run, beside it: reads the boards while it goes on, and the controller's folder once it is over."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path, PurePosixPath

from rich.console import Console
from rich.live import Live

from analysis.runs.errors import AnalysisError
from analysis.runs.manifest import read_manifest
from analysis.watch.board import Board
from analysis.watch.tail import collected
from analysis.watch.view import Moment, render
from controller.watch import inventory as inventories
from controller.watch import remote
from controller.watch.follow import Follower
from trainer.contract.config import Run, load_run
from trainer.contract.layout import BOARDS, RUN, entries, run_folders

_REFRESH_S = 1.0
_WIDTH = 100  # columns, where there is no terminal


def watch(folder: Path, inventory: str | None = None, *, every_s: float = 10.0, once: bool = False) -> int:
    """Show a run on stdout until it has been collected; returns 0, or 1 where it did not succeed.

    inventory: the one that the run was started with, as for ansible -i; without it ansible.cfg's.
    every_s: seconds between two frames where stdout is no terminal.
    once: show one frame, and return 0 if the run still goes on.
    Raises AnalysisError for a run, an inventory or a board that cannot be watched, and ConfigError for a run.json that
    does not describe a run.
    """
    run = load_run(folder / RUN)
    followers: list[Follower] = []
    if read_manifest(folder)[0] is None:
        followers = _followers(run, folder, inventory)
    try:
        with _screen(once, every_s) as show:
            return _until_the_end(run, folder, followers, show, once)
    finally:
        for follower in followers:
            follower.stop()


def newest(runs: Path) -> Path:
    """The run that began, went on or ended last, of the folder of all runs. Raises AnalysisError without any."""
    folders = run_folders(entries(runs))
    if not folders:
        raise AnalysisError(f"there is no run in {runs}: give the folder of one")
    return max(folders, key=lambda folder: (folder.stat().st_mtime, folder.name))


def _followers(run: Run, folder: Path, inventory: str | None) -> list[Follower]:
    access = inventories.find(run.boards, inventory)
    followers = []
    for name in run.boards:
        on_board = PurePosixPath(access[name].home) / "runs" / run.run_id
        connect = partial(remote.connect, remote.route(access[name]), on_board)
        followers.append(Follower(_board(name, run), folder / BOARDS / name, connect))
    for follower in followers:
        follower.start()
    return followers


def _board(name: str, run: Run) -> Board:
    return Board(name, run.config.epochs, time.monotonic())


def _until_the_end(
    run: Run, folder: Path, followers: Sequence[Follower], show: Callable[[Moment], None], once: bool
) -> int:
    while True:
        manifest, _ = read_manifest(folder)
        if manifest is not None:
            boards = [collected(_board(name, run), folder / BOARDS / name) for name in run.boards]
            show(Moment(run, boards, time.monotonic(), manifest))
            return 0 if manifest["status"] == "succeeded" else 1
        looked = all(follower.looked.is_set() for follower in followers)
        refusals = [str(follower.refused) for follower in followers if follower.refused]
        if refusals and looked:
            raise AnalysisError("\n".join(refusals))
        if looked or not once:
            show(Moment(run, [follower.board for follower in followers], time.monotonic()))
        if looked and once:
            return 0
        time.sleep(_REFRESH_S)


@contextmanager
def _screen(once: bool, every_s: float) -> Iterator[Callable[[Moment], None]]:
    """Something that shows a moment: at one place of a terminal, or below each other as plain text."""
    if not sys.stdout.isatty():
        yield _Plain(every_s).show
    elif once:
        yield lambda moment: Console().print(render(moment))
    else:
        with Live(auto_refresh=False, vertical_overflow="visible") as live:
            yield lambda moment: live.update(render(moment), refresh=True)


class _Plain:
    """Prints a frame every so many seconds, and the last one at once."""

    def __init__(self, every_s: float) -> None:
        self._console = Console(width=_WIDTH, force_terminal=False, color_system=None)
        self._every_s, self._next_s = every_s, 0.0

    def show(self, moment: Moment) -> None:
        if moment.now_s < self._next_s and moment.manifest is None:
            return
        self._next_s = moment.now_s + self._every_s
        self._console.print(render(moment), soft_wrap=False)
        self._console.print()
        sys.stdout.flush()
