"""What is worth a warning, and what is not."""

from __future__ import annotations

import pytest

from analysis.watch.alerts import alerts
from analysis.watch.board import Board, Load, Steps


def board(name: str = "board-1", compute_s: float = 0.1, celsius: float | None = 60.0) -> Board:
    """One that trains, heard of just now."""
    made = Board(name, 5, began_at_s=1000.0)
    made.reached = True
    made.steps = Steps(epoch=2, done=10, step_s=2 * compute_s, stall_share=0.5)
    made.compute_s = [compute_s] * 8
    made.load = Load(memory_bytes=None, cpu=None, gpu=None, hottest_c=celsius, power_w=None)
    return made


def test_boards_that_do_well_give_no_warning() -> None:
    assert alerts([board(), board("board-2", 0.11)], 1010.0) == []


def test_a_board_that_is_hot_is_named_with_its_temperature() -> None:
    (told,) = alerts([board(), board("board-2", celsius=96.5)], 1010.0)
    assert told == "board-2 is at 96.5 C: an Orin throttles at 99 C"
    assert alerts([board(celsius=94.0)], 1010.0) == []
    assert alerts([board(celsius=None)], 1010.0) == []


@pytest.mark.parametrize(("last_s", "celsius", "warns"), [(0.13, 88.0, True), (0.13, 80.0, False), (0.11, 88.0, False)])
def test_a_warm_board_that_became_slower_may_be_throttled(last_s: float, celsius: float, warns: bool) -> None:
    slowed = board(celsius=celsius)
    slowed.compute_s.append(last_s)
    told = alerts([slowed], 1010.0)
    assert told == (
        ["board-1 computes 30% longer per step than before, at 88.0 C: it may be throttled"] if warns else []
    )


def test_throttling_is_told_while_it_lasts_and_afterwards() -> None:
    told = board("board-2")
    told.throttling = {"over_current_events": {"oc2": 0, "oc3": 4}, "throttled_s": {"cpu-throttle-alert": 3.0}}
    for now_s in (1010.0, None):
        current, heat = alerts([board(), told], now_s)
        assert current.startswith("board-2 throttled its clocks 4 times (peak power 4)")
        assert heat.startswith("board-2 was throttled by heat for 3 s (cpu-throttle-alert)")


def test_a_board_that_computes_longer_than_the_others_is_named() -> None:
    (told,) = alerts([board(), board("board-2", 0.12), board("board-3", 0.101)], 1010.0)
    assert told == "board-2 computes 120 ms per step, the others 100 ms: they wait for it"


def test_a_single_slow_window_is_no_slow_board() -> None:
    told = board("board-2")
    told.compute_s.append(0.5)
    assert alerts([board(), told], 1010.0) == []
    told.compute_s = [0.5, 0.5]  # hardly begun
    assert alerts([board(), told], 1010.0) == []


def test_silence_is_told_of_records_and_of_telemetry() -> None:
    told = board()
    told.moved_at_s = 1090.0
    assert alerts([told], 1100.0) == ["board-1 has sent no telemetry for 100 s"]
    told.moved_at_s, told.sampled_at_s = 1065.0, 1099.0
    assert alerts([told], 1100.0) == ["board-1 has made no step and no record for 35 s"]
    told.steps = None  # the first step is traced, which takes long
    assert alerts([told], 1100.0) == []


def test_a_board_out_of_reach_is_named_with_the_reason_and_is_not_called_silent() -> None:
    told = board()
    told.lose("timed out", 1050.0)
    assert alerts([told], 1100.0) == ["board-1 has been unreachable for 50 s: timed out"]


def test_a_board_that_has_ended_is_not_silent() -> None:
    told = board()
    told.result = {"status": "succeeded"}
    assert alerts([told], 2000.0) == []


def test_of_a_run_that_is_over_neither_silence_nor_heat_is_told() -> None:
    told = board(celsius=97.0)
    told.lose("timed out", 1050.0)
    assert alerts([told], None) == []


@pytest.mark.parametrize(
    "clock",
    [
        {"offset_s": -0.25, "uncertainty_s": 0.001},
        {"start": {"offset_s": 0.01}, "end": {"offset_s": -0.25}, "schema": 1},
    ],
)
def test_a_clock_that_is_off_is_told_however_it_was_recorded(clock: dict) -> None:
    told = board()
    told.clock = clock
    (sentence,) = alerts([told], None)
    assert sentence.startswith("board-1's clock is -0.250 s off the controller's")


@pytest.mark.parametrize(
    "clock", [None, {}, {"start": {"offset_s": 0.05}}, {"start": {"offset_s": None}}, {"start": 3}]
)
def test_a_clock_that_is_right_or_unknown_is_no_warning(clock: dict | None) -> None:
    told = board()
    told.clock = clock
    assert alerts([told], 1010.0) == []


def test_lines_that_could_not_be_read_are_counted() -> None:
    told = board()
    told.odd_lines = 2
    assert alerts([told], None) == ["board-1: 2 lines of its records cannot be read"]
