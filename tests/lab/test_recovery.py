"""A run that ended by a fault goes on from its checkpoint, to the same weights."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable

import pytest
import test_faults
from conftest import Lab, training_lab
from test_faults import Run, playbook
from test_run import SHORT

from analysis import load

pytestmark = [pytest.mark.lab, pytest.mark.tensorflow]

lab = training_lab(19)
start, row = test_faults.start, test_faults.row  # fixtures

RESUMABLE = {**SHORT, "epochs": 30, "checkpoint_epochs": 2, "deterministic": True}


def reboot(run: Run) -> str:
    os.kill(run.lab.init(2), signal.SIGKILL)  # its processes all die, its memory and its link are gone
    assert run.lab.up().ok
    return "reboot"


def kill(run: Run) -> str:
    run.lab.ssh(2, f"kill -9 {run.trainer(2)}")
    return "killed"


@pytest.mark.parametrize(
    "fault, method",
    [(reboot, "local_sgd"), pytest.param(kill, "keras", marks=pytest.mark.thorough)],
    ids=["reboot", "kill"],
)
def test_a_run_that_goes_on_after_a_fault(lab: Lab, start, row, fault: Callable[[Run], str], method: str) -> None:
    override = {**RESUMABLE, "sync": {"method": method, "period": 2}}
    whole = start(override)
    assert whole.end() == 0, whole.output
    run = start(override)
    run.wait_for_epochs(5)
    kind = fault(run)
    assert run.end() != 0
    assert (run.manifest["culprit"], run.manifest["cause_kind"]) == ("board-2", kind), run.output
    assert all((run.folder / f"boards/board-{n}/trainer.log").exists() for n in (1, 2))
    cause = run.manifest["cause"]
    row("board reboots" if fault is reboot else "worker killed, keras", cause)

    resumed = playbook(lab, "run_experiment", resume=run.folder.name, run_config_runs_dir=str(run.folder.parent))
    assert resumed.ok, resumed.output
    (attempt,) = run.manifest["attempts"]
    assert (run.manifest["status"], attempt["cause"]) == ("succeeded", cause)
    loaded = load([whole.folder, run.folder])
    assert not [problem for problem in loaded.problems if "recorded" in problem], loaded.problems
    first, second = (
        loaded.epochs[loaded.epochs["run_id"] == one.folder.name].set_index(["rank", "epoch"]) for one in (whole, run)
    )
    assert list(first.index) == list(second.index) and len(first) == 2 * RESUMABLE["epochs"]
    for name in ("loss", "val_loss"):
        assert second[name].to_numpy() == pytest.approx(first[name].to_numpy(), abs=1e-3), name
    begins = second[second["begins"]].index.unique("epoch")
    assert len(begins) == 2 and begins[1] >= 4, "it went on where it was, not at the beginning"
    assert not list(run.folder.rglob("checkpoints"))
    row(
        f"{'reboot' if fault is reboot else 'kill'}, then resume ({method})",
        f"resumes with epoch {begins[1]}; its final loss differs from the uninterrupted run's by at most "
        f"{abs(first['loss'].iloc[-1] - second['loss'].iloc[-1]):.0e}",
    )
