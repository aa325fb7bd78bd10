"""The estimate of the time to the target on the paper's task."""

import pytest

from benchmarks.docs.estimate import PASS_S, estimate

ALONE = {"boards": 1, "core_share": 0.5, "together": False, "startup_s": 20.0, "train_s": [14.0, 10.0, 10.0]}


def test_boards_that_lose_nothing_are_as_much_sooner_as_there_are_boards_but_for_the_start():
    two = {"boards": 2, "core_share": 0.5, "together": False, "startup_s": 20.0, "train_s": [9.0, 5.0, 5.0]}
    one_row, two_row = estimate({1: 6.0, 2: 6.0}, [ALONE, two])
    assert one_row["start_s"] == pytest.approx(12)  # 20 s and 4 s of tracing, with half a core
    assert one_row["seconds"] == pytest.approx(12 + 6 * PASS_S) and one_row["sooner"] == 1
    assert two_row["pass_s"] == pytest.approx(PASS_S / 2)
    assert two_row["sooner"] == pytest.approx((12 + 6 * PASS_S) / (12 + 3 * PASS_S))
    assert two_row["short_s"] == pytest.approx(24 + 30) and two_row["short_sooner"] == pytest.approx(84 / 54)
    assert two_row["bound"] == pytest.approx(two_row["short_sooner"])


def test_a_first_pass_made_together_counts_at_its_own_time_and_more_passes_cost():
    two = {"boards": 2, "core_share": 0.5, "together": True, "startup_s": 20.0, "train_s": [15.0, 5.0, 5.0]}
    _, row = estimate({1: 6.0, 2: 7.5}, [ALONE, two])
    assert row["seconds"] == pytest.approx(10 + PASS_S * (1.5 + 6.5 * 0.5))
    assert row["short_s"] == pytest.approx(20 + 15 + 6.5 * 5)


def test_what_was_not_measured_has_no_row():
    assert [row["boards"] for row in estimate({1: 6.0, 4: 6.0, 8: 7.0}, [ALONE])] == [1]
