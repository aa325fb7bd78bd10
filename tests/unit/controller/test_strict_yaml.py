"""YAML that people write: each value is the one that they see, and what is wrong has its line."""

import itertools
import os
import time

import pytest

from controller import strict_yaml
from trainer.contract.fields import ConfigError


@pytest.fixture
def read(tmp_path):
    def read(content):
        path = tmp_path / "own.yml"
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return strict_yaml.read(path, "experiments/own.yml")

    return read


@pytest.fixture
def problems(read):
    def problems(content):
        with pytest.raises(ConfigError) as caught:
            read(content)
        return caught.value.problems

    return problems


@pytest.mark.parametrize(
    ("written", "value"),
    [
        ("10", 10),
        ("-3", -3),
        ("+4", 4),
        ("0.001", 0.001),
        ("1.0e-3", 0.001),
        ("1.0e3", 1000.0),
        (".5", 0.5),
        ("true", True),
        ("False", False),
        ("~", None),
        ("null", None),
        ("", None),
        ("[1, {a: 2}]", [1, {"a": 2}]),
        # what others read as another number, as a date or as a truth value is what the person sees: text
        *[
            (text, text)
            for text in (
                *(
                    "010",
                    "0o10",
                    "0x10",
                    "0b11",
                    "1_000",
                    "1:30",
                    "190:20:30",
                    "1_000.5",
                    "1e-3",
                    "1e3",
                    ".inf",
                    ".NaN",
                ),
                *("yes", "No", "on", "OFF", "2026-11-21", "2026-11-21 10:00:00", "=", "<<", "1" * 64),
            )
        ],
        ("'10'", "10"),
    ],
)
def test_a_value_is_what_a_person_sees(read, written, value):
    found = read(f"x: {written}\n")["x"]
    assert found == value and type(found) is type(value)


def test_keys_are_text(read):
    assert list(read("1: a\nno: b\n010: c\n2026-11-21: d\n~: e\n")) == ["1", "no", "010", "2026-11-21", "~"]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("epochs: 3\ndata: {}\nepochs: 4\n", ["line 3: epochs is given twice, in lines 1 and 3"]),
        ("'epochs': 3\nepochs: 4\n", ["line 2: epochs is given twice, in lines 1 and 2"]),
        ("data:\n  path: a\n\n  path: b\n", ["line 4: data.path is given twice, in lines 2 and 4"]),
        ("a: 1\r\nb: 2\r\na: 3\r\n", ["line 3: a is given twice, in lines 1 and 3"]),
        (
            "a: 1\na: 2\na: 3\narms: [{x: 1, x: 2}]\n",
            ["line 2: a is given", "line 3: a is given", "line 4: arms.x is given"],
        ),
        ("<<: {a: 1}\n<<: {b: 1}\n", ["line 2: << is given twice"]),
    ],
)
def test_a_key_that_is_given_twice_is_named_with_both_lines(problems, content, said):
    found = problems(content)
    assert len(found) == len(said)
    for problem, part in zip(found, said, strict=True):
        assert problem.startswith(f"experiments/own.yml, {part}") and problem.endswith(": keep one")


def test_aliases_and_merged_mappings_are_taken(read):
    assert read("a: &a {x: 1, y: 2}\nb: {<<: *a, y: 3}\nc: *a\n") == {
        "a": {"x": 1, "y": 2},
        "b": {"x": 1, "y": 3},
        "c": {"x": 1, "y": 2},
    }


@pytest.mark.parametrize("nested", ["[{}]", "{{<<: [{}]}}", "{{q: [{}]}}"])
def test_aliases_that_would_fill_the_memory_are_refused_at_once(problems, nested):
    names = "abcdefghijklmnopqrstuvwxyz"
    lines = ["a: &a {x: 1}"]
    lines += [f"{b}: &{b} {nested.format(','.join([f'*{a}'] * 9))}" for a, b in itertools.pairwise(names)]
    began = time.monotonic()
    (problem,) = problems("\n".join(lines))
    assert "values, aliases written out: use fewer" in problem
    assert time.monotonic() - began < 2


@pytest.mark.parametrize("content", ["a: &x [*x]", "a: &x {b: [*x]}", "&x a: {b: &y [*y]}"])
def test_an_alias_of_what_it_is_in_is_refused(problems, content):
    assert "is an alias of a node that contains it: write out the value" in problems(content)[0]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("data:\n\tpath: x\n", "is not YAML, line 2: it is indented with a tab"),
        ("data:\n  source: npz\n\tpath: x\n", "is not YAML, line 3: it is indented with a tab"),
        ("epochs: [", "is not YAML, line 1: "),
        ("a: 1\nb: 'x\n", "(which begins in line 2): check its indentation, colons, brackets and quotes"),
        ("a: b: c\n", "is not YAML, line 1: mapping values are not allowed here"),
        ("a: 1\n---\nb: 2\n", "is not YAML, line 2: it has more than one document (---): keep one"),
        ("a: 1\nb: !!python/object/apply:os.system [id]\n", ", line 2: it has the tag tag:yaml.org,2002:python/"),
        ("a: !!int '010'\n", ", line 1: it has the tag "),
        ("a: {{ epochs }}\n", ", line 1: a key is a mapping or a list: write text, and no {{ templates }}"),
        ("? [a, b]\n: 1\n", ", line 1: a key is a mapping or a list"),
        ("a: *b\n", "is not YAML, line 1: found undefined alias 'b'"),
        ("a: 1\nb: 2\x01\n", "is not YAML, line 2: it has the character U+0001: remove it"),
        ("<<: 3\n", "is not YAML, line 1: expected a mapping"),
        ("[" * 1000, "is not YAML, line 1: it has more than 20 levels"),
        ("\n" + "{a: " * 1000, "is not YAML, line 2: it has more than 20 levels"),
        ("x: [" + "1, " * 11_000 + "1]", "it has more than 10000 values"),
        ("#" * 200_000, "has 200000 bytes, which is too large"),
    ],
)
def test_what_is_no_plain_yaml_is_told_with_its_line(problems, content, said):
    (problem,) = problems(content)
    assert problem.startswith("experiments/own.yml") and said in problem, problem


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("a: 1\n# f\xfcr\n".encode("latin-1"), ", line 2: the byte 0xfc is not UTF-8: save it as UTF-8"),
        ("a: ü".encode("utf-16"), " is UTF-16 or not text: save it as UTF-8"),
        ("a: b".encode("utf-16-be"), " is UTF-16 or not text: save it as UTF-8"),
        (b"a: \x00", " is UTF-16 or not text: save it as UTF-8"),
    ],
)
def test_a_file_that_is_not_utf_8_is_told(problems, content, said):
    assert problems(content) == [f"experiments/own.yml{said}"]


def test_a_byte_order_mark_is_passed_over(read):
    assert read("a: ü\n".encode("utf-8-sig")) == {"a": "ü"}


@pytest.mark.parametrize("content", ["", "\n", "# nothing\n", "---\n"])
def test_an_empty_file_is_nothing(read, content):
    assert read(content) is None


def test_what_is_no_file_is_told(tmp_path, monkeypatch):
    def problem(path):
        with pytest.raises(ConfigError) as caught:
            strict_yaml.read(path, "own.yml")
        return "; ".join(caught.value.problems)

    assert problem(tmp_path) == "own.yml is a folder: put a file there"
    os.mkfifo(tmp_path / "fifo.yml")
    assert problem(tmp_path / "fifo.yml") == "own.yml is not a regular file: put a file there"
    (tmp_path / "link.yml").symlink_to("gone.yml")
    assert problem(tmp_path / "link.yml") == "own.yml is a link to gone.yml, which does not exist: correct the link"
    (tmp_path / "loop.yml").symlink_to("loop.yml")
    assert "own.yml" in problem(tmp_path / "loop.yml")
    (tmp_path / "own.yml").write_text("a: 1\n")

    def refused(path):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(type(tmp_path), "read_bytes", refused)
    assert (
        problem(tmp_path / "own.yml") == "own.yml cannot be read (Permission denied): check its owner and permissions"
    )
