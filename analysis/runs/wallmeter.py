"""Reads a wall meter's CSV, as meters, home automation and spreadsheets write it, as power over time.

Errors give the line and the remedy. Nothing is guessed: neither a missing time zone nor readings in a gap.
"""

from __future__ import annotations

import codecs
import csv
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from trainer.contract.config import ConfigError

_TIME, _POWER = "time", "power_w"
_WANTED = f"give CSV with the columns {_TIME} and {_POWER}"
_MAX_BYTES = 30 * 10**6  # about 1.5 million readings: one per second for two weeks
_PREAMBLE = 100  # lines before the columns' names
_SHOWN = 5  # invalid lines shown in a message
_LONG = 40  # characters of a cell in a message
_LEAST_W = 1.0  # less than any board takes
_ROUNDED_S = 1.0  # times in whole seconds
_GAP_S, _GAP_SHARE = 75.0, 0.05  # a meter with a reading per minute, a little late; or a twentieth of a long run
_UNITS_PER_S = (1, 10**3, 10**6, 10**9)
_FROM_S, _UNTIL_S = 946_684_800, 4_102_444_800  # 2000 and 2100: makes the unit of a time unambiguous
_UNIX = r"[0-9]+(?:[.,][0-9]*)?"
_NUMBER = r"[+-]?(?:[0-9]+[.,]?[0-9]*|[.,][0-9]+)(?:[eE][+-]?[0-9]+)?"
_OFFSET = r"[T ].*(?:Z|[+-][0-9]{2}(?::?[0-9]{2})?)$"


@dataclass(frozen=True)
class _Readings:
    """The lines below the columns' names; series are indexed by line number."""

    seconds: pd.Series[float]  # since 1970; NaN for invalid times and times without a UTC offset
    local: pd.Series[Any]  # times without a UTC offset
    watts: pd.Series[float]
    bad: dict[int, str]  # reasons of invalid lines
    decimals: set[str]  # decimal signs in powers


def readings(path: Path, start: float, end: float) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
    """Times (s since 1970, ascending, each once) and power (W) of a wall meter, around a run that trained meanwhile.

    Readings may be in any order; of several at one time the mean counts. Raises ConfigError, with all that is wrong,
    for a file that cannot be read, has lines that are no readings, or does not cover the time from start to end: it
    must have readings before and after, and none further apart than 75 s, or a twentieth of a longer run.
    """
    found = _read(path)
    problems = [*_unreadable(path, found), *_elsewhere(path, found, start, end)]
    if problems:
        raise ConfigError(["\n".join(problems)])
    mean = found.watts.groupby(found.seconds).mean()
    times, powers = mean.index.to_numpy(), mean.to_numpy()
    around = slice(max(np.searchsorted(times, start, "right") - 1, 0), np.searchsorted(times, end, "left") + 1)
    times, powers = times[around], powers[around]
    gap = int(np.argmax(np.diff(times))) if len(times) > 1 else None
    longest_s = max(_GAP_S, _GAP_SHARE * (end - start))
    if gap is not None and times[gap + 1] - times[gap] > longest_s:
        raise ConfigError(
            [
                f"{path} has no reading from {_utc(times[gap])} to {_utc(times[gap + 1])}, within the run's training "
                f"({_span(start, end)}): gaps longer than {longest_s:.0f} s are not allowed; give a file "
                "with more readings, or leave it out"
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
    try:
        lines = _text(path).replace("\r\n", "\n").replace("\r", "\n").split("\n")
        names, separator, first = _columns(lines)
    except OSError as error:
        raise ConfigError([f"{path} cannot be read as a wall meter's file: {error.strerror}: {_WANTED}"]) from error
    except ValueError as error:
        raise ConfigError([f"{path} cannot be read as a wall meter's file: {error}"]) from error
    rows: dict[int, tuple[str, str]] = {}
    bad: dict[int, str] = {}
    for number, line in enumerate(lines[first:], first + 1):
        cells = _cells(line, separator)
        # repeated names in concatenated files
        if not any(cells) or line.lstrip(' "').startswith("#") or [cell.lower() for cell in cells] == names:
            continue
        if any(cells[len(names) :]):
            bad[number] = (
                f"has {len(cells)} cells for {len(names)} named columns (separate cells with ; if powers "
                "have a decimal comma)"
            )
            continue
        cells += [""] * (len(names) - len(cells))
        rows[number] = cells[names.index(_TIME)], cells[names.index(_POWER)]
    if not rows and not bad:
        raise ConfigError([f"{path} cannot be read as a wall meter's file: it has no line below the columns' names"])
    table = pd.DataFrame.from_dict(rows, orient="index", columns=[_TIME, _POWER], dtype=object)
    seconds, local = _seconds(table[_TIME])
    powers = table[_POWER].astype(str)
    watts = _numbers(powers, _NUMBER if separator != "," else _NUMBER.replace(",", ""))
    untimed, wrong = seconds.isna() & local.isna(), ~watts.between(0, math.inf, inclusive="left")
    for number in table.index[untimed | wrong]:
        bad[number] = _why(*rows[number], watts[number], bool(untimed[number]))
    decimals = {sign for sign in ".," if powers[~wrong].str.contains(sign, regex=False).any()}
    return _Readings(seconds, local.dropna(), watts, dict(sorted(bad.items())), decimals)


def _text(path: Path) -> str:
    """The file's text without a byte order mark. Raises ValueError if it is not text, or OSError."""
    if not path.is_file():
        raise ValueError(f"{'it is not a file' if path.exists() else 'it does not exist'}: {_WANTED}")
    if path.stat().st_size > _MAX_BYTES:
        raise ValueError(f"it is larger than {_MAX_BYTES / 1e6:.0f} MB: keep only the run's time")
    content = path.read_bytes()
    marked = content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    text = content.decode("utf-16" if marked else "utf-8-sig", errors="replace")
    if re.search(r"[\x00-\x08\x0e-\x1f]", text[: 1 << 16]):
        raise ValueError(f"it is not text: {_WANTED}")
    return text


def _columns(lines: list[str]) -> tuple[list[str], str, int]:
    """The lower-case names of the first line with both columns, its separator, and its number."""
    for number, line in enumerate(lines[:_PREAMBLE], 1):
        for separator in "\t;,":
            names = [cell.lower() for cell in _cells(line, separator)]
            if _TIME in names and _POWER in names:
                for twice in (name for name in (_TIME, _POWER) if names.count(name) > 1):
                    raise ValueError(f"line {number} has more than one column {twice}: rename the others")
                return names, separator, number
    said = next((line for line in lines if line.strip() and not line.startswith("#")), None)
    raise ValueError(f"it is empty: {_WANTED}" if said is None else f"it begins with {_short(said)!r}; {_WANTED}")


def _cells(line: str, separator: str) -> list[str]:
    """A line's cells, stripped. Each line is parsed alone, so that an unclosed quote affects only its line."""
    try:
        cells = next(csv.reader([line.lstrip("\ufeff")], delimiter=separator, skipinitialspace=True), [])
    except csv.Error:
        cells = [line]
    return [cell.strip() for cell in cells]


def _numbers(cells: pd.Series[str], pattern: str) -> pd.Series[float]:
    """Numbers of this pattern, with a decimal comma or point; NaN for other text."""
    plain = cells.where(cells.str.fullmatch(pattern)).str.replace(",", ".", regex=False)
    return pd.to_numeric(plain, errors="coerce").astype(float)


def _seconds(cells: pd.Series[Any]) -> tuple[pd.Series[float], pd.Series[Any]]:
    """Seconds since 1970 from Unix times and ISO 8601 with a UTC offset; and the times without an offset."""
    cells = cells.astype(str)
    numbers = _numbers(cells, _UNIX)
    seconds = pd.Series(math.nan, index=cells.index)
    for unit in _UNITS_PER_S:
        seconds = seconds.fillna((numbers / unit).where((numbers / unit).between(_FROM_S, _UNTIL_S)))
    # a space before the offset, and UTC for Z, are common
    texts = cells.where(numbers.isna(), "").str.upper().str.replace(r" ?(?:UTC|GMT|Z)$", "Z", regex=True)
    texts = texts.str.replace(r" ([+-][0-9:]+)$", r"\1", regex=True)
    texts = texts.str.replace(",", ".", regex=False).str.replace("\N{MINUS SIGN}", "-", regex=False)
    moments = pd.to_datetime(texts, format="ISO8601", errors="coerce", utc=True)
    moments = moments.where(moments.dt.year.between(1970, 2199))
    aware = texts.str.contains(_OFFSET, regex=True)
    unix = (moments - pd.Timestamp(0, tz="UTC")) / pd.Timedelta(seconds=1)
    return seconds.fillna(unix.where(aware)), moments.where(~aware)


def _why(time: str, power: str, watts: float, untimed: bool) -> str:
    """Why a line with these cells is not a reading."""
    if untimed and not time:
        return f"{_TIME} is empty"
    if untimed:
        return f"{_TIME} is {_short(time)!r}, which is neither Unix time of this century nor ISO 8601"
    if not power:
        return f"{_POWER} is empty"
    what = "below 0" if watts < 0 else "too large" if watts == math.inf else "not a number of watts"
    return f"{_POWER} is {_short(power)!r}, which is {what}"


def _unreadable(path: Path, found: _Readings) -> Iterator[str]:
    """Problems: invalid lines, and mixed decimal signs."""
    if len(found.decimals) > 1:
        yield f"{path} has powers with a decimal comma and with a decimal point: use one of them"
    if found.bad:
        yield f"{path} has invalid lines:"
        yield from (f"  line {number}: {why}" for number, why in list(found.bad.items())[:_SHOWN])
        if len(found.bad) > _SHOWN:
            yield f"  and {len(found.bad) - _SHOWN} more"
        yield (
            "Each line needs a time and the power in watts, 0 or more: delete lines without one, multiply kW by 1000, "
            "and invert a negative sign"
        )


def _elsewhere(path: Path, found: _Readings, start: float, end: float) -> Iterator[str]:
    """Problems: times without an offset, and times that do not cover the run."""
    local, known = found.local, found.seconds.dropna()
    if len(local):
        first, last = (f"{at:%Y-%m-%d %H:%M:%S}" for at in (local.min(), local.max()))
        yield (
            f"{path} has times without an offset from UTC, {first} (line {local.idxmin()}) to {last} (line "
            f"{local.idxmax()}), and the run trained from {_span(start, end)}: write the offset of the meter's clock "
            f"at each time, such as {first}+01:00, or Z for UTC"
        )
    elif len(known) and (known.min() > start + _ROUNDED_S or known.max() < end - _ROUNDED_S):
        yield (
            f"{path} has readings from {_span(known.min(), known.max())}, which do not cover the run's training, from "
            f"{_span(start, end)}: give the file of that time; if they differ by whole hours, the meter's "
            "times are not UTC"
        )


def _span(start: float, end: float) -> str:
    return f"{_utc(start)} to {_utc(end)}"


def _utc(unix_s: float) -> str:
    try:
        return f"{datetime.fromtimestamp(unix_s, UTC):%Y-%m-%d %H:%M:%S} UTC"
    except (ValueError, OverflowError, OSError):  # from a board's clock that is far off
        return f"{unix_s:g} s"


def _short(text: str) -> str:
    return text if len(text) <= _LONG else f"{text[:_LONG]}..."
