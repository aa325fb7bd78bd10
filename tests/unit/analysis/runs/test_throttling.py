"""Sentences of what lowered a board's clocks."""

import pytest

from analysis.runs.throttling import sentences


def test_each_cause_is_told_with_its_count():
    told = list(
        sentences(
            "orin-1",
            {
                "over_current_events": {"oc1": 0, "oc2": 1, "oc3": 5},
                "throttled_s": {"gpu-throttle-alert": 12.4, "cpu-throttle-alert": 0.0},
                "clocks_pinned": {"start": True, "end": False},
            },
        )
    )
    assert len(told) == 3
    assert told[0].startswith(
        "orin-1 throttled its clocks 6 times (mean power 1, peak power 5): set a lower power mode"
    )
    assert told[1].startswith("orin-1 was throttled by heat for 12 s (gpu-throttle-alert)")
    assert told[2] == "orin-1's clocks were pinned at the run's start, but no longer at its end"


def test_low_voltage_is_the_supplys():
    (told,) = sentences("orin-1", {"over_current_events": {"oc1": 2, "oc3": 1}})
    assert told == "orin-1 throttled its clocks 3 times (low voltage 2, peak power 1): try another power supply"


@pytest.mark.parametrize(
    "facts",
    [
        {},
        {"over_current_events": None, "throttled_s": None, "clocks_pinned": None},
        {"over_current_events": {"oc1": 0}, "throttled_s": {"cpu-throttle-alert": 0.0}},
        {"clocks_pinned": {"start": False, "end": False}},  # the gates have told, or nobody asked for it
        {"clocks_pinned": {"start": None, "end": False}},
        {"over_current_events": [3], "throttled_s": "x", "clocks_pinned": 1},
        {"over_current_events": {"oc1": "3", "oc2": True, "oc3": float("nan")}, "throttled_s": {"x": 10**400}},
    ],
)
def test_nothing_is_told_where_nothing_was_lowered_or_counted(facts):
    assert list(sentences("a", facts)) == []
