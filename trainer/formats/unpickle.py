"""Reads pickles of numbers, text, lists, dictionaries and numeric arrays, as CIFAR-100's files are. NumPy only.

Pickle's own readers call what a file names, and NumPy's `__setstate__` takes raw bytes for pointers to objects, which
ends the interpreter. Nothing is called here: the opcodes are read one by one, and an array is made of its bytes once
its shape and type are known to fit them.
"""

from __future__ import annotations

import pickle
import pickletools
import re
import struct
from typing import IO, Any, Callable, Dict, List, Tuple, Union

import numpy as np

MOST_READ = 1 << 18  # bytes of one read from the stream
_MOST_OPCODES = 4_000_000  # fifteen times those of CIFAR-100's training images; each makes one object at most
_MOST_DIMENSIONS = 4
_LONGEST_LINE = 1000  # bytes; Python before 3.8.14 takes hours for a number of a million digits
_NUMERIC = re.compile(rb"[|<>=]?([biuf][1248]|[?bBhHiIlLqQfd])")  # truth, whole and real numbers
_ARRAY_MODULES = ("numpy.core.multiarray", "numpy._core.multiarray")  # of NumPy 1 and 2
# opcodes whose argument is the value
_NUMBERS = frozenset(["BININT", "BININT1", "BININT2", "INT", "LONG", "LONG1", "FLOAT", "BINFLOAT"])
_TEXTS = frozenset(["UNICODE", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8"])
_BYTES = frozenset(["BINBYTES", "SHORT_BINBYTES", "BINBYTES8"])
_PYTHON2_STR = frozenset(["STRING", "BINSTRING", "SHORT_BINSTRING"])
_MADE: Dict[str, Callable[[], Any]] = {  # opcodes that make a value of nothing
    "NONE": lambda: None,
    "NEWTRUE": lambda: True,
    "NEWFALSE": lambda: False,
    "EMPTY_LIST": list,
    "EMPTY_DICT": dict,
    "EMPTY_TUPLE": tuple,
}
_TUPLES = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}


class _Bounded:
    """A stream that is not asked for more than it has."""

    def __init__(self, stream: IO[bytes], size: int) -> None:
        self._stream, self._left = stream, size

    def read(self, size: int) -> bytes:
        if size > self._left:
            raise pickle.UnpicklingError(f"it claims {size} bytes, and {self._left} are left")
        self._left -= size
        if size <= MOST_READ:
            return self._stream.read(size)
        return b"".join(self._stream.read(min(MOST_READ, size - start)) for start in range(0, size, MOST_READ))

    def readline(self) -> bytes:
        line = self._stream.readline(_LONGEST_LINE)
        self._left -= len(line)
        return line


class _Mark:
    """The beginning of a list's, tuple's or dictionary's items on the stack."""


class _Name(str):
    """What a pickle would import, `module.name`."""


class _Dtype:
    def __init__(self, code: bytes) -> None:
        if not _NUMERIC.fullmatch(code):
            raise pickle.UnpicklingError(f"it has an array of type {_cut(code)}, which is not numeric")
        self.dtype = np.dtype(code.decode("ascii"))

    def set_state(self, state: Any) -> None:
        """`state` as NumPy pickles it: version, byte order, then fields of structured types and what else they have."""
        order = _as_bytes(state[1])
        if any(part is not None for part in state[2:5]) or order not in (b"|", b"<", b">", b"="):
            raise pickle.UnpicklingError("it has an array of a structured type, not of numbers")
        if order in (b"<", b">"):
            self.dtype = self.dtype.newbyteorder("<" if order == b"<" else ">")


class _Array:
    def __init__(self) -> None:
        self.value: np.ndarray = np.zeros(0, np.uint8)

    def set_state(self, state: Any) -> None:
        """`state` as NumPy pickles it: version, shape, type, column-major or not, and the numbers' bytes."""
        _, shape, kind, fortran, raw = state
        if not isinstance(kind, _Dtype) or not isinstance(shape, tuple) or len(shape) > _MOST_DIMENSIONS:
            raise pickle.UnpicklingError("it has an array whose shape or type is not one")
        content, count = _as_bytes(raw), 1
        for length in shape:
            if type(length) is not int or not 0 <= length <= len(content):
                raise pickle.UnpicklingError("it has an array whose shape does not fit its bytes")
            count *= length
        if count * kind.dtype.itemsize != len(content):
            raise pickle.UnpicklingError(f"it has an array of {count} numbers in {len(content)} bytes")
        flat = np.frombuffer(content, kind.dtype) if content else np.zeros(0, kind.dtype)
        self.value = flat.reshape(shape, order="F" if fortran is True else "C")


def load(stream: IO[bytes], size: int) -> Dict[bytes, Any]:
    """The dictionary in a pickle of `size` bytes, by names as bytes; its arrays are read-only.

    The names may be text or Python 2's strings. Raises UnpicklingError for a pickle that calls anything, has an array
    of anything but numbers, claims more bytes than it has, or is damaged; ValueError for one of another object.
    """
    stack: List[Any] = []
    memo: Dict[int, Any] = {}
    try:
        for count, (opcode, argument, _) in enumerate(pickletools.genops(_Bounded(stream, size))):  # type: ignore[arg-type]
            if count > _MOST_OPCODES:
                raise pickle.UnpicklingError(f"it has more than {_MOST_OPCODES} opcodes")
            if opcode.name != "STOP":
                _take(opcode.name, argument, stack, memo)
        content = stack[-1].items() if isinstance(stack[-1], dict) else None
    except (IndexError, KeyError, TypeError, ValueError, AttributeError, struct.error) as error:
        raise pickle.UnpicklingError("it is not a pickle, or it is damaged") from error
    if content is None:
        raise ValueError("a pickle in it is not a dictionary")
    return {_as_bytes(key): value.value if isinstance(value, _Array) else value for key, value in content}


def _take(name: str, argument: Any, stack: List[Any], memo: Dict[int, Any]) -> None:
    if name in _NUMBERS or name in _TEXTS or name in _BYTES:
        stack.append(argument)
    elif name in _PYTHON2_STR:
        stack.append(argument.encode("latin-1"))
    elif name in _MADE:
        stack.append(_MADE[name]())
    elif name in ("BINPUT", "LONG_BINPUT", "PUT"):
        memo[argument] = stack[-1]
    elif name == "MEMOIZE":
        memo[len(memo)] = stack[-1]
    elif name in ("BINGET", "LONG_BINGET", "GET"):
        stack.append(memo[argument])
    elif name == "MARK":
        stack.append(_Mark())
    elif name in _TUPLES:
        items = stack[-_TUPLES[name] :]
        if len(items) < _TUPLES[name]:
            raise IndexError
        del stack[-_TUPLES[name] :]
        stack.append(tuple(items))
    elif name in ("TUPLE", "LIST"):
        stack.append((tuple if name == "TUPLE" else list)(_since_mark(stack)))
    elif name in ("APPEND", "APPENDS"):
        items = [stack.pop()] if name == "APPEND" else _since_mark(stack)
        _of(list, stack).extend(items)
    elif name in ("SETITEM", "SETITEMS", "DICT"):
        items = [stack.pop(-2), stack.pop()] if name == "SETITEM" else _since_mark(stack)
        if name == "DICT":
            stack.append({})
        into = _of(dict, stack)
        for key, value in zip(items[::2], items[1::2]):
            if not isinstance(key, (bytes, str)):  # the hash of deeply nested tuples ends the interpreter
                raise pickle.UnpicklingError("it has a key that is not text")
            into[key] = value
    elif name in ("GLOBAL", "STACK_GLOBAL"):
        wanted = argument.split(" ", 1) if name == "GLOBAL" else [stack.pop(-2), stack.pop()]
        stack.append(_named(*wanted))
    elif name == "REDUCE":
        arguments = stack.pop()
        stack.append(_reduced(stack.pop(), arguments))
    elif name == "BUILD":
        state = stack.pop()
        stack[-1].set_state(state)
    elif name not in ("PROTO", "FRAME"):
        raise pickle.UnpicklingError(f"it has the opcode {name}, which image archives do not need")


def _of(kind: type, stack: List[Any]) -> Any:
    if not isinstance(stack[-1], kind):
        raise TypeError
    return stack[-1]


def _since_mark(stack: List[Any]) -> List[Any]:
    place = next(place for place in range(len(stack) - 1, -2, -1) if place < 0 or isinstance(stack[place], _Mark))
    if place < 0:
        raise IndexError
    items = stack[place + 1 :]
    del stack[place:]
    return items


def _named(module: Any, name: Any) -> _Name:
    known = (
        (module == "_codecs" and name == "encode")
        or (module == "numpy" and name in ("ndarray", "dtype"))
        or (module in _ARRAY_MODULES and name == "_reconstruct")
    )
    if not known:
        raise pickle.UnpicklingError(f"it calls {_cut(module)}.{_cut(name)}, which image archives do not need")
    return _Name(name)


def _reduced(function: Any, arguments: Tuple[Any, ...]) -> Union[bytes, _Dtype, _Array]:
    """What a call would return; only the three that pickled arrays have."""
    if not isinstance(function, _Name) or not isinstance(arguments, tuple):
        raise TypeError
    if function == "_reconstruct" and arguments[0] == "ndarray" and isinstance(arguments[0], _Name):
        return _Array()
    if function == "dtype":
        return _Dtype(_as_bytes(arguments[0]))
    if function == "encode" and isinstance(arguments[0], str) and arguments[1] in ("latin1", "latin-1"):
        return arguments[0].encode("latin-1")
    raise pickle.UnpicklingError(f"it calls {function}, which image archives do not need")


def _as_bytes(text: Any) -> bytes:
    if isinstance(text, str):
        return text.encode("latin-1")
    if not isinstance(text, bytes):
        raise TypeError
    return text


def _cut(text: Any) -> str:
    """What is asked for, for a message: printable and short."""
    shown = text.decode("latin-1") if isinstance(text, bytes) else text
    return ascii(shown[:40])[1:-1] if isinstance(shown, str) else type(text).__name__
