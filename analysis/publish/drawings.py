"""Checks the drawings of a report that a stranger may have written: SVG within a page of HTML.

Only what matplotlib writes for the kit's figures: other elements or attributes, scripts, styles and references out of
the drawing are found. The elements are read as XML, which is stricter than what a browser accepts, in linear time.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from xml.parsers import expat

_TOLERANCE_PT = 0.05  # of coordinates: another processor rounds differently
_STYLE = "*{stroke-linejoin: round; stroke-linecap: butt}"  # matplotlib's own
_ID = r"[\w.-]+"
_WORDS = r"[\w., '#%-]+"
_ANY = ""  # text, which the browser shows or ignores
_NUMBER = r"-?[\d.]+(e-?\d+)?"
_REFERENCE = rf"url\(#{_ID}\)"
_PROPERTY = rf"(fill|stroke|font|text|opacity)[a-z-]*: {_WORDS}"
_SHAPE = {"clip-path": _REFERENCE, "style": rf"{_PROPERTY}(; {_PROPERTY})*", "id": _ID}
_PLACE = {"x": _NUMBER, "y": _NUMBER, "transform": r"[a-z]+\([-\d., e]+\)( [a-z]+\([-\d., e]+\))*"}
_SIZE = {"width": rf"{_NUMBER}(pt)?", "height": rf"{_NUMBER}(pt)?"}
# what an attribute of an element may be; the only text of an element
_ELEMENTS: dict[str, dict[str, str]] = {
    "svg": {
        "role": "img",
        "aria-label": _ANY,
        "xmlns": re.escape("http://www.w3.org/2000/svg"),
        "xmlns:xlink": re.escape("http://www.w3.org/1999/xlink"),
        "viewBox": r"[\d. ]+",
        "version": "1.1",
        **_SIZE,
    },
    "metadata": {},
    "rdf:RDF": {
        "xmlns:rdf": re.escape("http://www.w3.org/1999/02/22-rdf-syntax-ns#"),
        "xmlns:cc": re.escape("http://creativecommons.org/ns#"),
        "xmlns:dc": re.escape("http://purl.org/dc/elements/1.1/"),
    },
    "cc:Work": {},
    "cc:Agent": {},
    "dc:type": {"rdf:resource": re.escape("http://purl.org/dc/dcmitype/StillImage")},
    "dc:format": {},
    "dc:creator": {},
    "dc:title": {},
    "defs": {},
    "style": {"type": "text/css"},
    "g": _SHAPE,
    "clipPath": {"id": _ID},
    "path": {"d": r"[-\d.\seMLHVCSQTAZz]*", **_SHAPE, **_PLACE},
    "rect": {**_SHAPE, **_PLACE, **_SIZE},
    "use": {"xlink:href": rf"#{_ID}", **_SHAPE, **_PLACE},
    "text": {**_SHAPE, **_PLACE},
}
_TEXTS = {
    "text": _ANY,
    "style": re.escape(_STYLE),
    "dc:format": r"image/svg\+xml",
    "dc:title": r"Matplotlib v[\w.+, :/-]+",
}


class Odd(ValueError):
    """A drawing has what the kit does not draw; the message says what."""


def apart(page: str) -> tuple[str, list[str]]:
    """The page without its drawings, and its drawings. Raises Odd where one has no end."""
    before, *rest = page.split("<svg")
    drawings = []
    for piece in rest:
        inside, end, after = piece.partition("</svg>")
        if not end:
            raise Odd("has a drawing without an end")
        drawings.append(f"<svg{inside}{end}")
        before += after.removeprefix("\n")
    return before, drawings


def texts(drawing: str) -> list[str]:
    """The texts of a drawing in order of the alphabet. Raises Odd for what the kit does not draw."""
    if "<!" in drawing or "<?" in drawing:
        raise Odd("has a declaration in a drawing")
    found: list[str] = []
    within: list[str] = []
    parser = expat.ParserCreate()
    parser.ordered_attributes = False
    parser.buffer_text = True

    def start(name: str, attributes: dict[str, str]) -> None:
        allowed = _ELEMENTS.get(name)
        if allowed is None:
            raise Odd(f"has an element <{name[:40]}> in a drawing")
        for attribute, value in attributes.items():
            if attribute not in allowed or not (allowed[attribute] == _ANY or re.fullmatch(allowed[attribute], value)):
                raise Odd(f'has {attribute[:40]}="{value[:80]}" at <{name}> in a drawing')
        found.append(attributes.get("aria-label", ""))
        within.append(name)

    def end(name: str) -> None:
        within.pop()

    def text(content: str) -> None:
        allowed = _TEXTS.get(within[-1])
        if content.strip() and (allowed is None or not (allowed == _ANY or re.fullmatch(allowed, content))):
            raise Odd(f"has the text {content.strip()[:80]!r} in <{within[-1]}> of a drawing")
        if within[-1] == "text":
            found.append(content)

    parser.StartElementHandler, parser.EndElementHandler, parser.CharacterDataHandler = start, end, text
    try:
        parser.Parse(drawing, True)
    except expat.ExpatError as error:
        raise Odd(f"has a drawing that cannot be read: {error}") from None
    return sorted(filter(None, found))


def are_same(one: str, other: str) -> bool:
    """Whether two drawings have the same lines, points and texts; of one version of matplotlib, on any processor."""
    numbers = re.compile(rf"(?<![\w.-])({_NUMBER})")
    apart_ = [numbers.split(re.sub(r"[a-zA-Z]?[0-9a-f]{10}\b", "id", drawing)) for drawing in (one, other)]
    return len(apart_[0]) == len(apart_[1]) and all(
        here == there or _close(here, there) for here, there in zip(*apart_, strict=True)
    )


def _close(one: str | None, other: str | None) -> bool:
    try:
        return math.isclose(float(one or "x"), float(other or "x"), rel_tol=0, abs_tol=_TOLERANCE_PT)
    except ValueError:
        return False


def problems(kept: str, fresh: str, *, same_version: bool) -> Iterator[str]:
    """What is wrong with a page, beside the page as it would be written now, a sentence each without a subject.

    `fresh` may lack its drawings: then only what is in those of the other is checked. `same_version`: of matplotlib.
    """
    here, drawn = apart(kept)
    there, redrawn = apart(fresh)
    if here != there:
        yield "differs from a report recomputed from the records"
    found = [texts(drawing) for drawing in drawn]
    if not redrawn:
        return
    wanted = [texts(drawing) for drawing in redrawn]
    if found != wanted:
        yield "has drawings with other names and numbers than those drawn from the records"
    elif same_version and not all(map(are_same, drawn, redrawn)):
        yield "has drawings with other lines and points than those drawn from the records"
