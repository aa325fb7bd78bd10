"""Makes the runs of a study, each with its own playbook."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from ansible import context
from ansible.utils.display import Display

from analysis.runs.errors import AnalysisError
from analysis.runs.progress import duration
from controller import child_playbook
from controller.plugins import shared
from controller.plugins.base import Action
from controller.priority import likewise
from controller.study import Slot, State, expected_s, left_s, lost, rounds, slots, states

_POLL_S = 0.2
_display = Display()


class ActionModule(Action):
    """run_study: see plugins/modules/run_study.py."""

    _expected_s: dict[str, float]  # expected seconds per run, by arm, if it has none yet
    _skip: int | None  # earlier rounds of the study to skip

    def act(self, options: dict[str, Any]) -> dict[str, Any]:
        planned = self._plan(options)
        self._pick_up(planned[0].study)
        if options["again"]:
            self._skip = rounds(planned, self._runs_dir, self._project)
        found = self._states(planned)
        self._expected_s = self._expect(found, options["boards"], options["measure"])
        self._tell(found)
        for tries in range(options["tries"]):
            for slot in [state.slot for state in found if not state.succeeded]:
                again = f", try {tries + 1}" if tries else ""
                _display.display(f"  {slot.name}{again}{self._left(found)}")
                self._make(slot)
                if shared.interrupted().exists():
                    return {"failed": True, "msg": "Stopped; run the same command to continue the study."}
                found = self._states(planned)
        folders = [path for state in found for path in (*state.tried, *([state.succeeded] if state.succeeded else []))]
        return {
            "changed": True,
            "folders": [str(path) for path in folders],
            "missing": [state.slot.name for state in found if not state.succeeded],
        }

    def preview(self, options: dict[str, Any]) -> dict[str, Any]:
        planned = self._plan(options)
        if options["again"]:
            self._skip = rounds(planned, self._runs_dir, self._project)
        found = self._states(planned)
        self._tell(found)
        return {"changed": not all(state.succeeded for state in found), "folders": [], "missing": []}

    def _plan(self, options: dict[str, Any]) -> list[Slot]:
        """The study's runs in order. Raises AnalysisError if the study or an option of the command is wrong."""
        refused = child_playbook.problems(context.CLIARGS)
        if refused:
            raise AnalysisError("\n".join(refused))
        self._project, self._runs_dir = Path(options["project"]), Path(options["runs_dir"])
        self._expected_s = {}
        self._skip = None
        return slots(options["study"], self._project, options["boards"], options["repeats"])

    def _states(self, planned: list[Slot]) -> list[State]:
        return states(planned, self._runs_dir, self._project, self._skip)

    def _tell(self, found: list[State]) -> None:
        there = sum(state.succeeded is not None for state in found)
        _display.display(f"  {found[0].slot.study}: {there} of {len(found)} runs done{self._left(found)}")

    def _pick_up(self, name: str) -> None:
        """Collect the study's runs that were started and not collected."""
        for folder in lost(name, self._runs_dir):
            _display.display(f"  {folder.name} was started and not collected: collecting it now")
            self._play("collect", {"run_id": folder.name, "run_config_runs_dir": str(self._runs_dir)})
        left = [folder.name for folder in lost(name, self._runs_dir)]
        if left:
            raise AnalysisError(
                f"{', '.join(left)} could not be collected (see above): correct the cause and run the same "
                "command again, or move the folder away to repeat the run"
            )

    def _make(self, slot: Slot) -> None:
        self._play(
            "run_experiment",
            {
                "workers": slot.workers,
                "experiment": slot.experiment,
                "seed": slot.repeat,
                "override": slot.override,
                "run_config_study": slot.name,
                "run_config_design": slot.design,
                "run_config_runs_dir": str(self._runs_dir),
            },
        )

    def _play(self, playbook: str, variables: dict[str, Any]) -> None:
        """Run a playbook to its end; the run's manifest has the outcome."""
        command = child_playbook.command(context.CLIARGS, self._project / f"playbooks/{playbook}.yml", variables)
        # a session of its own: Ctrl-C is passed on once, since a second one would not stop the boards
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True) as child:
            likewise(child.pid)
            assert child.stdin is not None
            with contextlib.suppress(BrokenPipeError), child.stdin as stdin:  # the child prints why it ended
                stdin.write(child_playbook.handed_over(self._play_context))
            self._follow(child)

    def _follow(self, child: subprocess.Popen[bytes]) -> None:
        controller, told, rest = os.getppid(), False, b""
        assert child.stdout is not None
        os.set_blocking(child.stdout.fileno(), False)
        while True:
            ended = child.poll() is not None
            *lines, rest = (rest + (child.stdout.read() or b"")).split(b"\n")
            for line in lines:
                _display.display(f"    {line.decode(errors='replace')}")
            if ended:
                return
            if shared.interrupted().exists() and not told:
                child.send_signal(signal.SIGINT)
                told = True
            if os.getppid() != controller:  # killed: the boards continue, and the next call collects the run
                child.kill()
                sys.exit(1)
            time.sleep(_POLL_S)

    def _expect(self, found: list[State], boards: list[str], measure: bool) -> dict[str, float]:
        """Expected seconds per run by arm, if it has no run yet; measures first if nothing is known."""
        if left_s(found, {}) is not None:
            return {}
        slots = {state.slot.arm: state.slot for state in found}
        widest = max(slots.values(), key=lambda slot: slot.workers)
        known = {arm: expected_s(slot, self._project, boards, self._runs_dir) for arm, slot in slots.items()}
        if None in known.values() and measure:
            _display.display("  the duration is not known yet: measuring for some minutes")
            variables = {"workers": widest.workers, "experiment": widest.experiment, "override": widest.override}
            variables |= {"run_config_study": f"{widest.study}/prediction", "run_config_runs_dir": str(self._runs_dir)}
            self._play("predict", variables)
            known = {arm: expected_s(slot, self._project, boards, self._runs_dir) for arm, slot in slots.items()}
        return {arm: seconds for arm, seconds in known.items() if seconds is not None}

    def _left(self, found: list[State]) -> str:
        seconds = left_s(found, self._expected_s)
        return "" if seconds is None else f", {duration(seconds)} left"
