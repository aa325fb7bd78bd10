"""Boards that compute slower than the others."""

import pytest

from analysis import compare, load
from analysis.comparison.stragglers import by_board, computing
from tests.data.build_runs import STEPS, build_run


def problems(parent):
    return compare(load(parent.iterdir())).problems


def test_a_slow_board_is_named_with_what_it_costs_and_the_remedy(tmp_path):
    build_run(tmp_path, "one", workers=1)
    build_run(tmp_path, "two", workers=2, step_s=1.2, slower={1: 1.25}, override={"sync": {"method": "allreduce"}})
    (problem,) = problems(tmp_path)
    # 0.8 s and 1.0 s: shared out by speed, a step of both computes 2 / (1 / 0.8 + 1 / 1.0) = 0.889 s
    lost_s = STEPS * (1.0 - 2 / (1 / 0.8 + 1))
    assert problem == (
        "2 boards, allreduce: board-2 computes 25 % longer per step than board-1, which makes an epoch "
        f"{lost_s:.2f} s longer than with images in proportion to speed: give board-2 relative_speed 0.80 in "
        "the inventory, and data.sharding proportional"
    )


def test_plain_keras_cannot_share_in_proportion(tmp_path):
    build_run(tmp_path, "two", workers=2, slower={0: 1.2})
    (problem,) = problems(tmp_path)
    assert problem.endswith(" (with another sync.method than keras, whose batches are all of the same size)")


def test_shares_that_do_not_fit_are_to_be_corrected(tmp_path):
    override = {"data": {"sharding": "proportional"}, "sync": {"method": "allreduce"}}
    build_run(tmp_path, "two", workers=2, slower={0: 1.2}, override=override)
    (problem,) = problems(tmp_path)
    assert problem.startswith("2 boards, allreduce, proportional: board-1 computes 20 % longer")
    assert problem.endswith("give board-1 relative_speed 0.83 in the inventory")


def test_with_local_sgd_the_run_can_measure_speeds_itself(tmp_path):
    sync = {"method": "local_sgd"}
    build_run(tmp_path, "two", workers=2, slower={1: 1.3}, override={"sync": sync})
    (problem,) = problems(tmp_path)
    assert problem.endswith(": set data.sharding to measured")
    build_run(
        tmp_path / "other", "two", workers=2, slower={1: 1.3}, override={"sync": sync, "data": {"sharding": "measured"}}
    )
    assert problems(tmp_path / "other") == []


@pytest.mark.parametrize("slower", [{}, {1: 1.09}])
def test_boards_that_differ_little_are_none(tmp_path, slower):
    build_run(tmp_path, "two", workers=2, slower=slower)
    assert problems(tmp_path) == []


def test_runs_of_an_arm_count_together(tmp_path):
    for seed, slower in enumerate(({1: 1.3}, {}, {}, {}), 1):
        build_run(tmp_path, f"run-{seed}", workers=2, seed=seed, slower=slower)
    assert problems(tmp_path) == []


def test_computing_is_what_steps_did_not_stand_still_for(tmp_path):
    build_run(tmp_path, "two", workers=2, step_s=1.2)
    steps = computing(load(tmp_path.iterdir()).epochs)
    assert steps["epoch"].tolist() == [2, 3, 2, 3]
    assert steps["compute_s"].to_list() == pytest.approx([0.8] * 4)
    assert by_board(steps)["board"].tolist() == ["board-1", "board-2"]
