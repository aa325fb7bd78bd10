"""What roles are given is checked before the first of them begins."""

from pathlib import Path

import pytest
import yaml

from controller.inputs import problems_with

ROLES = Path(__file__).parents[2] / "roles"


def specs(*roles):
    found = {}
    for role in roles:
        about = yaml.safe_load((ROLES / role / "meta/argument_specs.yml").read_text())["argument_specs"]
        found |= {name: option for entry in about.values() for name, option in entry.get("options", {}).items()}
    return found


def problems(**values):
    return problems_with(specs("kit", "check", "train", "collect"), values)


@pytest.mark.parametrize(
    "watts, good",
    [(None, True), (12, True), (12.5, True), ("12.5", True), (0, True), *((odd, False) for odd in ("", "12W", "12,5"))]
    + [(odd, False) for odd in (-1, "-1", "nan", "inf", float("inf"), "9" * 400, True, [12])],
    ids=lambda value: f"{value}"[:9],
)
def test_a_power_of_the_switch_is_none_or_a_number_of_watts(watts, good):
    assert (problems(collect_switch_power_w=watts) == []) is good


@pytest.mark.parametrize("port", ["0", "65535", "x", "-1", 80, "12_345", 70000, None, True])
def test_a_port_that_cannot_be_is_refused(port):
    (problem,) = problems(kit_port=port)
    assert problem.startswith("kit_port is ") and "give a port from 1024 to 65532" in problem
    assert problems(kit_port="12345") == [] and problems(kit_port=65532) == []


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ({"train_poll_s": "soon"}, 'train_poll_s is "soon" (text); give a number of seconds, such as 2'),
        ({"train_begin_s": 1.5}, "train_begin_s is 1.5 (a number); give a whole number of seconds, such as 30"),
        (
            {"check_throughput_fraction": 80},
            "check_throughput_fraction is 80 (a whole number); give a number from 0 to 1",
        ),
        ({"check_measure_network": "maybe"}, 'check_measure_network is "maybe" (text); give true or false'),
        ({"kit_clocks_pinned": "maybe"}, 'kit_clocks_pinned is "maybe" (text); give true or false'),
        ({"check_tensorflow": 2.10}, "check_tensorflow is 2.1, a number, and 2.10 would become 2.1: put it in quotes"),
        ({"check_waive": {"board.lock": True}}, "(a mapping); give a list"),
        ({"check_communication": "ncl"}, "give one of '', auto, ring, nccl: did you mean nccl?"),
        ({"train_environment": "A"}, 'train_environment is "A" (text); give a mapping'),
        (
            {"train_idle_s": 12, "train_silence_limit_s": "10"},
            "train_idle_s is 12, but a board that is silent for",
        ),
    ],
)
def test_a_value_that_cannot_be_is_named_with_its_remedy(values, told):
    (problem,) = problems(**values)
    assert told in problem


def test_all_is_told_at_once():
    assert len(problems(train_poll_s="soon", check_temperature_c="hot", collect_switch_power_w="much")) == 3


def test_defaults_are_fine():
    for role in ("kit", "check", "train", "collect"):
        given = yaml.safe_load((ROLES / role / "defaults/main.yml").read_text())
        plain = {name: value for name, value in given.items() if "{{" not in str(value)}
        assert plain and problems(**plain) == []
