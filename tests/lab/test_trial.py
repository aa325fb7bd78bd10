"""The task `trial` on emulated boards: every method of synchronising, with the whole model."""

from __future__ import annotations

from pathlib import Path

import pytest
from conftest import Lab, training_lab
from test_run import WHOLE, Experiment

from benchmarks.lab.sync import trial_rows

pytestmark = [pytest.mark.lab, pytest.mark.tensorflow, pytest.mark.thorough]

lab = training_lab(18)


@pytest.mark.timeout(1800)  # every method is traced, on all boards
def test_every_method_sends_what_theory_says(lab: Lab, tmp_path: Path) -> None:
    images = {"train_images": 320, "validation_images": 64, "sharding": "sharded"}
    experiment = Experiment(lab, tmp_path / "runs")
    outcome = experiment.run(2, {**WHOLE, "epochs": 1, "data": images}, run_config_task="trial")
    assert outcome.ok, outcome.output
    rows = {row["sync"]: row for row in trial_rows(experiment.folders()[0])}
    sent = {name: row for name, row in rows.items() if row["expected_bytes_per_step"]}
    assert len(rows) == len(sent) + 2  # one board, and boards that exchange nothing
    # heartbeats, and what the controller follows, which is not of the method
    beside_per_s = rows["no_sync"]["sent_bytes_per_step"] / rows["no_sync"]["step_s"]
    for name, row in sent.items():
        own = row["sent_bytes_per_step"] - beside_per_s * row["step_s"]
        assert own == pytest.approx(row["expected_bytes_per_step"], rel=0.02), name
        assert row["images_per_s"] > 0 and row["communication_s"] + row["overlapped_s"] > 0, name
    gradient = sent["keras"]["expected_bytes_per_step"]
    # Keras sends loss and accuracy as well: six numbers
    assert sent["allreduce, float16"]["expected_bytes_per_step"] == pytest.approx((gradient - 6 * 4) / 2)
    # buckets leave while the backward pass goes on, on a board with a single core, too
    buckets = sent["allreduce, float16, bucket_bytes 2000000"]
    assert buckets["overlapped_s"] > 0.3 * sent["allreduce, float16"]["communication_s"]
    assert sent["local_sgd, period 16"]["expected_bytes_per_step"] == pytest.approx(gradient / 2 / 16, rel=0.02)
