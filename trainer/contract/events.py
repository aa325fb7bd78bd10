"""The records of a run: names, fields and units, and how they are written and read.

Standard library only, Python 3.8 syntax: the boards write with it, `analysis` and the tests read with it.

`events.jsonl` holds one JSON object a line, written by one process: one `start`, then `window`, `epoch` and
other records as they happen, finally `end`. What was not measured is null. Times are Unix seconds of the board's clock;
durations come from its monotonic clock.
"""

from __future__ import annotations

import dataclasses
import json
import os
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import (
    Any,
    BinaryIO,
    ClassVar,
    Dict,
    Iterable,
    Iterator,
    List,
    Mapping,
    Optional,
    Tuple,
    Type,
    TypeVar,
    Union,
    get_args,
    get_type_hints,
)

from trainer.contract import schema1
from trainer.contract.layout import PROGRESS, SCHEMA
from trainer.contract.reading import ANY_NUMBER, fit, is_number, opened, parse, printable

_LAST = 4096  # bytes that hold a sample
MAX_LINE = 1 << 20  # bytes of a record
MAX_FILE = 1 << 30  # bytes of a file of records: several weeks
_TOLD = 100  # sentences about one file; characters of a name
ENDED = ("succeeded", "failed", "interrupted")  # how a worker or a run ends
_YEAR_10000_S = 253_402_300_800  # a later time is not a date


@dataclass(frozen=True)
class Start:
    """The trainer is ready for its first step."""

    KIND: ClassVar[str] = "start"
    board: str  # inventory name
    rank: int
    workers: int
    trainable_parameters: int
    total_parameters: int
    gradient_bytes: int  # of one step, float32: 4 x trainable_parameters
    steps_per_epoch: int  # on this board
    board_batch: int  # images per step on this board
    train_images: int  # in the data set, before sharding
    validation_images: int
    classes: int
    synthetic: bool  # the images were generated
    sync: str  # the method of synchronising that ran; none: one board without a strategy
    collective_asked: Optional[str]  # auto, ring or nccl; null without collectives
    precision: str  # of the computation: float32, mixed_float16 or mixed_bfloat16
    xla: str  # as in model.xla; none without a GPU
    cache_features_s: Optional[float]  # to compute the backbone's features once; null where they are not cached
    interface: Optional[str]  # whose counters sent_bytes and received_bytes are
    startup_s: float  # from the process's start to this record
    # trainable parameters and moving statistics that training changes; null in older records. What is frozen is not
    # sent
    changing_parameters: Optional[int] = None


@dataclass(frozen=True)
class Resume:
    """The run was resumed from a checkpoint: earlier records belong to earlier attempts."""

    KIND: ClassVar[str] = "resume"
    epoch: int  # the last completed one that is kept, from 1
    startup_s: float  # from the process's start to this record


@dataclass(frozen=True)
class Window:
    """Consecutive steps of an epoch: `window_steps` of them, fewer at its end."""

    KIND: ClassVar[str] = "window"
    epoch: int  # from 1
    first_step: int  # in the epoch, from 0
    steps: int
    images: int  # on this board
    elapsed_s: float  # wall time of the window
    loss: float = field(metadata=ANY_NUMBER)  # mean over the epoch so far, as in Keras
    accuracy: float  # the same
    learning_rate: float
    # elapsed_s is compute_s + communication_s + waiting_s; all are null with sync.step_times false
    compute_s: Optional[float]  # computing, reading images, the framework
    communication_s: Optional[float]  # steps stalled while bytes were on the wire
    waiting_s: Optional[float]  # steps stalled until the slowest board was ready; null: within communication_s
    overlapped_s: Optional[float]  # communication hidden behind computing
    sent_bytes: Optional[int]
    received_bytes: Optional[int]
    payload_bytes: int  # handed to collectives on this board


@dataclass(frozen=True)
class Average:
    """Local SGD averaged the boards' weights."""

    KIND: ClassVar[str] = "average"
    step: int  # step of the run, from 1, after which it began
    applied_at: int  # step after which it was applied
    travel_s: Optional[float]  # time on the wire; null with sync.step_times false, as is the next one
    waiting_s: Optional[float]  # until the slowest board began
    stall_s: float  # the part of both that stalled steps
    # L2 norms: of this board's change of the trainable weights, less the mean change, and of the mean change;
    # distance / moved shows how far the boards diverge
    distance: float = field(metadata=ANY_NUMBER)
    moved: float = field(metadata=ANY_NUMBER)


@dataclass(frozen=True)
class Choice:
    """The method of synchronising that `auto` chose, and why."""

    KIND: ClassVar[str] = "choice"
    method: str
    gradient_dtype: str
    period: Optional[int]  # null where boards synchronise at every step
    wanted_efficiency: float
    expected_efficiency: float
    compute_s: float  # of a step; mean over the boards, as are the next two
    float32_all_reduce_s: float  # of the gradient; the shortest seen on each board
    float16_all_reduce_s: float
    reason: str  # a sentence
    # null in records of older versions
    chosen: Optional[str] = None  # the method with its options, such as "powersgd, rank 4"; see config.sync_of
    extra_s: Optional[Dict[str, float]] = None  # seconds that synchronising adds to a step, by each timed method


@dataclass(frozen=True)
class Epoch:
    """An epoch: a pass over the board's images, then validation."""

    KIND: ClassVar[str] = "epoch"
    epoch: int  # from 1
    steps: int
    images: int  # on this board
    train_s: float  # the steps
    validation_s: float
    epoch_s: float  # train_s + validation_s + the time between them
    loss: float = field(metadata=ANY_NUMBER)
    accuracy: float
    val_loss: float = field(metadata=ANY_NUMBER)
    val_accuracy: float
    learning_rate: float  # of the last step
    communication_s: Optional[float]  # of train_s; see Window
    waiting_s: Optional[float]
    sent_bytes: Optional[int]  # during the steps
    received_bytes: Optional[int]
    payload_bytes: int


@dataclass(frozen=True)
class Probe:
    """The probe: a step and an all-reduce, timed without training."""

    KIND: ClassVar[str] = "probe"
    step_s: List[float]  # on this board alone; each the mean of some steps
    distributed_step_s: List[float]  # with all boards and Keras' method; empty on one board
    all_reduce_s: List[float]  # of the gradient alone; empty on one board
    payload_bytes: int  # of the gradient


ONE_BOARD, NO_SYNC = "one board", "no_sync"  # Trial.sync of one board alone, and of boards that do not synchronise


@dataclass(frozen=True)
class Trial:
    """Some steps with one method of synchronising, timed without training."""

    KIND: ClassVar[str] = "trial"
    sync: str  # such as "allreduce, float16"; see config.sync_of
    cycle: int  # from 1
    steps: int
    images: int  # on this board
    elapsed_s: float
    communication_s: Optional[float]  # see Window
    waiting_s: Optional[float]
    overlapped_s: Optional[float]
    sent_bytes: Optional[int]
    payload_bytes: int


@dataclass(frozen=True)
class Collective:
    """All-reduces of a float32 vector over all boards, timed alone."""

    KIND: ClassVar[str] = "collective"
    payload_bytes: int  # of one board's vector
    seconds: List[float]  # of each


@dataclass(frozen=True)
class Validation:
    """Validation of some batches, timed alone."""

    KIND: ClassVar[str] = "validation"
    batches: int
    seconds: float  # of all of them
    batches_per_epoch: int  # on this board


@dataclass(frozen=True)
class Sample:
    """The board's load, memory, temperatures and power at a moment of the run; in telemetry.jsonl."""

    KIND: ClassVar[str] = "sample"
    idle: bool  # the trainer had not begun
    memory_bytes: Optional[int]  # in use
    cpu_load: Optional[float]  # 0 to 1, mean of the board's cores
    gpu_load: Optional[float]  # 0 to 1
    temperature_c: Dict[str, float]  # by sensor
    power_mw: Dict[str, int]  # by rail of the module; the power supply's loss is not included
    sent_bytes: Optional[int]  # since the interface came up
    received_bytes: Optional[int]
    # null in samples of older versions
    clocks_pinned: Optional[bool] = None  # of the CPUs and the GPU
    over_current_events: Optional[Dict[str, int]] = None  # since the run began on this board, by alarm
    throttled_s: Optional[Dict[str, float]] = None  # by heat, since the run began, by cooling device


@dataclass(frozen=True)
class End:
    """The end of training, with its totals."""

    KIND: ClassVar[str] = "end"
    epochs: int  # completed
    train_s: float  # sum over the epochs
    total_s: float  # from the process's start; plus earlier attempts up to their last kept record


Record = Union[Start, Resume, Window, Average, Choice, Epoch, Probe, Trial, Collective, Validation, Sample, End]
KINDS: Dict[str, Type[Record]] = {kind.KIND: kind for kind in get_args(Record)}
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
    type than the record's are null, a sentence for each field. See `parse_record`.
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
        for name in names if len(odd) < _TOLD else ():
            odd.setdefault(f"{name[:_TOLD]} of {records[-1]['event']}", []).append(number)
    if wrong > _TOLD:
        bad.append(f"{where}: {wrong - _TOLD} more lines are not records")
    for name, numbers in odd.items():
        more = f", and in {len(numbers) - 1} more lines" if len(numbers) > 1 else ""
        bad.append(f"{where}, line {numbers[0]}{more}: {printable(name)} has a value of another kind, and is not used")
    return records, bad


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


@dataclass(frozen=True)
class Result:
    """The content of result.json: how a board's worker ended. Written last, and atomically."""

    status: str  # succeeded, failed or interrupted
    cause: Optional[str]  # of a failure, one sentence
    exit_code: Optional[int]
    started_s: float  # Unix time
    ended_s: float
    epochs_completed: int
    facts: Dict[str, Any]  # of the board: see facts.py
    cause_kind: Optional[str] = None  # one of causes.REMEDIES
    remedy: Optional[str] = None
    schema: int = SCHEMA


@dataclass(frozen=True)
class BoardFacts:
    """The facts in a result that are compared and shown; see facts.py. What a board does not know is null."""

    hostname: Optional[str]
    machine: Optional[str]
    cores: Optional[int]
    memory_bytes: Optional[int]
    python: Optional[str]
    tensorflow: Optional[str]
    packages_sha256: Optional[str]
    jetpack: Optional[str]
    module: Optional[str]
    interface: Optional[str]
    emulated: Optional[bool]
    link_rate_bit_per_s: Optional[float]
    collective_used: Optional[str]


def as_result(value: Any) -> Tuple[Dict[str, Any], List[str]]:
    """A board's result with values of the declared types, or null; and the names of those that were of another.

    Raises ValueError for a value that is no result: it must say how and when it ended.
    """
    if not isinstance(value, dict):
        raise ValueError("is not a JSON object")
    missing = [item.name for item in dataclasses.fields(Result) if item.default is dataclasses.MISSING]
    missing = [name for name in missing if name not in value]
    if missing:
        raise ValueError(f"lacks {', '.join(missing)}")
    odd = fit(Result, value)
    if value["status"] not in ENDED:
        raise ValueError(f"has a status that is none of {', '.join(ENDED)}")
    if not is_moment(value["started_s"]) or not is_moment(value["ended_s"]):
        raise ValueError("has a started_s or ended_s that is not a time")
    value["facts"] = value["facts"] or {}
    odd += [f"facts.{name}" for name in fit(BoardFacts, value["facts"])]
    return value, odd


_R = TypeVar("_R")


def fields_of(kind: Type[_R]) -> List[str]:
    """Names of a record's fields, for readers that make tables of them."""
    return [name for name in get_type_hints(kind) if name != "KIND"]
