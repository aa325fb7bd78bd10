"""The records of a run: names, fields and units. records.py writes and reads them.

Standard library only, Python 3.8 syntax: the boards write with it, `analysis` and the tests read with it.

`events.jsonl` holds one JSON object a line, written by one process: one `start`, then `window`, `epoch` and
other records as they happen, finally `end`. What was not measured is null. Times are Unix seconds of the board's clock;
durations come from its monotonic clock.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar, Dict, List, Optional, Type, TypeVar, Union, get_args, get_type_hints

from trainer.contract.reading import ANY_NUMBER


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
    strategy: Optional[str] = None  # of distribution; null in older records
    # bytes of the model that each parameter server holds, in the order of the servers; null without
    server_bytes: Optional[List[int]] = None


@dataclass(frozen=True)
class Resume:
    """The run was resumed from a checkpoint: earlier records belong to earlier attempts."""

    KIND: ClassVar[str] = "resume"
    epoch: int  # the last completed one that is kept, from 1
    startup_s: float  # from the process's start to this record
    images: int = 0  # of the next one that are kept, too; see checkpoints.Place


@dataclass(frozen=True)
class NewGeneration:
    """A board was lost, or its trainer: the boards that are left train on, from a checkpoint.

    Earlier records of later epochs do not count: they are trained again (see `records.parse_records`).
    """

    KIND: ClassVar[str] = "generation"
    number: int  # from 2; the first generation is that of all boards
    boards: List[str]  # inventory names in rank order; the first one is chief
    epoch: int  # the last completed one that is kept, from 1; 0: none
    lost: List[str]  # of the generation before
    cause_kind: str  # why this board stopped training, one of causes.REMEDIES
    cause: str  # the same, a sentence
    stopped_s: float  # from the last step or record to this one; a resume or start record's startup_s follows
    discarded_s: float  # of steps that are made again
    images: int = 0  # of the next epoch that are kept, too; see checkpoints.Place


@dataclass(frozen=True)
class Window:
    """Consecutive steps of an epoch: `window_steps` of them, fewer at its end and at a checkpoint within it."""

    KIND: ClassVar[str] = "window"
    epoch: int  # from 1
    first_step: int  # in the epoch, from 0; as the boards that train count, if others began the epoch
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
    payload_bytes: int  # handed to collectives or parameter servers on this board
    # updates by other workers between reading the model and updating it, mean over the steps; null without servers
    staleness: Optional[float] = None


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
class Pace:
    """From an epoch on boards make unequal numbers of steps, by their speeds."""

    KIND: ClassVar[str] = "pace"
    epoch: int  # the first one, from 1
    steps: List[int]  # of each board in an epoch, in rank order
    step_s: List[float]  # seconds of computing for a step, of each board in the epoch before


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
    chosen: Optional[str] = None  # the method with its options, such as "powersgd, rank 4"; see sections.sync_of
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
    staleness: Optional[float] = None  # see Window


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint was made; another thread writes it while training goes on."""

    KIND: ClassVar[str] = "checkpoint"
    epoch: int  # the last completed one, from 1; 0: none
    images: int  # of the next one; see checkpoints.Place
    train_s: float  # of the steps of the epoch that it is in; 0 after an epoch
    stall_s: float  # for which it stalled training: an average, a copy of the state, writing the checkpoint before
    size_bytes: int


@dataclass(frozen=True)
class Served:
    """What passed through the link of a board that is a parameter server and nothing else, in an epoch's steps."""

    KIND: ClassVar[str] = "served"
    epoch: int  # from 1
    seconds: float
    sent_bytes: Optional[int]
    received_bytes: Optional[int]


@dataclass(frozen=True)
class Lost:
    """A worker beside parameter servers ended; the others go on."""

    KIND: ClassVar[str] = "lost"
    epoch: int  # from 1
    cause: str  # a sentence


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
    sync: str  # such as "allreduce, float16"; see sections.sync_of
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


Record = Union[
    Start,
    Resume,
    Window,
    Average,
    Pace,
    Choice,
    Epoch,
    Probe,
    Trial,
    Collective,
    Validation,
    Sample,
    NewGeneration,
    End,
    Served,
    Lost,
    Checkpoint,
]
KINDS: Dict[str, Type[Record]] = {kind.KIND: kind for kind in get_args(Record)}
_R = TypeVar("_R")


def fields_of(kind: Type[_R]) -> List[str]:
    """Names of a record's fields, for readers that make tables of them."""
    return [name for name in get_type_hints(kind) if name != "KIND"]
