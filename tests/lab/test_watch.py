"""A live view beside a run, through the restart of an ssh server and the death of the run's controller.

The trainer is a stand-in: the view sees only records, and those of real ones are in the unit tests.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from conftest import PROJECT, Lab, training_lab
from test_faults import LASTING, RUNS, Run, playbook, stand_in

pytestmark = [pytest.mark.lab, pytest.mark.tensorflow, pytest.mark.thorough]

lab = training_lab(13)


@pytest.fixture
def run(lab: Lab, tmp_path: Path) -> Iterator[Run]:
    """A run that does not end by itself."""
    runs = tmp_path / "runs"
    runs.mkdir()
    run = Run(lab, runs, LASTING, train_environment=stand_in(lab))
    try:
        run.wait_for_epochs()
        yield run
    finally:
        run.kill()
        playbook(lab, "stop")
        for board in (1, 2):
            lab.ssh(board, f"rm -rf {RUNS}/* /dev/shm/*.tar.gz", user="root")


class View:
    """`python -m controller watch` as in a second terminal, written to a file."""

    def __init__(self, run: Run, output: Path) -> None:
        self._run, self._output = run, output
        command = [sys.executable, "-m", "controller", "watch", str(run.folder), "-i", str(run.lab.inventory)]
        with output.open("w") as file:
            self.process = subprocess.Popen(
                [*command, "--every", "1"], cwd=PROJECT, stdout=file, stderr=subprocess.STDOUT
            )

    def frames(self) -> list[str]:
        """Those that are whole."""
        return self._output.read_text().split(f"{self._run.folder.name}\n")[1:-1]

    def wait_for(self, true: Callable[[str], object], what: str, limit_s: float = 60) -> str:
        """The next frame of which this is true."""
        seen, deadline = len(self.frames()), time.monotonic() + limit_s
        while True:
            for frame in self.frames()[seen:]:
                if true(frame):
                    return frame
            assert self.process.poll() is None and time.monotonic() < deadline, f"{what}\n{self._output.read_text()}"
            time.sleep(0.2)


def steps_of(frame: str, board: int) -> int | None:
    """Steps that a board in training has made, if the frame has their time as well."""
    row = re.search(rf"^ ?board-{board} +training +(\d+)/\d+ +(\d+)/(\d+) +(\d+) +\d+ ", frame, re.MULTILINE)
    if not row:
        return None
    epoch, done, of, step_ms = map(int, row.groups())
    assert step_ms > 0
    return (epoch - 1) * of + done


def test_a_run_is_shown_after_an_ssh_server_was_restarted_and_after_its_controller_was_killed(
    run: Run, tmp_path: Path
) -> None:
    lab, view = run.lab, View(run, tmp_path / "view.txt")
    try:
        frame = view.wait_for(lambda frame: all(steps_of(frame, board) for board in (1, 2)), "both boards train")
        assert "rehearsal, 2 boards, keras; emulated boards, synthetic images" in frame
        assert re.search(r"\d (s|min) left", frame) and re.search(
            r"validation accuracy \S+ 0\.\d{3} after epoch", frame
        )
        rows = [line for line in frame.splitlines() if re.match(r" ?board-\d ", line)]  # alerts name boards, too
        assert len(rows) == 2 and all(float(row.split()[-1]) > 0 for row in rows)  # telemetry: GB of memory
        before = [steps_of(frame, board) or 0 for board in (1, 2)]

        lab.ssh(2, "pkill sshd", user="root")  # the open connection, too
        lost = view.wait_for(lambda frame: re.search(r"board-2 +reconnecting", frame), "board-2 is out of reach")
        assert "! board-2 has been unreachable for " in lost
        meanwhile = view.wait_for(lambda frame: (steps_of(frame, 1) or 0) > before[0], "board-1 is followed on")
        assert re.search(r"board-2 +reconnecting", meanwhile)

        restarted = lab.up()
        assert restarted.ok, restarted.output
        again = view.wait_for(lambda frame: (steps_of(frame, 2) or 0) > before[1], "board-2 is followed again")
        assert "cannot be reached" not in again and "cannot be read" not in again

        os.kill(run.process.pid, signal.SIGKILL)
        run.end()
        view.wait_for(lambda frame: re.search(r"board-2 +reconnecting", frame), "nobody copies records any more")
        before = [steps_of(again, board) or 0 for board in (1, 2)]
        alone = view.wait_for(
            lambda frame: all((steps_of(frame, board) or 0) > before[board - 1] for board in (1, 2)), "the view copies"
        )
        assert "cannot be reached" not in alone and "cannot be read" not in alone

        assert playbook(lab, "stop").ok
        playbook(lab, "collect", run_id=run.folder.name, run_config_runs_dir=str(run.folder.parent))
        assert view.process.wait(timeout=30) == 1
        assert "The run was interrupted" in (tmp_path / "view.txt").read_text()
        assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f]", (tmp_path / "view.txt").read_text())
    finally:
        view.process.kill()
        view.process.wait()
