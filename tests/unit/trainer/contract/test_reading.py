"""What comes from outside is read within limits, or refused in a sentence."""

import json
import math
import os
import time
from dataclasses import dataclass, field
from typing import Any

import pytest

from trainer.contract import reading
from trainer.contract.reading import Unreadable, fit, is_name, known, parse, printable


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"[" * 2048, "nested more than 32 deep"),
        (b"[" * 100_000 + b"]" * 100_000, "nested more than 32 deep"),
        (b'{"a":' * 33 + b"1" + b"}" * 33, "nested more than 32 deep"),
        (b"[" + b"[]," * 300_000 + b"[]]", "more than 262144 values"),
        (b'"' + b"x" * (9 << 20) + b'"', "more than 8388608 bytes"),
        (b"{", "not JSON"),
        (b"", "not JSON"),
        (b"\xff\xfe[\x00", "not JSON"),
        ("\ud800", "not JSON"),
    ],
)
def test_content_over_a_limit_or_that_is_no_json_is_unreadable(content, says):
    with pytest.raises(Unreadable, match=says):
        parse(content)


def test_brackets_in_texts_are_no_depth():
    deep = {"a": "[" * 100 + '"{\\' * 20, "b": ["[[" * 40] * 20}
    assert parse(json.dumps(deep)) == deep


def test_quotes_without_end_take_linear_time():
    began = time.process_time()
    with pytest.raises(Unreadable):
        parse(b"[" * 40 + b'"\\"' * 400_000)
    assert time.process_time() - began < 2


@pytest.mark.parametrize(
    "number", ["1e400", "-1e400", "NaN", "Infinity", str(2**63), f"-{2**63}", "9" * 1_000_000, f"{2**63}.0"]
)
def test_a_number_that_is_none_costs_itself(number):
    odd: list[str] = []
    assert known(parse(f'{{"a": [1, {{"b": {number}}}], "c": 2}}'), odd) == {"a": [1, {"b": None}], "c": 2}
    assert odd == ["a[1].b"]


def test_numbers_within_the_limits_are_kept():
    assert parse(f"[{2**63 - 1}, {1 - 2**63}, 0.1, -0.0]") == [2**63 - 1, 1 - 2**63, 0.1, -0.0]


def test_text_can_always_be_written():
    value = parse('{"\\ud800": ["\\udfff x", "\\ud83d\\ude00"]}')
    assert json.dumps(value, ensure_ascii=False).encode().decode() == '{"?": ["? x", "\U0001f600"]}'


@dataclass(frozen=True)
class Kind:
    count: int
    seconds: float
    name: str | None
    right: bool
    loss: float = field(metadata=reading.ANY_NUMBER)
    sensors: dict[str, float]
    times: list[float]
    facts: dict[str, Any]
    nested: dict[str, dict[str, Any]]


GOOD = {
    "count": 1,
    "seconds": 2,
    "name": "x",
    "right": True,
    "loss": math.inf,
    "sensors": {"a": 1.5, "b": 2},
    "times": [1, 2.5],
    "facts": {"a": [None, "x"]},
    "nested": {"a": {"b": 1}},
    "of later versions": [],
}


def test_values_of_the_declared_types_are_kept():
    raw = json.loads(json.dumps(GOOD))
    assert (fit(Kind, raw), raw) == ([], GOOD)


@pytest.mark.parametrize(
    ("name", "value", "odd", "left"),
    [
        ("count", 1.5, "count", None),
        ("count", True, "count", None),
        ("count", "1", "count", None),
        ("seconds", math.nan, "seconds", None),
        ("seconds", [], "seconds", None),
        ("name", ["x"], "name", None),
        ("right", 1, "right", None),
        ("loss", "low", "loss", None),
        ("sensors", {"a": "hot", "b": 1.0}, "sensors.a", {"b": 1.0}),
        ("sensors", [1], "sensors", None),
        ("times", [1.0, None], "times", None),
        ("facts", {"a": {"b": math.inf}}, "facts.a.b", {"a": {"b": None}}),
        ("facts", "x", "facts", None),
        ("nested", {"a": 3, "b": {}}, "nested.a", {"b": {}}),
        ("of later versions", math.inf, "of later versions", None),
    ],
)
def test_a_value_of_another_type_is_null_and_named(name, value, odd, left):
    raw = {**GOOD, name: value}
    assert fit(Kind, raw) == [odd]
    assert raw == {**GOOD, name: left}


@pytest.mark.parametrize("text", ["a", "board 1", "é", "...", "-x"])
def test_a_name_is_one_component_of_a_path(text):
    assert is_name(text)


@pytest.mark.parametrize(
    "text", ["", ".", "..", "../x", "a/b", "/", "a\0", "a\n", "\x1b[m", "\u202e", "x" * 256, 3, None]
)
def test_what_is_no_name(text):
    assert not is_name(text)


def test_text_for_a_terminal_has_no_character_that_controls_it():
    assert printable("a\x1b[31m\x9b1m\u202e\u200f\x07\r\tb\n", keep="\n") == "a?[31m?1m?????b\n"
    assert printable("Größe 1 °C") == "Größe 1 °C"


def test_a_pipe_or_folder_in_place_of_a_file_is_refused_at_once(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", tmp_path):
        with pytest.raises(OSError):
            reading.read(path)
