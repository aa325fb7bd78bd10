# mypy: disable-error-code="import-untyped"
"""The file of a wall meter: CSV as meters, home automation and spreadsheets write it, read as power over time.

Whatever is wrong with it is told with the line and the remedy, and nothing is guessed: neither the time zone of times
without an offset, nor what the meter would have shown while it gave no reading.
"""

from __future__ import annotations

import codecs
import csv
import math
import re
from array import array
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trainer.contract.config import ConfigError
from trainer.contract.events import is_moment

if TYPE_CHECKING:
    import numpy.typing as npt

_TIME, _POWER = "time", "power_w"
_WANTED = f"give CSV with the columns {_TIME} and {_POWER}"
_SEPARATORS = ("\t", ";", ",")
_MAX_BYTES = 100 * 10**6  # some 5 million readings: one a second for two months
_PREAMBLE = 100  # lines, in which some meters name themselves
_SHOWN = 5  # of the lines that cannot be read
_LONG = 40  # characters of a cell that are shown
_LEAST_W = 1.0  # no board takes less
_ROUNDED_S = 1.0  # times in whole seconds
_GAP_S, _GAP_SHARE = 75.0, 0.05  # a meter that reads each minute, a little late; or a twentieth of a long run
_BOMS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),  # it begins as that of UTF-16 does
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_NUMBER = re.compile(r"[+-]?([0-9]+[.,]?[0-9]*|[.,][0-9]+)(e[+-]?[0-9]+)?", re.IGNORECASE)
_UNIX = re.compile(r"[0-9]+([.,][0-9]*)?")
_BINARY = re.compile(r"[\x00-\x08\x0e-\x1f]")
_UNITS_PER_S = (1, 10**3, 10**6, 10**9)
_FROM_S, _UNTIL_S = 946_684_800, 4_102_444_800  # 2000 and 2100: no number is a time in two units


@dataclass
class _Readings:
    times: array[float] = field(default_factory=lambda: array("d"))  # s since 1970; of lines without a power, too
    powers: array[float] = field(default_factory=lambda: array("d"))  # W; NaN where the line has none
    local: list[tuple[datetime, int]] = field(default_factory=list)  # earliest and latest without an offset; lines
    bad: list[str] = field(default_factory=list)  # the first lines that are no readings, and why
    bad_lines: int = 0
    decimals: set[str] = field(default_factory=set)  # the signs that powers have

    def refuse(self, number: int, why: str) -> None:
        """Note a line that is no reading."""
        self.bad_lines += 1
        if len(self.bad) < _SHOWN:
            self.bad.append(f"  line {number}: {why}")


def readings(path: Path, start: float, end: float) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
    """Times (s since 1970, ascending, each once) and power (W) of a wall meter, around a run that trained meanwhile.

    Readings may be in any order; of several at one time the mean counts. Raises ConfigError, with all that is wrong,
    for a file that cannot be read, has lines that are no readings, or does not cover the time from start to end: it
    must have readings before and after, and none further apart than 75 s, or a twentieth of a longer run.
    """
    import numpy as np

    found = _read(path)
    problems = [*_unreadable(path, found), *_elsewhere(path, found, start, end)]
    if problems:
        raise ConfigError(["\n".join(problems)])
    times, which = np.unique(np.asarray(found.times), return_inverse=True)
    powers = np.bincount(which, weights=np.asarray(found.powers)) / np.bincount(which)
    first, last = np.searchsorted(times, start, "right") - 1, np.searchsorted(times, end, "left")
    around = slice(max(first, 0), last + 1)
    times, powers = times[around], powers[around]
    gap = int(np.argmax(np.diff(times))) if len(times) > 1 else None
    longest_s = max(_GAP_S, _GAP_SHARE * (end - start))
    if gap is not None and times[gap + 1] - times[gap] > longest_s:
        raise ConfigError(
            [
                f"{path} has no reading from {_utc(times[gap])} to {_utc(times[gap + 1])}, within the run's training "
                f"({_span(start, end)}): what was not measured for longer than {longest_s:.0f} s is unknown; give a "
                "file with more readings, or leave it out"
            ]
        )
    if powers.max() < _LEAST_W:
        raise ConfigError(
            [
                f"{path} has at most {powers.max():g} W during the run's training ({_span(start, end)}), less than any "
                f"board takes: {_POWER} is in watts, so multiply kW by 1000; or give the file of the boards' own meter"
            ]
        )
    return times, powers


def _read(path: Path) -> _Readings:
    found = _Readings()
    try:
        if not path.is_file():
            why = "it is no file" if path.exists() else "it does not exist"
            raise ConfigError([_refusal(path, f"{why}: {_WANTED}")])
        if path.stat().st_size > _MAX_BYTES:
            raise ConfigError([_refusal(path, f"it is larger than {_MAX_BYTES / 1e6:.0f} MB: cut out the run's time")])
        with path.open("rb") as raw:
            encoding = _encoding(raw.read(4))
        with path.open(encoding=encoding, errors="replace") as file:
            lines = enumerate(file, 1)
            columns = _columns(path, lines)
            for number, line in lines:
                _take(found, columns, number, line)
    except OSError as error:
        raise ConfigError([_refusal(path, f"{error.strerror}: {_WANTED}")]) from error
    if not (found.times or found.local or found.bad):
        raise ConfigError([_refusal(path, f"it has no line below the names of its columns: {_WANTED}")])
    return found


def _refusal(path: Path, why: str) -> str:
    return f"{path} cannot be read as a wall meter's file: {why}"


def _encoding(head: bytes) -> str:
    """That of the byte order mark; without one UTF-8, of which all that counts is ASCII, or UTF-16 by its zeros."""
    marked = next((name for mark, name in _BOMS if head.startswith(mark)), None)
    if marked or len(head) < 2 or head[:2] == b"\0\0":
        return marked or "utf-8"
    return "utf-16-be" if head[0] == 0 else "utf-16-le" if head[1] == 0 else "utf-8"


@dataclass(frozen=True)
class _Columns:
    """How the lines of a file are read."""

    names: list[str]
    separator: str
    time: int  # place of the column
    power: int


def _columns(path: Path, lines: Iterator[tuple[int, str]]) -> _Columns:
    """Those of the first line that names both."""
    first: tuple[int, list[str]] | None = None
    for number, line in islice(lines, _PREAMBLE):
        if _BINARY.search(line):
            raise ConfigError([_refusal(path, f"it is no text: {_WANTED}")])
        for separator in _SEPARATORS:
            names = _cells(line, separator)
            places = [_places(names, wanted) for wanted in (_TIME, _POWER)]
            if all(places):
                twice = [names[found[1]] for found in places if len(found) > 1]
                if twice:
                    why = f"line {number} has more than one column {twice[0]}: rename those that are not meant"
                    raise ConfigError([_refusal(path, why)])
                return _Columns(names, separator, places[0][0], places[1][0])
        cells = _cells(line, next((sign for sign in _SEPARATORS if sign in line), ","))
        if first is None and any(cells) and not _is_comment(line):
            first = number, cells
    if first is None:
        raise ConfigError([_refusal(path, f"it is empty: {_WANTED}")])
    shown = ", ".join(repr(_short(name)) for name in first[1][:10])
    raise ConfigError([_refusal(path, f"line {first[0]} has the columns {shown}; {_WANTED}")])


def _places(names: list[str], wanted: str) -> list[int]:
    """Where a column is named, in upper or lower case where it is nowhere named exactly so."""
    exact = [place for place, name in enumerate(names) if name == wanted]
    return exact or [place for place, name in enumerate(names) if name.lower() == wanted]


def _is_comment(line: str) -> bool:
    return line.lstrip(' "').lower().startswith(("#", "sep="))  # the latter is a spreadsheet's


def _cells(line: str, separator: str) -> list[str]:
    """Without blanks around them. Each line by itself: a quote that is never closed spoils one line, not the file."""
    try:
        cells = next(csv.reader([line.lstrip("\ufeff")], delimiter=separator, skipinitialspace=True), [])
    except csv.Error:
        cells = [line]
    return [cell.strip() for cell in cells]


def _take(found: _Readings, columns: _Columns, number: int, line: str) -> None:
    cells = _cells(line, columns.separator)
    if not any(cells) or cells == columns.names or _is_comment(line):  # the names: files that were put together
        return
    if any(cells[len(columns.names) :]):
        why = f"has {len(cells)} cells, and {len(columns.names)} columns have names"
        found.refuse(number, f"{why} (separate them with ; where powers have a decimal comma)")
        return
    time, power = ("".join(cells[place : place + 1]) for place in (columns.time, columns.power))
    try:
        at = _time(time)
    except ValueError as error:
        found.refuse(number, str(error))
        return
    if isinstance(at, datetime):
        seen = [*found.local, (at, number)]
        found.local = [min(seen), max(seen)]
    try:
        watts = _watts(power, columns.separator)
        found.decimals |= {sign for sign in ".," if sign in power}
    except ValueError as error:
        found.refuse(number, str(error))
        watts = math.nan
    if isinstance(at, float):
        found.times.append(at)
        found.powers.append(watts)


def _watts(cell: str, separator: str) -> float:
    """The power of a cell. Raises ValueError with what is wrong."""
    if not cell:
        raise ValueError(f"{_POWER} is empty")
    if not _NUMBER.fullmatch(cell) or ("," in cell and separator == ","):
        raise ValueError(f"{_POWER} is {_short(cell)!r}, which is no number of watts")
    watts = float(cell.replace(",", "."))
    if not math.isfinite(watts):
        raise ValueError(f"{_POWER} is {_short(cell)!r}, which is too large")
    if watts < 0:
        raise ValueError(f"{_POWER} is {cell!r}, which is below 0")
    return watts


def _time(cell: str) -> float | datetime:
    """Seconds since 1970 of a cell, or, without an offset from UTC, what it says. Raises ValueError for others."""
    if not cell:
        raise ValueError(f"{_TIME} is empty")
    if _UNIX.fullmatch(cell):
        number = float(cell.replace(",", "."))
        seconds = (number / unit for unit in _UNITS_PER_S)
        known = next((value for value in seconds if _FROM_S <= value < _UNTIL_S), None)
        if known is not None:
            return known
    with suppress(ValueError, OverflowError):
        at = _iso(cell)
        if at.tzinfo is None:
            return at
        if is_moment(at.timestamp()):
            return at.timestamp()
    raise ValueError(f"{_TIME} is {_short(cell)!r}, which is neither Unix time of this century nor ISO 8601")


def _iso(text: str) -> datetime:
    """Of ISO 8601 in any form; a blank in place of the T and before the offset, and UTC for Z, as many write it."""
    if text.isdigit():  # would be a year, or a day
        raise ValueError(text)
    text = " ".join(text.upper().replace("\N{MINUS SIGN}", "-").split())
    text = re.sub(r" ?(UTC|GMT|Z)$", "Z", text)
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        from dateutil.parser import isoparse  # days of a year, 24:00

        parsed: datetime = isoparse(text)
        return parsed


def _unreadable(path: Path, found: _Readings) -> Iterator[str]:
    """The lines that are no readings, and signs that contradict each other."""
    if len(found.decimals) > 1:
        yield f"{path} has powers with a decimal comma and powers with a decimal point: write all of them in one way"
    if found.bad:
        yield f"{path} has lines that are no readings:"
        yield from found.bad
        if found.bad_lines > len(found.bad):
            yield f"  and {found.bad_lines - len(found.bad)} more"
        yield (
            "Each line needs a time and the power in watts, 0 or more: delete lines without one, multiply kW by 1000, "
            "and turn the sign where it is the other way round"
        )


def _elsewhere(path: Path, found: _Readings, start: float, end: float) -> Iterator[str]:
    """Times that are not known, and those that do not cover the run's."""
    if found.local:
        (first, at_first), (last, at_last) = found.local
        yield (
            f"{path} has times without an offset from UTC, {_local(first)} (line {at_first}) to {_local(last)} (line "
            f"{at_last}), and the run trained from {_span(start, end)}: write the offset of the meter's clock at each "
            f"time, such as {_local(first)}+01:00, or Z where it is UTC"
        )
    elif found.times and (min(found.times) > start + _ROUNDED_S or max(found.times) < end - _ROUNDED_S):
        yield (
            f"{path} has readings from {_span(min(found.times), max(found.times))}, which do not cover the run's "
            f"training, from {_span(start, end)}: give the file of that time; where both are whole hours apart, the "
            "meter's times are not UTC"
        )


def _span(start: float, end: float) -> str:
    return f"{_utc(start)} to {_utc(end)}"


def _utc(unix_s: float) -> str:
    try:
        return f"{datetime.fromtimestamp(unix_s, UTC):%Y-%m-%d %H:%M:%S} UTC"
    except (ValueError, OverflowError, OSError):  # of a board's clock that is far off
        return f"{unix_s:g} s"


def _local(time: datetime) -> str:
    return f"{time:%Y-%m-%d %H:%M:%S}"


def _short(text: str) -> str:
    return text if len(text) <= _LONG else f"{text[:_LONG]}..."
