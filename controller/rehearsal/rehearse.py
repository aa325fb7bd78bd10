"""The rehearsal from its first line to its last: boards up, the study's runs, a report, boards down."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console

from analysis.runs.errors import AnalysisError
from analysis.runs.manifest import read_manifest
from controller.presets import configuration
from controller.rehearsal.arms import Arm, Runs, arm_of
from controller.rehearsal.playbooks import PlaybookError, Playbooks, Stopped, Wish
from controller.rehearsal.screen import Plan, Screen, Step, screen
from controller.study import State, rounds, slots, states
from trainer.contract.config import parse
from trainer.contract.layout import MANIFEST

STUDY = "rehearsal"
BOARDS = ("board-1", "board-2")  # as in inventory/lab
CALIBRATION = ".cache/lab_calibration_32.json"  # made by lab_up if it is not there
_UP_S, _CALIBRATE_S, _REPORT_S, _DOWN_S = 12.0, 45.0, 12.0, 5.0  # seconds, to estimate the time left


def rehearse(project: Path, *, keep_boards: bool = False, console: Console | None = None) -> int:
    """Make the study's runs on emulated boards and show them; returns 0, 1 after a failure, or 130 after Ctrl-C.

    After an interrupted rehearsal it makes only the runs that are missing.
    """
    console = console or Console()
    runs = project / "runs"
    runs.mkdir(exist_ok=True)
    try:
        planned = slots(STUDY, project, BOARDS, 1)
        skip = rounds(planned, runs, project)
        found = states(planned, runs, project, skip)
    except AnalysisError as error:
        console.print(str(error), markup=False)
        return 1
    plan = plan_of(found, project, keep_boards=keep_boards)
    console.print("[bold]Is training on two boards worth it?[/] A rehearsal on two emulated boards.\n")
    with screen(console, plan) as shown:
        made = _Rehearsal(plan, shown, runs, Playbooks(project, runs / f"{STUDY}.log", Wish()))
        code, failure = made.make(keep_boards=keep_boards)
    console.print()
    if failure:
        console.print(failure, markup=False, highlight=False, soft_wrap=True)
    elif code:
        boards = "" if keep_boards else ", and the boards are removed"
        console.print(f"Stopped{boards}. Run the same command again to make the missing runs.")
    else:
        from controller.rehearsal.outcome import outcome  # pandas takes a second

        for arm, state in zip(plan.arms, states(planned, runs, project, skip), strict=True):
            arm.run = state.succeeded
        for part in outcome(plan.arms):
            console.print(part, "", highlight=False)
        console.print(f"The report: runs/{STUDY}.html", highlight=False)
    if keep_boards:
        console.print("The boards are left up: 'make lab-down' removes them.", highlight=False)
    return code


def plan_of(found: Sequence[State], project: Path, *, keep_boards: bool) -> Plan:
    """What is to be done, with the runs that an earlier rehearsal has made."""
    known = (project / CALIBRATION).exists()
    arms = []
    for state in found:
        slot = state.slot
        request = {"experiment": slot.experiment, "override": slot.override}
        arm = arm_of(slot, parse(configuration(request, project, [], slot.workers)))
        if state.succeeded:
            arm.begin(state.succeeded)
            list(arm.look())
            arm.earlier = True
            arm.began_s = arm.ended_s = time.monotonic()
        arms.append(arm)
    return Plan(
        before=Step(
            "Start two emulated boards",
            _UP_S + (0.0 if known else _CALIBRATE_S),
            "" if known else "and measure this machine, once",
        ),
        arms=arms,
        report=Step("Write the report", _REPORT_S),
        after=Step("Leave the boards up" if keep_boards else "Remove the boards", 0.0 if keep_boards else _DOWN_S),
    )


class _Rehearsal:
    def __init__(self, plan: Plan, shown: Screen, runs: Path, playbooks: Playbooks) -> None:
        self._plan, self._shown, self._playbooks = plan, shown, playbooks
        self._runs = Runs(runs, plan.arms)

    def make(self, *, keep_boards: bool) -> tuple[int, str]:
        """Do everything; returns the exit code, and why it failed."""
        code, failure = 0, ""
        try:
            with self._step(self._plan.before):
                self._playbooks.play("lab_up", self._look)
            variables = ["study=rehearsal", '{"study_repeats": 1, "study_again": true, "study_measure": false}']
            self._playbooks.play("run_study", self._look_at_runs, variables, beside_boards=True)
            for _ in self._plan.arms:  # what has ended since the last look, an arm at a time
                self._look_at_runs()
            self._plan.report.ended_s = time.monotonic()
        except Stopped:
            code = 130
        except PlaybookError as error:
            code, failure = 1, str(error)
        if not keep_boards:
            try:
                with self._step(self._plan.after):
                    self._playbooks.play("lab_down", self._look, to_its_end=True)
            except PlaybookError as error:
                code, failure = 1, "\n".join(filter(None, [failure, str(error)]))
        for run in self._runs.not_collected():
            shutil.rmtree(run)  # of boards that are gone
        return code, failure

    @contextmanager
    def _step(self, step: Step) -> Iterator[None]:
        step.began_s = time.monotonic()
        self._shown.refresh()
        yield
        step.ended_s = time.monotonic()
        self._shown.refresh()

    def _look(self) -> None:
        if self._playbooks.stopping and not self._plan.stopping:
            self._plan.stopping = True
            self._shown.stopping()
        self._shown.refresh()

    def _look_at_runs(self) -> None:
        """Take what is new in the runs' folders."""
        self._runs.look()
        arm = next((arm for arm in self._plan.arms if arm.ended_s is None), None)
        if arm is not None:
            self._follow(arm)
        elif self._plan.report.began_s is None:
            self._plan.report.began_s = time.monotonic()
        self._look()

    def _follow(self, arm: Arm) -> None:
        if arm.began_s is None:
            arm.began_s = time.monotonic()
            self._shown.refresh()
        for record in arm.look():
            self._shown.epoch(arm, record)
        if arm.run is not None and (arm.run / MANIFEST).exists():
            manifest, _ = read_manifest(arm.run)
            if manifest is not None and manifest["status"] == "succeeded":
                arm.ended_s = time.monotonic()
