"""Goodput under faults: what counts as training, whose time it is, and what the model makes of it."""

import pytest

from benchmarks.lab import chaos
from benchmarks.lab.faults import KINDS, schedule
from benchmarks.lab.goodput import cost_s, covered, modelled, outcome, training


def window(end_s, elapsed_s):
    return {"event": "window", "time_s": end_s, "elapsed_s": elapsed_s}


def test_seconds_that_two_intervals_have_in_common_count_once():
    assert covered([(0, 4), (2, 6), (8, 30), (9, 10)], 1, 20) == 5 + 12
    assert covered([(25, 30), (-5, 0)], 0, 20) == 0


def test_steps_and_validation_are_training():
    epoch = {"event": "epoch", "time_s": 30.0, "epoch_s": 25.0, "train_s": 20.0}
    assert training([window(20, 8), {"event": "resume", "time_s": 5}, epoch]) == [(12, 20), (25.0, 30.0)]


def test_goodput_is_of_the_time_in_which_boards_lived():
    kept = {"event": "checkpoint", "stall_s": 0.5, "time_s": 65}
    records = {"a": [window(60, 60), kept, window(100, 20), {"event": "generation", "number": 2, "time_s": 70}]}
    found = outcome({**records, "b": [window(50, 50)]}, {"a": [], "b": [(50, 100)]}, 0, 100)
    assert (found["living_s"], found["trained_s"], found["goodput"]) == (150, 130, pytest.approx(130 / 150))
    assert (found["generations"], found["checkpoints_share"]) == (1, 0.0), "the other board had no checkpoint"


def test_checkpoints_cost_the_share_of_the_board_that_set_the_pace():
    boards = {"a": [window(50, 50), {"event": "checkpoint", "stall_s": 0.5, "time_s": 50}]}
    boards["b"] = [window(50, 50), {"event": "checkpoint", "stall_s": 2.0, "time_s": 50}]
    assert outcome(boards, {"a": [], "b": []}, 0, 100)["checkpoints_share"] == 0.01


def test_what_was_made_while_a_board_was_away_does_not_raise_its_goodput():
    found = outcome({"a": [window(100, 100)]}, {"a": [(0, 50)]}, 0, 100)
    assert (found["living_s"], found["trained_s"], found["goodput"]) == (50, 50, 1)


def test_a_board_without_records_has_trained_nothing():
    assert outcome({}, {"a": []}, 0, 100)["goodput"] == 0


def test_the_model_gives_back_what_was_measured():
    measured = {"lasts_s": 1500, "faults": 5, "goodput": 0.8}
    assert modelled(300, cost_s([measured])) == pytest.approx(0.8)
    assert modelled(7200, 75) == pytest.approx(7200 / 7275)
    twice = cost_s([measured, {"lasts_s": 1500, "faults": 10, "goodput": 0.8}])
    assert cost_s([measured]) == pytest.approx(75) and twice == pytest.approx(50)


def test_faults_are_of_all_kinds_and_the_same_for_a_seed():
    faults = list(schedule(1, 120, 12_000, 3))
    assert faults == list(schedule(1, 120, 12_000, 3)) != list(schedule(2, 120, 12_000, 3))
    assert {fault.kind for fault in faults[: len(KINDS)]} == set(KINDS) and {it.board for it in faults} == {0, 1, 2}
    times = [fault.at_s for fault in faults]
    assert times == sorted(times) and times[-1] < 12_000 and 12_000 / len(times) == pytest.approx(120, rel=0.3)


def test_the_table_has_what_was_measured_and_what_the_model_says():
    row = {"mean_s": 300, "faults": 5, "generations": 9, "goodput": 0.8, "gave_up": False, "lasts_s": 1500}
    row |= {"checkpoints_share": 0.005}
    result = {"rows": [{**row, "kinds": "reboot 5"}], "resumes": [{"cost_s": 100, "stopped_s": 60}]}
    result["configuration"] = {"checkpoint_steps": 50}
    lines = chaos.table(result).splitlines()
    assert lines[2] == "| 5 min | the lab | 5 | 9 | 0.800 | 0.750 | 0.231 |"
    assert lines[4] == "| 2 h | the model | | | 0.990 | 0.986 | 0.878 |"
    assert "Faults every 5 min: reboot 5." in lines[-1] and "cost 75 s of the boards' time" in lines[-1]
    assert "Checkpoints every 50 steps took 0.50% of the steps' time" in lines[-1]
    without = {**row, "faults": 0, "kinds": "", "goodput": 1.0, "gave_up": True}
    assert "1.000 (the run ended early)" in chaos.table({**result, "rows": [without]})
