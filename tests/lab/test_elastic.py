"""Runs that go on: boards are lost in every way, and the others train to the end without a person.

`make faults` runs all; `make test` leaves out what is marked thorough.
"""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from conftest import Lab, training_lab
from test_faults import RUNS, Run, left_on, playbook, slowly
from test_run import SHORT

from analysis import compare, load
from benchmarks.lab.faults import Board

pytestmark = [pytest.mark.lab, pytest.mark.tensorflow]

lab = training_lab(21, boards=3)

BOARDS = (1, 2, 3)
EPOCHS = 60
GOING_ON = {
    **SHORT,
    "epochs": EPOCHS,
    "checkpoint_epochs": 1,
    "on_board_loss": "continue",
    "data": {**SHORT["data"], "sharding": "sharded"},
    "sync": {"method": "local_sgd", "period": 4},
}
# epochs of some seconds, with checkpoints within them alone
LONG_EPOCHS = {
    **GOING_ON,
    "epochs": 6,
    "checkpoint_epochs": 0,
    "checkpoint_steps": 4,
    "data": {**GOING_ON["data"], "train_images": 1280},
}
LINK_S = 30  # the benchmark of goodput has 60


@pytest.fixture
def start(lab: Lab, tmp_path: Path) -> Iterator[Callable[..., Run]]:
    """Starts a run on three boards; after the test nothing of it may be left on a board."""
    begun: list[Run] = []

    def begin(override: dict, **variables: object) -> Run:
        runs = tmp_path / f"{len(begun)}/runs"
        runs.mkdir(parents=True)
        given = {"workers": 3, "train_silence_limit_s": 6, "train_environment": slowly(lab, BOARDS), **variables}
        begun.append(Run(lab, runs, override, **given))
        return begun[-1]

    try:
        yield begin
        assert [left_on(lab, board) for board in BOARDS] == ["", "", ""]
    finally:
        for run in begun:
            run.kill()
        playbook(lab, "stop")
        for board in BOARDS:
            lab.root(board, f"rm -rf {RUNS}/* /dev/shm/*.tar.gz")


@pytest.fixture
def row(record_property: Callable[[str, object], None]) -> Callable[[str, str], None]:
    """Notes a row of the table that `make faults` prints, once it is shown."""
    return lambda fault, shown: record_property("fault", (fault, shown))


def generation(run: Run, board: int) -> int:
    """The generation that a board says it is in."""
    told = run.lab.ssh(board, f"cat {RUNS}/*/generation.json 2>/dev/null")
    return json.loads(told)["number"] if told else 1


def wait_for_generation(run: Run, board: int, number: int) -> None:
    """Until a board trains in it: it has made an epoch since."""
    run.wait_until(lambda: generation(run, board) == number, f"generation {number}")
    events = f"{RUNS}/*/events.jsonl"

    def trains() -> bool:
        told = run.lab.ssh(board, f'sed \'1,/"event": "generation", .*"number": {number},/d\' {events}')
        return '"event": "epoch"' in told

    run.wait_until(trains, f"an epoch of generation {number}")


def kill_board(run: Run, board: int) -> None:
    """Kill supervisor and trainer, as if the board's power failed."""
    run.lab.ssh(board, f"kill -9 $(cat {RUNS}/*/supervisor.pid) {run.trainer(board)}")


def succeeded(run: Run, count: int = EPOCHS) -> dict:
    """Wait for the end; require success, all logs, and each of `count` epochs once. Returns the manifest."""
    assert run.end(600) == 0, run.output
    manifest = run.manifest
    assert manifest["status"] == "succeeded", run.output
    for board in BOARDS:
        home = run.folder / f"boards/board-{board}"
        assert {path.name for path in home.iterdir()} >= {"trainer.log", "result.json", "events.jsonl"}, home
    last = manifest["generations"][-1]["boards"]
    assert (run.folder / f"boards/{last[0]}/weights/final.h5").exists()
    epochs = load([run.folder]).epochs
    steadfast = set.intersection(*(set(it["boards"]) for it in manifest["generations"]))
    for made in (*(epochs[epochs["board"] == board] for board in steadfast), epochs[epochs["rank"] == 0]):
        assert list(made["epoch"]) == list(range(1, count + 1))
    return manifest


def stops(manifest: dict) -> str:
    """How long training stopped, each time."""
    return ", ".join(f"{it['stopped_s']:.0f} s" for it in manifest["generations"][1:])


@pytest.mark.timeout(900)
def test_a_killed_trainer_and_then_a_killed_board_that_is_the_chief(start, row) -> None:
    run = start(GOING_ON)
    run.wait_for_epochs(2)
    run.lab.ssh(3, f"kill -9 {run.trainer(3)}")
    wait_for_generation(run, 3, 2)
    kill_board(run, 1)
    run.wait_until(lambda: generation(run, 1) > 2, "the chief is back")
    wait_for_generation(run, 1, generation(run, 1))
    manifest = succeeded(run)
    second = manifest["generations"][1]
    assert second["boards"] == ["board-1", "board-2", "board-3"] and second["culprit"] == "board-3"
    assert "SIGKILL" in second["cause"] and second["stopped_s"] > 0
    assert manifest["generations"][-1]["boards"] == ["board-1", "board-2", "board-3"]
    assert "board-1 had lost its supervisor, and was started again" in run.output
    assert "Generation 3: " in run.output
    comparison = compare(load([run.folder]))
    assert any("time without training" in problem for problem in comparison.problems)
    assert comparison.runs["total_s"].notna().all()
    row("trainer killed -9, then the chief's board, of 3", f"succeeded; without training: {stops(manifest)}")


def reboot(run: Run, board: int) -> None:
    """As after a power failure: its processes, its memory and its link are gone."""
    os.kill(run.lab.init(board), signal.SIGKILL)
    assert run.lab.up().ok


@pytest.mark.thorough
@pytest.mark.timeout(900)
@pytest.mark.parametrize("what", ["supervisor", "stopped", "reboot", "gone"])
def test_a_board_is_lost(lab: Lab, start, row, what: str) -> None:
    run = start(GOING_ON)
    run.wait_for_epochs(2)
    if what == "supervisor":
        lab.ssh(2, f"kill -9 $(cat {RUNS}/*/supervisor.pid)")
    elif what == "stopped":
        lab.ssh(2, f"kill -STOP {run.trainer(2)}")
    elif what == "reboot":
        reboot(run, 2)
    else:
        lab.ssh(2, f"mv {RUNS}/*/run.json /tmp/")  # nobody can start it again
        kill_board(run, 2)
    wait_for_generation(run, 1, 2)
    if what != "gone":
        run.wait_until(lambda: generation(run, 2) >= 2, "the board is back")
        wait_for_generation(run, 2, generation(run, 2))
    manifest = succeeded(run)
    everybody = ["board-1", "board-2", "board-3"]
    assert manifest["generations"][-1]["boards"] == (everybody if what != "gone" else ["board-1", "board-3"])
    if what == "gone":
        assert "board-2 is lost, and the others go on" in run.output
        comparison = compare(load([run.folder]))
        assert any("compared in its accuracy" in problem for problem in comparison.problems)
        assert comparison.runs["total_s"].notna().all() and comparison.runs["step_s"].isna().all()
    row(f"{what}: one of 3 boards", f"succeeded; without training: {stops(manifest)}")


@pytest.mark.thorough
@pytest.mark.timeout(900)
def test_a_cable_is_pulled_and_put_in_again_within_an_epoch(lab: Lab, start, row) -> None:
    run = start(LONG_EPOCHS)
    run.wait_for_epochs(1)
    cut = Board(lab.folder, "board-2")
    cut.set_link("down")
    wait_until(lambda: generation(run, 1) == 2, "the others go on")
    time.sleep(LINK_S)
    cut.set_link("up")
    wait_until(lambda: generation(run, 2) > 2, "the board is back")
    manifest = succeeded(run, LONG_EPOCHS["epochs"])
    second, *_, last = manifest["generations"][1:]
    assert second["boards"] == ["board-1", "board-3"] and last["boards"] == ["board-1", "board-2", "board-3"]
    assert second["images"] > 0 and last["images"] > 0, "there are no other checkpoints"
    loaded = load([run.folder])
    assert not [problem for problem in loaded.problems if "recorded" in problem], loaded.problems
    steps = loaded.epochs[loaded.epochs["board"] == "board-1"]["steps"]
    assert steps.min() >= 14, "427 of 1280 images in batches of 32, or more with one board less"
    row(f"cable pulled for {LINK_S} s", f"succeeded; without training: {stops(manifest)}")


@pytest.mark.thorough
@pytest.mark.timeout(900)
def test_the_controller_is_killed_while_a_generation_begins(lab: Lab, start, row) -> None:
    run = start(GOING_ON)
    run.wait_for_epochs(2)
    lab.ssh(2, f"kill -9 {run.trainer(2)}")
    os.kill(run.process.pid, signal.SIGKILL)
    run.end()
    wait_until(lambda: generation(run, 1) == 2, "the boards go on")
    collected = playbook(lab, "collect", run_id=run.folder.name, run_config_runs_dir=str(run.folder.parent))
    assert collected.ok, collected.output
    manifest = run.manifest
    assert manifest["status"] == "succeeded" and len(manifest["generations"]) == 2
    assert list(load([run.folder]).epochs.groupby("board")["epoch"].count()) == [EPOCHS] * 3
    row("controller killed -9 while a generation begins", "the boards go on, playbooks/collect.yml has the logs")


@pytest.mark.thorough
@pytest.mark.timeout(900)
def test_without_a_witness_the_second_of_two_boards_waits_and_ends_by_name(lab: Lab, start, row) -> None:
    limits = {"train_alone_limit_s": 14, "train_unreachable_limit_s": 20}
    run = start({**GOING_ON, "tie_break": "lowest_rank"}, workers=2, **limits)
    run.wait_for_epochs(2)
    try:
        os.kill(lab.init(1), signal.SIGKILL)  # its power fails for good: it cannot say that it has failed
        assert run.end() != 0
    finally:
        assert lab.up().ok
        lab.root(1, f"rm -rf {RUNS}/*")
    second = run.manifest["boards"][1]
    assert "waited 14 s for more than half of board-1, board-2, or half with board-1" in second["cause"], second
    log = (run.folder / "boards/board-2/trainer.log").read_text(encoding="utf-8")
    assert "supervisor: waiting for more than half of board-1, board-2" in log
    row("the chief of 2 boards is lost, without a witness", second["cause"])


@pytest.mark.thorough
@pytest.mark.timeout(900)
def test_with_a_host_as_witness_the_last_board_goes_on_also_without_the_controller(lab: Lab, start, row) -> None:
    run = start({**GOING_ON, "tie_break": "witness"}, workers=2, elastic_witness="board-3")
    run.wait_for_epochs(2)
    os.kill(run.process.pid, signal.SIGKILL)
    run.end()
    lab.ssh(1, f"mv {RUNS}/*/run.json /tmp/")  # nobody can start it again
    kill_board(run, 1)
    wait_until(lambda: generation(run, 2) == 2, "the last board goes on")
    given = {"run_id": run.folder.name, "run_config_runs_dir": str(run.folder.parent), "elastic_witness": "board-3"}
    collected = playbook(lab, "collect", **given)
    manifest = run.manifest
    assert manifest["status"] == "succeeded" and manifest["generations"][-1]["boards"] == ["board-2"], collected.output
    assert lab.ssh(3, "ls .cluster-kit/witness; pgrep -f [w]itness.py") == "", "the witness has ended"
    row("controller and chief of 2 boards are lost, with a witness", f"succeeded; without training: {stops(manifest)}")


def wait_until(true: Callable[[], bool], what: str, limit_s: float = 120) -> None:
    """As Run.wait_until, whether or not a controller follows the run."""
    deadline = time.monotonic() + limit_s
    while not true():
        assert time.monotonic() < deadline, f"{what}: not in {limit_s} s"
        time.sleep(0.5)
