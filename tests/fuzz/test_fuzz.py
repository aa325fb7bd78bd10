"""A minute of `make fuzz` in `make test`: every parser, the same inputs each time."""

from random import Random

import pytest

from tests.fuzz.mutate import mutated
from tests.fuzz.one import MOST_BYTES, problem
from tests.fuzz.targets import CORPUS, TARGETS


@pytest.mark.parametrize("name", TARGETS)
def test_any_bytes_are_read_or_refused_with_a_documented_error(name, tmp_path):
    target = TARGETS[name]
    seeds, random = target.seeds(), Random(name)
    inputs = (*seeds, b"", *(mutated(seeds, random, MOST_BYTES) for _ in range(target.examples)))
    for content in inputs:
        said = problem(target, content)
        if said:
            (tmp_path / "input").write_bytes(content)
        assert said is None, f"{name} {said}; the input is {tmp_path / 'input'}"


def test_every_parser_has_small_seeds_and_every_seed_a_parser():
    assert {path.name for path in CORPUS.iterdir()} == set(TARGETS)
    for target in TARGETS.values():
        assert 0 < sum(map(len, target.seeds())) < 500_000, target.name


def test_what_breaks_a_parser_is_a_finding():
    def broken(content):
        {}[content]

    assert "KeyError" in problem(broken, b"x")
    assert problem(lambda content: None, b"x") is None
