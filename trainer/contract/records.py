"""Writes and reads a run's records: a JSON object a line, see events.py.

Standard library only, Python 3.8 syntax.
"""

from __future__ import annotations

import dataclasses
import json
import os
import time
from pathlib import Path
from typing import (
    Any,
    BinaryIO,
    Dict,
    Iterable,
    Iterator,
    List,
    Mapping,
    Optional,
    Tuple,
    Union,
    get_args,
    get_type_hints,
)

from trainer.contract import schema1
from trainer.contract.checkpoints import Place
from trainer.contract.events import KINDS, Checkpoint, Epoch, NewGeneration, Record, Sample, Start
from trainer.contract.layout import PROGRESS
from trainer.contract.reading import fit, is_number, opened, parse, printable

_LAST = 4096  # bytes that hold a sample
MAX_LINE = 1 << 20  # bytes of a record
MAX_FILE = 1 << 30  # bytes of a file of records: several weeks
_TOLD = 100  # sentences about one file; characters of a name
_YEAR_10000_S = 253_402_300_800  # a later time is not a date

_FIELDS = {
    name: {"time_s", *(item.name for item in dataclasses.fields(kind) if item.default is dataclasses.MISSING)}
    for name, kind in KINDS.items()
}
_MEASURED = {
    name: [item for item, hint in get_type_hints(kind).items() if item != "KIND" and type(None) not in get_args(hint)]
    for name, kind in KINDS.items()
}
_PLACES = ("epoch", "first_step")  # where a record belongs; without it, it cannot be used


class EventLog:
    """Appends records to one file, each line complete on disk before the next begins."""

    def __init__(self, path: Path) -> None:
        # unbuffered: what a full disk refused must not be written later
        self._file = path.open("ab", buffering=0)
        self._progress = path.with_name(PROGRESS)

    def write(self, record: Record) -> None:
        line = {"event": record.KIND, "time_s": round(time.time(), 6), **dataclasses.asdict(record)}
        content = (json.dumps(line, allow_nan=True) + "\n").encode()
        end = self._file.seek(0, os.SEEK_END)
        try:
            while content:  # a nearly full disk may write only a part
                content = content[self._file.write(content) or 0 :]
        except OSError:
            self._file.truncate(end)
            raise

    def progress(self) -> None:
        """Show the supervisor that training makes progress; cheap enough for every step."""
        self._progress.touch()

    def close(self) -> None:
        self._file.close()


def read_records(path: Path) -> Tuple[List[Dict[str, Any]], List[str]]:
    """The records of a JSON-lines file, and a sentence for each line that is not one; see `parse_records`.

    Raises OSError if it is no regular file.
    """
    with opened(path) as file:
        return parse_records(path, enumerate(lines_of(file), 1))


def lines_of(file: BinaryIO) -> Iterator[bytes]:
    """The lines of a file of records, each cut off at MAX_LINE, and all of them at MAX_FILE."""
    left = MAX_FILE
    while left > 0:
        line = file.readline(MAX_LINE)
        if not line:
            return
        left -= len(line)
        yield line


def parse_records(path: Path, lines: Iterable[Tuple[int, bytes]]) -> Tuple[List[Dict[str, Any]], List[str]]:
    """The records among numbered lines of the file, and sentences for what was skipped.

    Lines that are cut off, or are not a known record with all fields, are skipped, a sentence each; values of another
    type than the record's are null, a sentence for each field. See `parse_record`. What a later generation of boards
    trained again is left out.
    """
    where = f"{path.parent.name}/{path.name}"
    records: List[Dict[str, Any]] = []
    bad: List[str] = []
    wrong = 0
    odd: Dict[str, List[int]] = {}  # numbers of lines by record and field
    for number, line in lines:
        names: List[str] = []
        try:
            records.append(parse_record(line, names))
        except ValueError as error:
            wrong += 1
            if wrong <= _TOLD:
                bad.append(f"{where}, line {number}: {error}")
            continue
        if records[-1]["event"] == NewGeneration.KIND:
            records[:-1] = counted(records[:-1], begins_at(records[-1]))
        for name in names if len(odd) < _TOLD else ():
            odd.setdefault(f"{name[:_TOLD]} of {records[-1]['event']}", []).append(number)
    if wrong > _TOLD:
        bad.append(f"{where}: {wrong - _TOLD} more lines are not records")
    for name, numbers in odd.items():
        more = f", and in {len(numbers) - 1} more lines" if len(numbers) > 1 else ""
        bad.append(f"{where}, line {numbers[0]}{more}: {printable(name)} has a value of another kind, and is not used")
    return records, bad


def counted(records: List[Dict[str, Any]], begins: Place) -> List[Dict[str, Any]]:
    """The records that count where training begins again at a place: those up to it, and what is of the run.

    A board that comes back may lack that place, and some before it.
    """
    ends = [number for number, record in enumerate(records, 1) if (at := place_of(record)) and at <= begins]
    end = ends[-1] if ends else 0
    of_the_run = (Start.KIND, NewGeneration.KIND)
    return records[:end] + [record for record in records[end:] if record["event"] in of_the_run]


def place_of(record: Mapping[str, Any]) -> Optional[Place]:
    """The place in the run that an epoch's or a checkpoint's record ends at; None for other records."""
    if record["event"] == Epoch.KIND:
        return Place(record["epoch"])
    if record["event"] == Checkpoint.KIND and record["images"] is not None:
        return Place(record["epoch"], record["images"])
    return None


def begins_at(record: Mapping[str, Any]) -> Place:
    """The place that training begins at again, of a record of a resume or a generation."""
    return Place(record["epoch"], record.get("images") or 0)


def parse_record(line: Union[bytes, str], odd: Optional[List[str]] = None) -> Dict[str, Any]:
    """The record in a line; unknown fields of later versions are kept, values of another type are null.

    The names of the latter are added to `odd`. Raises ValueError for a line that is cut off, or is not a known record
    with all fields, a time and a place (epoch, first_step).
    """
    try:
        record: Dict[str, Any] = parse(line)
        event = record["event"]
        kind = KINDS.get(event)
        schema1.translate_record(record)
    except (ValueError, KeyError, TypeError):
        raise ValueError("not a record") from None
    if kind is None:
        raise ValueError(f"not a record of {', '.join(KINDS)}: {printable(str(event)[:_TOLD])}")
    if not _FIELDS[event] <= record.keys():
        raise ValueError(f"lacks {', '.join(sorted(_FIELDS[event] - record.keys()))}")
    if not is_moment(record["time_s"]):
        raise ValueError("time_s is not a time")
    names = fit(kind, record)
    lost = [name for name in _PLACES if name in record and record[name] is None]
    if lost:
        raise ValueError(f"{lost[0]} is not a whole number")
    if odd is not None:
        odd += names
    return record


def is_complete(record: Mapping[str, Any]) -> bool:
    """Whether no field that is always measured is null, as one with a value of another type is."""
    return None not in [record.get(name, 0) for name in _MEASURED[record["event"]]]


def last_sample(path: Path) -> Optional[Dict[str, Any]]:
    """The latest complete sample of a file that may be growing, or None."""
    try:
        with opened(path) as file:
            file.seek(max(0, os.fstat(file.fileno()).st_size - _LAST))
            *lines, _ = file.read(_LAST).split(b"\n")
    except OSError:
        return None
    return _sample(lines[-1]) if lines else None


def first_sample(path: Path) -> Optional[Dict[str, Any]]:
    """The first complete sample of a file, or None."""
    try:
        with opened(path) as file:
            return _sample(file.readline(MAX_LINE))
    except OSError:
        return None


def _sample(line: bytes) -> Optional[Dict[str, Any]]:
    try:
        sample = parse(line)
    except ValueError:
        return None
    if not isinstance(sample, dict) or sample.get("event") != Sample.KIND:
        return None
    fit(Sample, sample)
    return sample


def is_moment(value: Any) -> bool:
    """Whether a value is Unix time; JSON may have anything in its place, NaN too."""
    return is_number(value) and 0 <= value < _YEAR_10000_S
