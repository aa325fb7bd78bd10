"""Reads what comes from outside: from a board, the network, a bundle, or a run's folder that anybody may have written.

JSON with limits on bytes, values and depth; numbers that can be computed with; values of the types that a dataclass
declares; text that does nothing to a terminal. Standard library only, Python 3.8 syntax.
"""

from __future__ import annotations

import dataclasses
import errno
import functools
import json
import math
import os
import re
import stat
from pathlib import Path
from typing import (
    TYPE_CHECKING,
    Any,
    BinaryIO,
    Callable,
    Dict,
    Hashable,
    List,
    Optional,
    Sequence,
    Tuple,
    Type,
    Union,
    cast,
    get_args,
    get_origin,
    get_type_hints,
)

if TYPE_CHECKING:
    from typing_extensions import TypeGuard  # Python 3.8 has none

MAX_BYTES = 8 << 20  # of one JSON value
MAX_VALUES = 1 << 18  # in one JSON value; each takes some hundred bytes of memory
MAX_DEPTH = 32
MAX_NUMBER = 2**63  # numbers from there on are no measurements
MAX_NAME = 255  # bytes of a file's name, as most file systems have it
_NO_BRACKET = bytes(set(range(256)) - set(b"[]{}"))
_ESCAPED = re.compile(rb"\\.", re.DOTALL)
_Check = Callable[[Any], bool]


class Unreadable(ValueError):
    """Content that is not JSON within the limits; the message says why."""


def parse(content: Union[bytes, str]) -> Any:
    """The JSON value in the content. Raises Unreadable.

    Whole numbers of MAX_NUMBER and beyond become NaN; other numbers may be NaN and infinite (see `known`). Bytes that
    are not UTF-8, and halves of surrogate pairs, become replacement characters.
    """
    if isinstance(content, str):
        content = content.encode("utf-8", "surrogatepass")
    if len(content) > MAX_BYTES:
        raise Unreadable(f"it has more than {MAX_BYTES} bytes")
    if sum(map(content.count, (b",", b"[", b"{"))) > MAX_VALUES:
        raise Unreadable(f"it has more than {MAX_VALUES} values")
    if content.count(b"[") + content.count(b"{") > MAX_DEPTH and _depth(content) > MAX_DEPTH:
        raise Unreadable(f"it is nested more than {MAX_DEPTH} deep")
    try:
        value = _DECODER.decode(content.decode("utf-8", "replace"))
    except (ValueError, RecursionError) as error:
        raise Unreadable(f"it is not JSON: {error}") from None
    return _whole_text(value) if b"\\u" in content else value


def _depth(content: bytes) -> int:
    """The deepest nesting of brackets that are not in strings; in linear time, whatever the content."""
    outside = b"".join(_ESCAPED.sub(b"", content).split(b'"')[::2])
    depth = deepest = 0
    for bracket in outside.translate(None, _NO_BRACKET):
        depth += 1 if bracket in b"[{" else -1
        deepest = max(deepest, depth)
    return deepest


def _integer(digits: str) -> Union[int, float]:
    # the length first: Python 3.8 converts any number of digits, in quadratic time
    value = int(digits) if len(digits) <= len(str(MAX_NUMBER)) + 1 else MAX_NUMBER
    return value if abs(value) < MAX_NUMBER else math.nan


_DECODER = json.JSONDecoder(parse_int=_integer)


def _whole_text(value: Any) -> Any:
    if isinstance(value, dict):
        return {_whole_text(name): _whole_text(item) for name, item in value.items()}
    if isinstance(value, list):
        return [_whole_text(item) for item in value]
    return value.encode("utf-8", "replace").decode() if isinstance(value, str) else value


def known(value: Any, odd: List[str], name: str = "") -> Any:
    """A JSON value with null for each number that is not finite or too large; their dotted names are added to `odd`."""
    if isinstance(value, dict):
        return {key: known(item, odd, f"{name}.{key}" if name else key) for key, item in value.items()}
    if isinstance(value, list):
        return [known(item, odd, f"{name}[{place}]") for place, item in enumerate(value)]
    if isinstance(value, float) and not is_number(value):
        odd.append(name)
        return None
    return value


def is_number(value: Any) -> TypeGuard[float]:
    """Whether a value is a number to compute with: finite, and no truth value."""
    return isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) < MAX_NUMBER


def fit(kind: Type[Any], raw: Dict[str, Any]) -> List[str]:
    """Set the fields of `raw` whose values are not of the type that the dataclass `kind` declares to null.

    Returns their dotted names. A mapping loses only the entries that do not fit; where the type is Any, and in fields
    that `kind` lacks, only numbers are checked. A field with the metadata ANY_NUMBER may be NaN or infinite.
    """
    odd: List[str] = []
    fields = _fields(cast(Hashable, kind))
    for name, value in raw.items():
        fits, entry = fields.get(name, _UNKNOWN)
        if value is None or (fits is not None and fits(value)):
            continue
        if entry is None and fits is None:
            raw[name] = known(value, odd, name)
        elif entry is not None and isinstance(value, dict):
            there = known(value, odd, name)
            odd += [f"{name}.{key}" for key, item in there.items() if not (item is None or entry(item))]
            raw[name] = {key: item for key, item in there.items() if entry(item)}
        else:
            odd.append(name)
            raw[name] = None
    return odd


ANY_NUMBER = {"any_number": True}
_UNKNOWN = (None, None)


@functools.lru_cache(maxsize=None)
def _fields(kind: Hashable) -> Dict[str, Tuple[Optional[_Check], Optional[_Check]]]:
    """By field: whether a value fits (null: look at what is in it), and for mappings whether an entry does."""
    hints = get_type_hints(kind)
    return {
        item.name: (_is_float, None) if item.metadata.get("any_number") else _check(hints[item.name])
        for item in dataclasses.fields(cast(Any, kind))
    }


def _check(hint: Any) -> Tuple[Optional[_Check], Optional[_Check]]:
    if type(None) in get_args(hint):  # Optional, however it is written
        hint = next(item for item in get_args(hint) if item is not type(None))
    if get_origin(hint) is dict:
        entry, below = _check(get_args(hint)[1])
        if entry is None:
            return None, lambda value: below is None or isinstance(value, dict)
        return (lambda value: isinstance(value, dict) and all(map(entry, value.values()))), entry
    if get_origin(hint) is list:
        item = _check(get_args(hint)[0])[0]
        assert item is not None
        return (lambda value: isinstance(value, list) and all(map(item, value))), None
    return _CHECKS.get(hint), None


def _is_float(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _is_whole(value: Any) -> bool:
    return is_number(value) and value == int(value)


_CHECKS: Dict[Any, _Check] = {
    int: _is_whole,
    float: is_number,
    bool: lambda value: isinstance(value, bool),
    str: lambda value: isinstance(value, str),
}


def opened(path: Path) -> BinaryIO:
    """A regular file, opened for reading. Raises OSError for anything else: a pipe would never end."""
    file = os.fdopen(os.open(str(path), os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb")
    if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        file.close()
        raise OSError(errno.EINVAL, "it is not a regular file", str(path))
    return file


def read(path: Path) -> Any:
    """The JSON value in a file; see `parse`. Raises OSError, and Unreadable for any other content."""
    with opened(path) as file:
        return parse(file.read(MAX_BYTES + 1))


def printable(text: str, keep: str = "") -> str:
    """Text without characters that control a terminal, or move, hide or reorder text there, except those in `keep`."""
    if text.isprintable():
        return text
    return "".join(letter if letter.isprintable() or letter in keep else "?" for letter in text)


def listed(names: Sequence[str], most: int = 5) -> str:
    """Names from outside in a sentence: printable, short, and not too many."""
    told = ", ".join(printable(name if len(name) <= 80 else f"{name[:80]}...") for name in names[:most])
    return told if len(names) <= most else f"{told} and {len(names) - most} more"


def is_name(text: Any) -> bool:
    """Whether this is the name of a file or folder: one component of a path, and printable."""
    return (
        isinstance(text, str)
        and text.isprintable()
        and text not in ("", ".", "..")
        and "/" not in text
        and len(text.encode("utf-8", "replace")) <= MAX_NAME
    )
