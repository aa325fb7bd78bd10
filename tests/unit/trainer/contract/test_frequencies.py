"""Frequencies of a board's clocks, and what lowers them."""

import pytest

from tests.unit.unreadable import answer_with_eagain
from trainer.contract.frequencies import Lowered, over_current_events, pinned, throttles, unpinned


def write(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"{text}\n")
    return path


@pytest.fixture
def sys_(tmp_path):
    write(tmp_path / "class/hwmon/hwmon0/name", "pwmfan")
    write(tmp_path / "class/hwmon/hwmon0/oc1_event_cnt", 7)
    write(tmp_path / "class/hwmon/hwmon3/name", "soctherm_oc")
    for alarm, count in (("oc1", 0), ("oc2", 15), ("oc3", 37)):
        write(tmp_path / f"class/hwmon/hwmon3/{alarm}_event_cnt", count)
        write(tmp_path / f"class/hwmon/hwmon3/{alarm}_throt_en", 1)
    for number, (kind, state) in enumerate((("pwm-fan", 3), ("cpu-throttle-alert", 0), ("gpu-throttle-alert", 1))):
        write(tmp_path / f"class/thermal/cooling_device{number}/type", kind)
        write(tmp_path / f"class/thermal/cooling_device{number}/cur_state", state)
    return tmp_path


def test_pinned_is_what_cannot_change():
    clocks = {"policy0": [5, 5], "17000000.ga10b": [1, 3]}
    assert unpinned(clocks) == {"17000000.ga10b": [1, 3]} and pinned(clocks) is False
    assert pinned({"policy0": [5, 5]}) is True
    assert pinned({}) is None and pinned(None) is None


def test_events_and_throttling_are_told_by_name(sys_):
    assert over_current_events(sys_) == {"oc1": 0, "oc2": 15, "oc3": 37}
    assert throttles(sys_) == {"cpu-throttle-alert": False, "gpu-throttle-alert": True}


def test_a_board_that_counts_nothing_says_null(tmp_path):
    assert (over_current_events(tmp_path), throttles(tmp_path)) == (None, None)
    lowered = Lowered(tmp_path)
    lowered.look(1.0)
    assert (lowered.over_current_events, lowered.throttled_s) == (None, None)


def test_over_a_run_counts_begin_at_zero(sys_):
    lowered = Lowered(sys_)
    lowered.look(1.0)
    write(sys_ / "class/hwmon/hwmon3/oc3_event_cnt", 40)
    write(sys_ / "class/thermal/cooling_device1/cur_state", 2)
    lowered.look(1.5)
    write(sys_ / "class/thermal/cooling_device1/cur_state", 0)
    write(sys_ / "class/thermal/cooling_device2/cur_state", 0)
    lowered.look(1.0)
    assert lowered.over_current_events == {"oc1": 0, "oc2": 0, "oc3": 3}
    assert lowered.throttled_s == {"cpu-throttle-alert": 1.5, "gpu-throttle-alert": 2.5}


def test_a_counter_that_begins_anew_or_cannot_be_read_takes_nothing_back(sys_, monkeypatch):
    lowered = Lowered(sys_)
    write(sys_ / "class/hwmon/hwmon3/oc2_event_cnt", 20)
    lowered.look(1.0)
    write(sys_ / "class/hwmon/hwmon3/oc2_event_cnt", 2)
    answer_with_eagain(monkeypatch, sys_ / "class/hwmon/hwmon3/oc3_event_cnt")
    lowered.look(1.0)
    assert lowered.over_current_events == {"oc1": 0, "oc2": 7, "oc3": 0}
    monkeypatch.undo()
    write(sys_ / "class/hwmon/hwmon3/oc3_event_cnt", 38)
    lowered.look(1.0)
    assert lowered.over_current_events == {"oc1": 0, "oc2": 7, "oc3": 1}
