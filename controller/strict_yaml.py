"""Reads YAML so that each value is what the file shows.

PyYAML reads YAML 1.1: 010 is 8, 1:30 is 90, no is false, 2026-11-21 is a date, and the last of two equal keys wins.
Here only decimal numbers, true, false and null are not text; trainer/contract/fields.py decides whether text is
allowed. Keys are text and unique.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from trainer.contract.fields import ConfigError

_MOST_BYTES = 100_000
_MOST_VALUES = 10_000  # including those repeated by aliases
_DEEPEST = 20  # levels of nested mappings and lists
_TAG = "tag:yaml.org,2002:"
_MERGE = f"{_TAG}merge"
_Problem = tuple[int, str]  # line, from 0


def read(path: Path, name: str) -> Any:
    """The content of the file at `path`, None if it is empty; errors call it `name`.

    Raises ConfigError with all problems and their lines.
    """
    text = _text(path, name)
    try:
        loader = _Loader(text)
        root = loader.get_single_node()
        problems = loader.tagged + ([] if root is None else _problems_in(root))
        if not problems:
            return None if root is None else loader.construct_document(root)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = 0 if mark is None else mark.line
        raise ConfigError([f"{name} is not YAML, line {line + 1}: {_in_words(error, text, line)}"]) from error
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position)
        raise ConfigError(
            [f"{name} is not YAML, line {line + 1}: it has the character U+{error.character:04X}: remove it"]
        ) from error
    raise ConfigError([f"{name}, line {line + 1}: {problem}" for line, problem in sorted(problems)])


def _text(path: Path, name: str) -> str:
    try:
        if path.is_symlink() and not path.exists():
            raise ConfigError([f"{name} is a link to {path.readlink()}, which does not exist: correct the link"])
        if not path.is_file():
            raise ConfigError([f"{name} is {'a folder' if path.is_dir() else 'not a regular file'}: put a file there"])
        if path.stat().st_size > _MOST_BYTES:
            raise ConfigError(
                [f"{name} has {path.stat().st_size} bytes, which is too large: check that it is the right file"]
            )
        content = path.read_bytes()
    except OSError as error:
        raise ConfigError([f"{name} cannot be read ({error.strerror}): check its owner and permissions"]) from error
    if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) or b"\0" in content:
        raise ConfigError([f"{name} is UTF-16 or not text: save it as UTF-8"])
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError as error:
        line, byte = content.count(b"\n", 0, error.start) + 1, error.object[error.start]
        raise ConfigError([f"{name}, line {line}: the byte 0x{byte:02x} is not UTF-8: save it as UTF-8"]) from error


class _Loader(yaml.SafeLoader):
    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.tagged: list[_Problem] = []
        self._depth = 0

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        event, self._depth = self.peek_event(), self._depth + 1  # type: ignore[no-untyped-call]
        if self._depth > _DEEPEST:
            raise yaml.MarkedYAMLError(problem=f"it has more than {_DEEPEST} levels", problem_mark=event.start_mark)
        if getattr(event, "tag", None) is not None:
            self.tagged.append((event.start_mark.line, f"it has the tag {event.tag}: write the value without it"))
        node = super().compose_node(parent, index)
        self._depth -= 1
        return node


_Loader.yaml_implicit_resolvers = {}
for _kind, _pattern, _first in (
    ("null", r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    ("bool", r"true|True|TRUE|false|False|FALSE", list("tTfF")),
    ("int", r"[-+]?(0|[1-9][0-9]{0,17})", list("-+0123456789")),
    # with a point: 1e-3 stays text, since it may be part of a checksum
    ("float", r"[-+]?([0-9]+\.[0-9]*|\.[0-9]+)([eE][-+]?[0-9]+)?", list("-+.0123456789")),
):
    _Loader.add_implicit_resolver(f"{_TAG}{_kind}", re.compile(rf"({_pattern})\Z"), _first)


def _in_words(error: yaml.MarkedYAMLError, text: str, line: int) -> str:
    around = text.splitlines()[max(0, line - 1) : line + 1]
    if "'\\t'" in (error.problem or "") or any("\t" in one[: len(one) - len(one.lstrip())] for one in around):
        return "it is indented with a tab: use spaces"
    if "another document" in (error.problem or ""):
        return "it has more than one document (---): keep one"
    begun = error.context_mark
    since = f" (which begins in line {begun.line + 1})" if begun and begun.line != line else ""
    told = " ".join(part for part in (error.problem, error.context) if part)
    return f"{told}{since}: check its indentation, colons, brackets and quotes"


def _problems_in(root: yaml.Node) -> list[_Problem]:
    """Problems of mappings and aliases; afterwards every key is text."""
    problems: list[_Problem] = []
    sizes: dict[int, int] = {}  # number of values in each node, including aliases; 0: not known yet

    def size_of(node: yaml.Node, where: str) -> int:
        if id(node) not in sizes:
            sizes[id(node)] = 0
            sizes[id(node)] = 1 + sum(size_of(value, name) for value, name in inside(node, where))
        elif not sizes[id(node)]:
            problems.append(
                (node.start_mark.line, f"{where} is an alias of a node that contains it: write out the value")
            )
        return sizes[id(node)]

    def inside(node: yaml.Node, where: str) -> Iterator[tuple[yaml.Node, str]]:
        if isinstance(node, yaml.SequenceNode):
            yield from ((value, where) for value in node.value)
        elif isinstance(node, yaml.MappingNode):
            lines: dict[str, int] = {}
            for key, value in node.value:
                line = key.start_mark.line
                if not isinstance(key, yaml.ScalarNode):
                    problems.append((line, "a key is a mapping or a list: write text, and no {{ templates }}"))
                    continue
                name = f"{where}{'.' if where else ''}{key.value}"
                if key.value in lines:
                    problems.append(
                        (line, f"{name} is given twice, in lines {lines[key.value] + 1} and {line + 1}: keep one")
                    )
                lines[key.value] = line
                key.tag = _MERGE if key.value == "<<" and key.style is None else f"{_TAG}str"
                yield value, name

    if size_of(root, "") > _MOST_VALUES:
        problems.append(
            (root.start_mark.line, f"it has more than {_MOST_VALUES} values, aliases written out: use fewer")
        )
    return problems
