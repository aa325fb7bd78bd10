"""Predicts a run's time from earlier measurements on the same boards."""

import json

import pytest

from controller.foretell import expected
from tests.data.build_runs import build_prediction
from trainer.contract.config import parse
from trainer.contract.layout import write_json

BOARDS = ["board-1", "board-2"]
STEP_S = {"one board": 0.4, "no_sync": 0.4, "keras": 1.2, "local_sgd, period 16": 0.42}


def config(**changes):
    data = {"source": "synthetic", "train_images": 6400, **changes.pop("data", {})}
    return parse({"epochs": 10, **changes, "data": data})


def test_a_run_takes_its_steps_and_its_validation_in_every_epoch(tmp_path):
    build_prediction(tmp_path, step_s=STEP_S, validation_s=3.0)
    one = expected(config(), 1, BOARDS, [tmp_path])
    two = expected(config(), 2, BOARDS, [tmp_path])
    assert one is not None and two is not None
    assert one.epoch_s == pytest.approx(100 * 0.4 + 2 * 3.0, rel=0.01), "one board validates what two share"
    assert two.epoch_s == pytest.approx(100 * 1.2 + 3.0, rel=0.03), "the link would need 0.01 s more than was measured"
    assert one.total_s == pytest.approx(10 * one.epoch_s + 5.0, rel=0.01), "and TensorFlow takes 5 s to start"
    assert two.energy_j is None and two.measured_in == ["20250101T000000Z-test-predict-w2-s1"]


def test_boards_that_share_the_images_make_half_the_steps(tmp_path):
    build_prediction(tmp_path, step_s=STEP_S, validation_s=3.0)
    found = expected(config(data={"sharding": "sharded"}, sync={"method": "local_sgd"}), 2, BOARDS, [tmp_path])
    assert found is not None and found.epoch_s == pytest.approx(50 * 0.42 + 3.0, rel=0.05)


@pytest.mark.parametrize(
    ("changes", "boards"),
    [
        ({"batch_size": 32}, BOARDS),
        ({"model": {"image_size": 32}}, BOARDS),
        ({"sync": {"method": "auto"}}, BOARDS),
        ({"data": {"train_images": None, "source": "cifar100"}}, BOARDS),
        ({}, ["board-1", "board-3"]),
    ],
    ids=["another batch", "another model", "a method that is chosen later", "images nobody counted", "another board"],
)
def test_what_does_not_fit_is_not_used(tmp_path, changes, boards):
    build_prediction(tmp_path, step_s=STEP_S, validation_s=3.0)
    assert expected(config(**changes), 2, boards, [tmp_path]) is None


@pytest.mark.parametrize("status", ["failed", "interrupted", None])
def test_a_measurement_that_was_stopped_is_not_used(tmp_path, status):
    manifest = build_prediction(tmp_path, step_s=STEP_S, validation_s=3.0) / "manifest.json"
    assert expected(config(), 2, BOARDS, [tmp_path]) is not None
    if status:
        write_json(manifest, {**json.loads(manifest.read_text()), "status": status})
    else:
        manifest.unlink()
    assert expected(config(), 2, BOARDS, [tmp_path]) is None


def test_without_a_measurement_nothing_is_expected(tmp_path):
    assert expected(config(), 2, BOARDS, [tmp_path]) is None
