"""Strategies of distribution from the main command, on emulated boards."""

from __future__ import annotations

import contextlib
import json
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import test_faults
from conftest import Lab, training_lab

from analysis import compare, load
from trainer.contract.records import read_records

if TYPE_CHECKING:
    from conftest import Outcome

pytestmark = [pytest.mark.lab, pytest.mark.tensorflow]

lab = training_lab(27)
start = test_faults.start
SERVERS = {
    "strategy": "parameter_server",
    "epochs": 2,
    "batch_size": 16,
    "window_steps": 4,
    "data": {"source": "synthetic", "train_images": 1024, "validation_images": 64, "sharding": "sharded"},
    "model": {"image_size": 32, "weights": "none"},
    "sync": {"method": "asynchronous"},
}


def run(lab: Lab, runs: Path, workers: int, override: dict[str, Any]) -> Outcome:
    extra = {"override": override, "run_config_runs_dir": str(runs)}
    given = ["-e", f"workers={workers}", "-e", json.dumps(extra)]
    return lab.ansible("ansible-playbook", "playbooks/run_experiment.yml", *given)


def records(folder: Path, rank: int, kind: str) -> list[dict[str, Any]]:
    events = read_records(folder / f"boards/board-{rank + 1}/events.jsonl")[0]
    return [record for record in events if record["event"] == kind]


@pytest.mark.parametrize("servers", [0, pytest.param(1, marks=pytest.mark.thorough)])
def test_parameter_servers_train_and_send_what_they_must(lab: Lab, tmp_path: Path, servers: int) -> None:
    outcome = run(lab, tmp_path / "runs", 2, {**SERVERS, "servers": servers})
    assert outcome.ok, outcome.output
    (folder,) = (tmp_path / "runs").iterdir()
    manifest = json.loads((folder / "manifest.json").read_text())
    assert (manifest["status"], manifest["strategy"]) == ("succeeded", "parameter_server")
    (start,) = records(folder, 0, "start")
    held = [0] * (2 - servers) * bool(servers) + start["server_bytes"]  # by rank
    epochs = [[record for record in records(folder, rank, "epoch") if record["epoch"] == 2] for rank in range(2)]
    steps = [sum(record["steps"] for record in of_board) for of_board in epochs]
    assert sum(steps) == 64  # so many that one on its way at the end counts little
    served = [records(folder, rank, "served")[1:] for rank in range(2)]
    for rank in range(2):
        (sent,) = [record["sent_bytes"] for record in (*epochs[rank], *served[rank])]
        expected = steps[rank] * (sum(held) - held[rank]) + (sum(steps) - steps[rank]) * held[rank]
        assert sent == pytest.approx(expected, rel=0.05), (sent, expected)
    loaded = load([folder])
    assert loaded.problems == []
    (arm,) = compare(loaded).arms.to_dict("records")
    label = "asynchronous, servers=1, sharded" if servers else "asynchronous, sharded"
    assert arm["label"] == label and arm["images_per_s"] > 0


ONE = {key: value for key, value in SERVERS.items() if key != "sync"}


@pytest.mark.thorough
@pytest.mark.parametrize(
    ("workers", "override"),
    [
        (1, {**ONE, "strategy": "mirrored"}),
        (1, {**ONE, "strategy": "central_storage"}),
        (2, {**ONE, "strategy": "multi_worker_mirrored"}),
        (2, SERVERS),
        (2, {**SERVERS, "servers": 1}),
    ],
    ids=["mirrored", "central_storage", "multi_worker_mirrored", "shared servers", "dedicated server"],
)
def test_a_stopped_run_goes_on_with_its_strategy(lab: Lab, start: Any, workers: int, override: dict[str, Any]) -> None:
    lasting = {**override, "epochs": 12}
    run = start(lasting, workers=workers, train_environment=test_faults.slowly(lab))
    run.wait_until(lambda: made(run) >= 2, "two epochs")
    assert test_faults.playbook(lab, "stop").ok
    assert run.end() != 0 and run.manifest["status"] != "succeeded"
    before = made(run)
    assert before < 12
    resumed = test_faults.playbook(
        lab, "run_experiment", resume=run.folder.name, run_config_runs_dir=str(run.folder.parent)
    )
    assert resumed.ok, resumed.output
    assert (run.manifest["status"], run.manifest["strategy"]) == ("succeeded", override["strategy"])
    loaded = load([run.folder])
    assert loaded.problems == []
    assert sorted(loaded.epochs.loc[loaded.epochs["rank"] == 0, "epoch"]) == list(range(1, 13))
    (arm,) = compare(loaded).arms.to_dict("records")
    assert arm["images_per_s"] > 0


def made(run: test_faults.Run) -> int:
    """Epochs of the chief that the controller has seen."""
    with contextlib.suppress(OSError, ValueError):
        return (run.folder / "boards/board-1/events.jsonl").read_text().count('"event": "epoch"')
    return 0


def test_a_tpu_that_no_board_has_is_refused_before_anything_starts(lab: Lab, tmp_path: Path) -> None:
    began_s = time.monotonic()
    outcome = run(lab, tmp_path / "runs", 1, {"strategy": "tpu"})
    assert not outcome.ok and time.monotonic() - began_s < 20
    assert "board.tpu" in outcome.output and "a TPU (strategy tpu)" in outcome.output, outcome.output
    assert not (tmp_path / "runs").exists()
