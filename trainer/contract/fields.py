"""Sections of a configuration as dataclasses, read from mappings; all problems are reported at once.

Standard library only, Python 3.8 syntax. The sections are in trainer/contract/sections.py.
"""

from __future__ import annotations

import dataclasses
import difflib
import json
import math
import re
from dataclasses import dataclass, field
from typing import (
    Any,
    Dict,
    Iterable,
    Iterator,
    List,
    Mapping,
    Optional,
    Sequence,
    Type,
    TypeVar,
    Union,
    get_type_hints,
)

from trainer.contract import schema1

_MOST = 2**31 - 1  # TensorFlow counts with 32 bits in places
# as YAML 1.2 has them; in YAML 1.1, 1e-3 is text. 010 is 8 to some and 10 to others
_WHOLE = re.compile(r"[-+]?(0|[1-9][0-9]{0,17})")
_NUMBER = re.compile(r"(?!0[0-9]+\Z)[-+]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][-+]?[0-9]+)?")
_TRUTH = {"yes": True, "on": True, "no": False, "off": False}  # YAML 1.1
_LONGEST_SHOWN = 200  # characters of a value in a message


class ConfigError(ValueError):
    """A configuration that cannot run; `problems` has a sentence for each error."""

    def __init__(self, problems: Sequence[str]) -> None:
        super().__init__("; ".join(problems))
        self.problems: List[str] = list(problems)


class _SectionError(ConfigError):
    def __init__(self, ranges: Sequence[str], checks: Sequence[str]) -> None:
        super().__init__([*ranges, *checks])
        self.ranges = ranges  # the problems of single fields


def bounded(
    default: Any,
    *,
    minimum: Optional[float] = None,
    above: Optional[float] = None,
    maximum: Optional[float] = None,
    choices: Sequence[str] = (),
) -> Any:
    """A field with its allowed range: `minimum` and `maximum` included, `above` excluded."""
    return field(
        default=default,
        metadata={
            "minimum": minimum,
            "above": above,
            "maximum": maximum,
            "choices": tuple(choices),
        },
    )


@dataclass(frozen=True)
class Section:
    """Base of every section: checks the declared ranges, then the section's own `checks`."""

    prefix = ""  # such as "data.", in front of the fields' names in messages

    def __post_init__(self) -> None:
        ranges, checks = [*self._out_of_range()], [*self.checks()]
        if ranges or checks:
            raise _SectionError(ranges, checks)

    def _out_of_range(self) -> Iterator[str]:
        for item in dataclasses.fields(self):
            value, limits = getattr(self, item.name), item.metadata
            name = self.prefix + item.name
            if value is None or not limits:
                continue
            if limits["choices"]:
                if value not in limits["choices"]:
                    yield f"{name} is {value!r}; give one of {', '.join(limits['choices'])}"
            elif isinstance(value, int) and value > _MOST:
                yield f"{name} is {_cut(str(value))}; give {_MOST} or less"
            elif isinstance(value, float) and not math.isfinite(value):
                yield f"{name} is {value}; give a finite number"
            elif limits["minimum"] is not None and value < limits["minimum"]:
                yield f"{name} is {value}; give {limits['minimum']} or more"
            elif limits["above"] is not None and value <= limits["above"]:
                yield f"{name} is {value}; give more than {limits['above']}"
            elif limits["maximum"] is not None and value > limits["maximum"]:
                yield f"{name} is {value}; give {limits['maximum']} or less"

    def checks(self) -> Iterator[str]:
        """Problems that a range cannot express."""
        return iter(())


_S = TypeVar("_S", bound=Section)


def read(kind: Type[_S], raw: Mapping[str, Any], partly: bool = False) -> _S:
    """The section that `raw` describes, with nested sections and defaults filled in.

    Raises ConfigError with all problems; with `partly`, where `raw` is only a part, only with those of single fields.
    """
    problems: List[str] = []
    section = _build(kind, raw, known_keys(kind), problems, partly)
    if problems or section is None:
        raise ConfigError(problems)
    return section


def known_keys(kind: Type[Section]) -> List[str]:
    """Every key a user may set, dotted: epochs, data.path, sync.method, ..."""
    keys: List[str] = []
    for name, hint in get_type_hints(kind).items():
        keys += known_keys(hint) if _is_section(hint) else [kind.prefix + name]
    return keys


def _build(kind: Type[_S], raw: Any, known: Sequence[str], problems: List[str], partly: bool) -> Optional[_S]:
    if not isinstance(raw, Mapping):
        problems.append(f"{kind.prefix.rstrip('.') or 'the experiment'} is {shown(raw)}; give a mapping of its fields")
        return None
    hints = get_type_hints(kind)
    values: Dict[str, Any] = {}
    before = len(problems)
    for key, value in raw.items():
        if key not in hints:
            name = f"{kind.prefix}{key}"
            problems.append(
                schema1.renamed(name, value) or f"unknown key {name}; {_nearest(str(key), kind.prefix, known)}"
            )
        elif _is_section(hints[key]):
            values[key] = _build(hints[key], value, known, problems, partly)
        elif schema1.replaced(kind.prefix + key, value):
            problems.append(schema1.replaced(kind.prefix + key, value) or "")
        else:
            values[key] = _typed(hints[key], value, kind.prefix + key, problems)
    if len(problems) > before:
        # check the ranges of the other fields too, so that one message has all problems
        values = {key: value for key, value in values.items() if value is not None}
    try:
        return kind(**values)
    except _SectionError as error:
        problems.extend(error.ranges if partly else error.problems)
        return None


def _is_section(hint: Any) -> bool:
    return isinstance(hint, type) and issubclass(hint, Section)


def _typed(hint: Any, value: Any, name: str, problems: List[str]) -> Any:
    optional = getattr(hint, "__origin__", None) is Union
    kind = next(arg for arg in hint.__args__ if arg is not type(None)) if optional else hint
    if value is None and optional:
        return None
    fits = isinstance(value, kind) and not (kind is int and isinstance(value, bool))
    if kind is float and not fits and number(value) is not None:
        return number(value)
    if kind is bool and isinstance(value, str) and value.lower() in _TRUTH:
        return _TRUTH[value.lower()]
    if not fits:
        wanted = {int: "a whole number", float: "a number", str: "text", bool: "true or false"}[kind]
        if kind in (int, float) and isinstance(value, str) and re.match("[-+.]?[0-9]", value):
            wanted += "" if _WHOLE.fullmatch(value) else f" in plain digits, such as {10 if kind is int else 0.5}"
        problems.append(f"{name} is {shown(value)}; give {wanted}{' or null' if optional else ''}")
        return None
    return value


def whole_number(value: Any) -> Optional[int]:
    """The whole number that a user typed, on a command line (text) or in a file; None if it is not one."""
    text = str(value)
    return int(text) if _WHOLE.fullmatch(text) else None


def number(value: Any) -> Optional[float]:
    """The number that a user typed, infinite if it is too large; None if it is not one."""
    text = str(value)
    return float(text) if _NUMBER.fullmatch(text) else None


def shown(value: Any) -> str:
    """A value and its type in YAML's terms, for messages."""
    kinds = {
        str: "text",
        bool: "a truth value",
        int: "a whole number",
        float: "a number",
        list: "a list",
        dict: "a mapping",
    }
    if value is None:
        return "null"
    # Ansible's types are subclasses of these
    told = next((words for kind, words in kinds.items() if isinstance(value, kind)), type(value).__name__)
    return f"{_cut(json.dumps(value, default=str))} ({told})"


def _cut(text: str) -> str:
    return text if len(text) <= _LONGEST_SHOWN else f"{text[:_LONGEST_SHOWN]}..."


def closest(name: str, known: Iterable[str]) -> str:
    """ ": did you mean X?" for the closest known name; empty if none is close."""
    bare = re.sub(r"\.ya?ml$", "", name.rstrip("/").rpartition("/")[2])
    found = difflib.get_close_matches(bare, list(known), n=1)
    return f": did you mean {found[0]}?" if found else ""


def _nearest(key: str, prefix: str, known: Sequence[str]) -> str:
    same = [name for name in known if name.rpartition(".")[2] == key]
    close = (
        same
        or difflib.get_close_matches(prefix + key, known, n=1)
        or [name for name in known if difflib.SequenceMatcher(None, name.rpartition(".")[2], key).ratio() > 0.7][:1]
    )
    if close:
        return f"did you mean {' or '.join(close)}?"
    siblings = [name for name in known if name.startswith(prefix) and "." not in name[len(prefix) :]]
    return f"known keys: {', '.join(siblings)}"
