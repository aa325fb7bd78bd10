"""The verdict's sentences."""

import pytest

from analysis import compare, load
from analysis.verdict import verdict
from tests.data.build_runs import build_run

REAL = {"emulated": False}


def said(parent):
    return compare(load(parent.iterdir())).verdict


def test_two_boards_beside_the_paper(tmp_path):
    build_run(tmp_path, workers=1, step_s=0.4)
    build_run(tmp_path, workers=2, step_s=1.25)
    assert said(tmp_path) == (
        "Two boards took 2.84 times as long per epoch as one (the paper: 3.03). Each saw every "
        "image; together they processed 102 images/s, one board alone 160: a speed-up of 0.64, on "
        "emulated boards with synthetic images (n=1 each: no spread)."
    )


def test_two_boards_that_are_faster_per_epoch(tmp_path):
    sharded = {"data": {"sharding": "sharded"}}
    build_run(tmp_path, workers=1, step_s=0.4, facts=REAL, synthetic=False)
    build_run(tmp_path, workers=2, step_s=0.2, facts=REAL, synthetic=False, override=sharded)
    assert said(tmp_path) == (
        "Two boards (keras, sharded) took 43 % less time per epoch than one. Together they "
        "processed 640 images/s, one board alone 160: a speed-up of 4.00 (n=1 each: no spread)."
    )


def test_as_fast_as_one(tmp_path):
    build_run(tmp_path, workers=1)
    build_run(tmp_path, workers=2)
    assert said(tmp_path).startswith("Two boards took as long per epoch as one (the paper: 3.03 times).")


def test_the_fastest_arm_is_named_where_it_is_another(tmp_path):
    build_run(tmp_path, workers=1, step_s=0.4)
    build_run(tmp_path, workers=2, step_s=1.2, seed=1)
    build_run(tmp_path, workers=2, step_s=1.2, seed=2)
    build_run(tmp_path, workers=12, step_s=0.6)
    sentences = said(tmp_path)
    assert "(n=1 to 2)" in sentences
    assert sentences.endswith(
        "The fastest of the 3 arms: 12 boards, a speed-up of 8.00, with a final accuracy of 0.300 (one board: 0.300)."
    )


def test_one_arm_only(tmp_path):
    build_run(tmp_path, workers=1, step_s=0.4, synthetic=False)
    assert said(tmp_path) == (
        "One board took 3.7 s per epoch and processed 160 images/s, on emulated boards "
        "(n=1: no spread). There is nothing to compare it with: run the same experiment on more "
        "boards, such as -e workers=2."
    )


def test_one_arm_of_two_boards(tmp_path):
    build_run(tmp_path, workers=2, step_s=0.4)
    assert said(tmp_path).endswith("run the same experiment on one board, -e workers=1.")


def test_several_arms_without_one_board(tmp_path):
    build_run(tmp_path, workers=2, step_s=0.4)
    build_run(tmp_path, workers=3, step_s=0.4)
    sentences = said(tmp_path)
    assert sentences.startswith("Of 2 arms the fastest: three boards took 3.7 s per epoch and")
    assert "Without a run on one board there is no speed-up" in sentences


def test_runs_of_one_epoch_are_compared_per_step(tmp_path):
    build_run(tmp_path, workers=1, epochs=1, step_s=0.4)
    build_run(tmp_path, workers=2, epochs=1, step_s=1.2)
    assert said(tmp_path).startswith("Two boards took 3.00 times as long per step as one. ")


def test_one_board_under_the_strategy_against_one_without(tmp_path):
    build_run(tmp_path, "a", step_s=0.4)
    build_run(tmp_path, "b", step_s=0.5, override={"sync": {"one_board": "mwms"}})
    assert said(tmp_path).startswith(
        "One board (keras) took 1.22 times as long per epoch as one. It processed 128 images/s,"
    )


@pytest.mark.parametrize("lost", [["epoch_ratio", "step_ratio"], ["speedup"]])
def test_what_is_not_known_is_said_to_be_so(tmp_path, lost):
    build_run(tmp_path, workers=1)
    build_run(tmp_path, workers=2)
    arms = compare(load(tmp_path.iterdir())).arms
    arms.loc[1, lost] = float("nan")
    sentences = verdict(arms, rehearsal=False, synthetic=False)
    assert "nan" not in sentences
    assert "could not be timed against one" in sentences or "speed-up is not known" in sentences
