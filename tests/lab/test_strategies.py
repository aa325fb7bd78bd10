"""Strategies of distribution from the main command, on emulated boards."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from conftest import Lab, training_lab

from analysis import compare, load
from trainer.contract.records import read_records

if TYPE_CHECKING:
    from conftest import Outcome

pytestmark = [pytest.mark.lab, pytest.mark.tensorflow]

lab = training_lab(27)
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
    assert arm["label"] == "asynchronous, sharded" + (", servers=1" if servers else "") and arm["images_per_s"] > 0


def test_a_tpu_that_no_board_has_is_refused_before_anything_starts(lab: Lab, tmp_path: Path) -> None:
    began_s = time.monotonic()
    outcome = run(lab, tmp_path / "runs", 1, {"strategy": "tpu"})
    assert not outcome.ok and time.monotonic() - began_s < 20
    assert "board.tpu" in outcome.output and "a TPU (strategy tpu)" in outcome.output, outcome.output
    assert not (tmp_path / "runs").exists()
