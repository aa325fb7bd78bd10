"""What the playbook says of a run that goes on."""

import pytest

from analysis.runs.progress import Progress, duration

START = {
    "event": "start",
    "workers": 2,
    "steps_per_epoch": 4,
    "board_batch": 64,
    "gradient_bytes": 11_724_176,
}


def window(elapsed_s):
    return {"event": "window", "steps": 1, "elapsed_s": elapsed_s}


def epoch(number, train_s, **changes):
    return {
        "event": "epoch",
        "epoch": number,
        "steps": 4,
        "images": 256,
        "loss": 2.5,
        "val_accuracy": 0.25,
        "communication_s": 0.5 * train_s,
        "waiting_s": 0.1 * train_s,
        "train_s": train_s,
        "epoch_s": train_s + 1.0,
        **changes,
    }


def test_an_epoch_is_one_line():
    progress = Progress(10, 2)
    assert "2 boards, 4 steps of 64 images" in progress.take(START)
    line = progress.take(epoch(1, 4.0))
    parts = ("epoch   1/10", "loss 2.500", "val_accuracy 0.250", "128 images/s", "60% stalled", "5.0 s", "45 s left")
    assert line == "  ".join(parts)
    assert progress.take(window(1.0)) is None


def test_the_hottest_board_and_the_power_of_all_are_told_where_they_are_known():
    hot = {"temperature_c": {"CPU": 51.5, "GPU": 60.6}, "power_mw": {"VDD_GPU_SOC": 20_000, "VDD_CPU_CV": 5_400}}
    cool = {"temperature_c": {"CPU": 40.0}, "power_mw": {"VDD_IN": 30_000, "VDD_SOC": 9_000}}
    assert "  b 61 °C  55 W  " in Progress(9, 2).take(epoch(1, 4.0), {"a": cool, "b": hot})
    line = Progress(9, 2).take(epoch(1, 4.0), {"a": {**cool, "power_mw": {}}, "b": {**hot, "temperature_c": {}}})
    assert "  a 40 °C  " in line and " W " not in line, "a sum without one of them would be made up"


def test_what_only_the_first_epoch_does_does_not_count_in_the_time_left():
    progress = Progress(10, 2)
    for seconds in (20.0, 2.0, 2.0, 2.0):  # it traces in its first step
        progress.take(window(seconds))
    progress.take(epoch(1, 26.0))
    assert progress.left_s() == pytest.approx(9 * (4 * 2.0 + 1.0))
    progress.take(epoch(2, 10.0))
    assert progress.left_s() == pytest.approx(8 * 11.0)


def test_time_left_shrinks_within_an_epoch_but_not_beyond_it():
    progress = Progress(10, 2)
    progress.take(epoch(1, 4.0))  # 5 s with its validation
    progress.take(window(1.5))
    assert progress.left_s() == pytest.approx(9 * 5.0 - 1.5)
    for _ in range(4):
        progress.take(window(1.5))  # it takes longer than those before
    assert progress.left_s() == pytest.approx(8 * 5.0)


def test_within_the_first_epoch_the_windows_after_the_one_that_traces_tell():
    progress = Progress(10, 2)
    progress.take(START)
    assert progress.left_s() is None
    progress.take(window(20.0))
    assert progress.left_s() is None
    progress.take(window(2.0))
    assert progress.left_s() == pytest.approx((40 - 2) * 2.0)


def test_a_run_that_goes_on_forgets_how_long_an_earlier_attempt_took():
    progress = Progress(10, 2)
    progress.take(START)
    for number in (1, 2, 3):
        progress.take(epoch(number, 100.0))
    progress.take({"event": "resume", "epoch": 2})
    assert progress.left_s() is None
    for seconds in (20.0, 2.0):
        progress.take(window(seconds))
    assert progress.left_s() == pytest.approx((8 * 4 - 2) * 2.0)


def test_waiting_that_was_not_measured_is_part_of_communication():
    assert "50% stalled" in Progress(2, 2).take(epoch(1, 4.0, waiting_s=None))


@pytest.mark.parametrize(
    "seconds, text", [(0.2, "0 s"), (99, "99 s"), (150, "2 min"), (5400, "90 min"), (11_100, "3 h 05 min")]
)
def test_durations_are_rounded_as_people_do(seconds, text):
    assert duration(seconds) == text


def test_a_new_generation_is_one_line_and_may_have_another_chief():
    progress = Progress(10, 3, "board-1")
    record = {
        "event": "generation",
        "number": 2,
        "boards": ["board-2", "board-3"],
        "epoch": 4,
        "lost": ["board-1"],
        "cause_kind": "network",
        "cause": "no word from board-1",
        "stopped_s": 10.0,
        "discarded_s": 1.0,
    }
    line = progress.take(record)
    assert line == ("generation 2: board-2, board-3 go on from epoch 4, without board-1 (no word from board-1)")
    assert progress.chief == "board-2"
    assert "128 images/s" in progress.take(epoch(5, 4.0)), "of two boards"
