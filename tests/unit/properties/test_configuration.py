"""Any configuration: what is written is read, what is wrong is named, and what boards share adds up."""

import dataclasses
import json
import math
from typing import get_type_hints

from hypothesis import assume, given
from hypothesis import strategies as st

from trainer.contract.config import Config, ConfigError, Section, known_keys, parse, to_dict

TEXT = st.text(st.characters(codec="utf-8", exclude_categories=["Cs"]), max_size=12)
ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=5,
)
FREE = {"path": "a.npz", "sha256": "0" * 64, "weights": "w.h5", "weights_sha256": "f" * 64, "fine_tune": "last:20"}


def values(item: dataclasses.Field, hint: object) -> st.SearchStrategy:
    """What a field may be by itself."""
    limits = item.metadata
    if hint is bool:
        return st.booleans()
    if item.name in FREE:
        return st.sampled_from([item.default, FREE[item.name]])
    if limits["choices"]:
        return st.sampled_from(limits["choices"])
    above, most = limits["above"], limits["maximum"]
    if hint is float:
        least = limits["minimum"] if above is None else above
        return st.floats(least, 1e6 if most is None else most, exclude_min=above is not None)
    whole = st.integers(limits["minimum"], 2**31 - 1 if most is None else most)
    return st.none() | whole if hint == int | None else whole


def raws(kind: type[Section]) -> st.SearchStrategy:
    """Some keys of a section, each of which is right by itself."""
    hints = get_type_hints(kind)
    fields = {
        item.name: raws(hints[item.name])
        if isinstance(hints[item.name], type) and issubclass(hints[item.name], Section)
        else values(item, hints[item.name])
        for item in dataclasses.fields(kind)
    }
    return st.fixed_dictionaries({}, optional=fields)


def parsed(raw: dict) -> Config:
    try:
        return parse(raw)
    except ConfigError:  # fields that are right by themselves and do not go together
        assume(False)


@given(raws(Config))
def test_what_is_written_is_read(raw):
    config = parsed(raw)
    assert parse(json.loads(json.dumps(to_dict(config)))) == config


@given(raws(Config))
def test_fields_that_are_right_by_themselves_are_no_problem_of_a_part(raw):
    assert all(";" in problem or ":" in problem for problem in _problems(raw))
    assert _problems(raw, partly=True) == []


def _problems(raw: dict, partly: bool = False) -> list[str]:
    try:
        parse(raw, partly)
    except ConfigError as error:
        return error.problems
    return []


@given(st.sampled_from(known_keys(Config)), ANYTHING)
def test_whatever_a_field_is_given_it_is_taken_or_named(key, value):
    section, _, name = key.rpartition(".")
    found = _problems({section: {name: value}} if section else {name: value})
    # "data.source: npz" alone lacks a path, which is what the problem is about then
    assert all(problem.startswith(f"{key} is ") or f"{key} {value}" in problem for problem in found)


@given(ANYTHING)
def test_whatever_an_experiment_is_it_is_read_or_refused(raw):
    _problems(raw)


@given(TEXT.filter(lambda name: name not in {key.partition(".")[0] for key in known_keys(Config)}), ANYTHING)
def test_an_unknown_key_is_named(name, value):
    assert any(problem.startswith(f"unknown key {name}; ") for problem in _problems({name: value}))


@given(
    st.integers(1, 1000),
    st.lists(st.floats(0.01, 100), min_size=1, max_size=8),
)
def test_boards_of_any_speeds_share_a_step_without_loss(batch_size, speeds):
    config = Config(batch_size=batch_size)
    total = batch_size * len(speeds)
    found = config.batches(speeds)
    assert min(found) >= 1 and sum(found) >= total
    ideal = [total * speed / sum(speeds) for speed in speeds]
    assert all(images <= math.ceil(wanted) or images == 1 for images, wanted in zip(found, ideal, strict=True))
    if min(ideal) >= 1:
        assert sum(found) == total
        assert all(images >= math.floor(wanted) for images, wanted in zip(found, ideal, strict=True))


@given(st.integers(1, 1000), st.integers(1, 16))
def test_boards_of_one_speed_have_equal_batches(batch_size, workers):
    assert Config(batch_size=batch_size).batches([0.7] * workers) == (batch_size,) * workers


@given(st.integers(1, 500), st.integers(1, 16))
def test_a_global_batch_that_boards_can_share_is_whole(batch_size, workers):
    config = Config(batch_size=batch_size, batch_per="global")
    whole = config.board_batch(workers) * workers == batch_size
    assert whole == (config.problems_with(workers) == [])
