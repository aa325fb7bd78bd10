"""Inputs made of seeds: the same ones for the same random numbers."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from random import Random

_TOKENS = (
    b"\0",
    b"\n",
    b"\r\n",
    b"\xff\xfe",
    b"\xef\xbb\xbf",
    b"\x1b[31m",
    b"\xed\xa0\x80",
    b"NaN",
    b"Infinity",
    b"-Infinity",
    b"1e999",
    b"-1",
    b"0",
    b"9" * 25,
    b"9" * 5000,
    b"0" * 400 + b"1",
    b"1e-400",
    b"null",
    b"true",
    b"[]",
    b"{}",
    b'""',
    b"[" * 2048,
    b'{"a":' * 2048,
    b"(" * 300,
    b"../",
    b"/etc/passwd",
    b"=cmd()",
    b"&a [*a, *a]",
    b"<<: *a",
    b"!!python/object",
    b"%s%n",
    "\u2028\u202e\u0661\u00b2\U0001f600".encode(),
    b"\xff\xff\xff\xff",
    b"\x7f\xff\xff\xff\xff\xff\xff\xff",
    b"\0\0\0\x80",
)
_PIECE = re.compile(rb"-?\d+(?:\.\d+)?|\"[^\"\n]{0,60}\"|[A-Za-z_]+|[^\sA-Za-z_\d\"]")
_MOST_CHANGES = 4


def mutated(seeds: Sequence[bytes], random: Random, most_bytes: int) -> bytes:
    """One of the seeds with some changes, or a mix of two."""
    content = random.choice(seeds)
    for _ in range(random.randint(1, _MOST_CHANGES)):
        content = random.choice(_CHANGES)(content, seeds, random)[:most_bytes]
    return content


def _flip(content: bytes, seeds: Sequence[bytes], random: Random) -> bytes:
    if not content:
        return bytes([random.randrange(256)])
    place = random.randrange(len(content))
    return content[:place] + bytes([content[place] ^ (1 << random.randrange(8))]) + content[place + 1 :]


def _insert(content: bytes, seeds: Sequence[bytes], random: Random) -> bytes:
    place = random.randint(0, len(content))
    return content[:place] + random.choice(_TOKENS) + content[place:]


def _overwrite(content: bytes, seeds: Sequence[bytes], random: Random) -> bytes:
    place, token = random.randint(0, len(content)), random.choice(_TOKENS)
    return content[:place] + token + content[place + len(token) :]


def _cut(content: bytes, seeds: Sequence[bytes], random: Random) -> bytes:
    start, end = sorted(random.randint(0, len(content)) for _ in range(2))
    return random.choice([content[:start], content[start:], content[:start] + content[end:]])


def _repeat(content: bytes, seeds: Sequence[bytes], random: Random) -> bytes:
    start, end = sorted(random.randint(0, len(content)) for _ in range(2))
    return content[:end] + content[start:end] * random.choice([1, 2, 20]) + content[end:]


def _splice(content: bytes, seeds: Sequence[bytes], random: Random) -> bytes:
    other = random.choice(seeds)
    return content[: random.randint(0, len(content))] + other[random.randint(0, len(other)) :]


def _replace_a_word(content: bytes, seeds: Sequence[bytes], random: Random) -> bytes:
    """Another value in place of a number, a text or a word: what a format's own values may be."""
    start = random.randint(0, len(content))
    found = _PIECE.search(content, start) or _PIECE.search(content)
    if not found:
        return _insert(content, seeds, random)
    other = _PIECE.findall(content)
    new = random.choice([random.choice(_TOKENS), random.choice(other), b""])
    return content[: found.start()] + new + content[found.end() :]


_CHANGES: tuple[Callable[[bytes, Sequence[bytes], Random], bytes], ...] = (
    _flip,
    _insert,
    _overwrite,
    _cut,
    _repeat,
    _splice,
    _replace_a_word,
    _replace_a_word,
)
