"""Copies a run's records from the boards over ssh if the run's controller has gone."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path

from analysis.runs.errors import AnalysisError
from controller import ssh
from controller.mirror import Mirror
from controller.watch import inventory as inventories
from controller.watch import remote
from trainer.contract.layout import BOARDS, MANIFEST
from trainer.contract.run import Run

POLL_S = 1.0
_RETRY_S = 3.0

Connection = Callable[[], AbstractContextManager[Callable[[str], str]]]


class Follower(threading.Thread):
    """Copies one board's records in a thread; reconnects when the connection is lost."""

    def __init__(self, mirror: Mirror, over: Callable[[], bool], connect: Connection) -> None:
        """`over`: whether the run is over."""
        super().__init__(daemon=True)
        self._mirror, self._over, self._connect = mirror, over, connect
        self._stopped = threading.Event()
        self.looked = threading.Event()  # the first look succeeded or failed

    def run(self) -> None:
        while not self._stopped.is_set():
            try:
                with self._connect() as ask:
                    while not self._stopped.is_set():
                        answer = ask(self._mirror.command())
                        if self._over():
                            return
                        look = self._mirror.take(answer)
                        if look is not None and not look.whole:
                            continue
                        self.looked.set()
                        if look is not None and look.result is not None and not look.running:
                            self._mirror.end()
                            return
                        self._stopped.wait(POLL_S)
            except AnalysisError as error:
                if not self._over():
                    self._mirror.lose(str(error))
            self.looked.set()
            self._stopped.wait(_RETRY_S)

    def stop(self) -> None:
        self._stopped.set()


def start(run: Run, boards: Sequence[str], folder: Path, inventory: str | None) -> list[Follower]:
    """Follow these boards of the folder's run. If the inventory cannot be used, live.json has the reason."""
    mirrors = {board: folder / BOARDS / board for board in boards}
    try:
        access = inventories.find(boards, inventory)
        ways = {board: ssh.hops(board, access[board].ssh)[-1] for board in boards}
    except AnalysisError as error:
        for home in mirrors.values():
            Mirror(home, "", POLL_S).lose(str(error))
        return []
    followers = []
    for board, home in mirrors.items():
        mirror = Mirror(home, f"{access[board].home}/runs/{run.run_id}", POLL_S)
        followers.append(Follower(mirror, (folder / MANIFEST).exists, partial(remote.connect, ways[board])))
        followers[-1].start()
    return followers
