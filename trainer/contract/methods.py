"""Methods of synchronising: a record for each, with all that the kit knows of it.

Standard library only, Python 3.8 syntax. A new method is a record here and a module of its name in trainer/sync: it can
then be configured, trained with, timed, predicted and compared. Its options are fields of `Sync` in config.py.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Callable, Dict, List, Optional, Sequence, Tuple

from trainer.contract.lowrank import low_rank_elements

if TYPE_CHECKING:
    from trainer.contract.sections import Sync

_BYTES = {"float32": 4, "float16": 2, "bfloat16": 2}  # bytes of an element

# collectives with which Keras reduces loss and accuracy in a step: total and count of each, and the sums of both
# (counted in TensorFlow 2.12's trace)
KERAS_METRICS = 6
# what may hide an exchange; see Exchange.behind
NOTHING, BACKWARD_PASS, NEXT_STEPS = "nothing", "the backward pass", "the next steps"


@dataclass(frozen=True)
class Sizes:
    """The model's size in elements, which decides what is sent."""

    gradient: float
    changing: int  # with the moving statistics, without what is frozen
    shapes: Optional[Sequence[Tuple[int, ...]]]  # of the trainable tensors; null where they are not known


@dataclass(frozen=True)
class Exchange:
    """What boards hand to collectives in an exchange, and how often; predictions use it."""

    messages: Sequence[float]  # elements of each, in the order of sending; NaN where unknown
    element_bytes: int
    every: int = 1  # steps from one exchange to the next
    # what is computed meanwhile: NOTHING; BACKWARD_PASS: all messages but the last are sent during it; NEXT_STEPS: the
    # steps until the next exchange
    behind: str = NOTHING
    # collectives of one number each besides them, one after the other, so that they cost latency alone
    single: int = 0


@dataclass(frozen=True)
class Variant:
    """A method with some of its options, as it is timed and predicted."""

    name: str  # such as "local_sgd, period 16": see sections.sync_of
    # steps per turn of a trial, and of the task predict; 0: left out. With local steps, an exchange must begin in the
    # middle of a turn, so that the turn contains its whole cost
    trial_steps: int = 0
    predict_steps: int = 0
    predicted_as: str = ""  # name in tables of predictions; "": left out


@dataclass(frozen=True)
class Method:
    name: str  # sync.method; and of its module in trainer/sync
    sends: str  # what boards exchange, for the table in docs/methods.md
    when: str  # and when
    options: Sequence[str]  # the OPTIONS that it uses
    remedy: str  # what to change to send less
    # the exchange for a `Sync` and a model; null: it depends on measurements in training
    exchange: Optional[Callable[[Sync, Sizes], Exchange]] = None
    own_loop: bool = True  # trains in the kit's loop; false: in Keras' `fit`, or in its module's own
    servers: bool = False  # goes through parameter servers, instead of collectives
    local_steps: bool = False  # boards make optimizer steps on their own between exchanges
    variants: Tuple[Variant, ...] = ()


def _pieces(elements: float, limit_bytes: int) -> List[float]:
    """Elements of equal messages of at most `limit_bytes` as float32; 0: one message."""
    count = math.ceil(4 * elements / limit_bytes) if limit_bytes else 1
    return [elements / count] * count


def _in_packs(sync: Sync, sizes: Sizes) -> Exchange:
    messages = _pieces(sizes.gradient, sync.bytes_per_pack)
    return Exchange(messages, 4, behind=BACKWARD_PASS, single=KERAS_METRICS if sync.metrics == "step" else 0)


def _in_buckets(sync: Sync, sizes: Sizes) -> Exchange:
    messages = _pieces(sizes.gradient, sync.bucket_bytes)
    if len(messages) > 1 and not sync.delay_steps:
        return Exchange(messages, _BYTES[sync.gradient_dtype], sync.accumulate_steps, BACKWARD_PASS)
    return _in_line(messages, sync, sync.accumulate_steps, NEXT_STEPS if sync.delay_steps else NOTHING)


def _low_rank(sync: Sync, sizes: Sizes) -> Exchange:
    messages = (math.nan, math.nan) if sizes.shapes is None else low_rank_elements(sizes.shapes, sync.rank)
    return _in_line(messages, sync, sync.accumulate_steps, NEXT_STEPS if sync.delay_steps else NOTHING)


def _changes(sync: Sync, sizes: Sizes) -> Exchange:
    return _in_line([sizes.changing], sync, sync.period, NEXT_STEPS if sync.overlap else NOTHING)


def _in_line(messages: Sequence[float], sync: Sync, every: int, behind: str = NOTHING) -> Exchange:
    """Messages, one after the other; a number that goes round before the first separates waiting from communication."""
    return Exchange(messages, _BYTES[sync.gradient_dtype], every, behind, int(sync.step_times))


# meaning and unit of the fields of `Sync` that not all methods use
OPTIONS = {
    "bytes_per_pack": "bytes of gradient per collective; 0 leaves it to TensorFlow",
    "metrics": "when loss and accuracy are reduced over the boards: step, as Keras does it in six collectives of one "
    "number each; epoch: summed on each board and reduced once an epoch",
    "gradient_dtype": "data type on the wire; numbers are scaled so that float16 does not overflow",
    "bucket_bytes": "bytes (as float32) per message, sent during the backward pass; 0: one message after it",
    "accumulate_steps": "batches per step of the optimizer",
    "delay_steps": "1: the mean gradient travels while the next one is computed, and is applied after it; of "
    "`local_sgd` in the synchronous warm-up; 0: at once",
    "rank": "rank of the approximation; a higher one loses less and sends more",
    "period": "steps of the optimizer from one average to the next; of `auto` the most that it may choose",
    "overlap": "whether an average travels while the next steps compute",
    "outer_momentum": "momentum of the outer optimizer, whose gradient is the mean change",
    "outer_learning_rate": "learning rate of the outer optimizer; 1 without momentum is plain averaging",
    "warm_up_steps": "first steps of a run, made synchronously with the whole gradient; of `auto` where it chooses "
    "local SGD",
    "warm_up_epochs": "instead of `warm_up_steps`: epochs, or part of one, from the run's begin",
    "warm_up_period": "steps from one average to the next in the warm-up; 1: synchronous steps",
    "efficiency": "wanted share of a step's time that is computing",
}
_OF_AVERAGES = ("overlap", "outer_momentum", "outer_learning_rate")
_WARM_UP = ("warm_up_steps", "warm_up_epochs")
_EVERY_STEP = "every step, or every `accumulate_steps`"

METHODS: Dict[str, Method] = {
    method.name: method
    for method in (
        Method(
            name="keras",
            sends="the gradient, float32, as Keras' `fit` does it under MultiWorkerMirroredStrategy (the paper)",
            when="every step",
            options=("bytes_per_pack", "metrics"),
            remedy="sync.method allreduce (half the bytes) or local_sgd (bytes once in sync.period steps)",
            exchange=_in_packs,
            own_loop=False,
            variants=(
                Variant("keras", 8, 4, "keras"),
                Variant("keras, metrics epoch", predicted_as="keras, metrics once an epoch"),
            ),
        ),
        Method(
            name="allreduce",
            sends="the gradient in one flat message, float16 unless told otherwise; with `bucket_bytes: 2000000` in "
            "several, during the backward pass",
            when=_EVERY_STEP,
            options=("gradient_dtype", "bucket_bytes", "accumulate_steps", "delay_steps"),
            remedy="sync.accumulate_steps above 1 or sync.method local_sgd",
            exchange=_in_buckets,
            variants=(
                Variant("allreduce, float32", 8, 0, "allreduce, float32"),
                Variant("allreduce, float16", 8, 6, "allreduce, float16"),
                Variant("allreduce, float16, bucket_bytes 2000000", 8, 0, "allreduce, buckets"),
                Variant("allreduce, float16, delay_steps 1", 16, 0, "allreduce, a step later"),
            ),
        ),
        Method(
            name="powersgd",
            sends="a low-rank approximation of the gradient; what it lacks is sent later (error feedback)",
            when=_EVERY_STEP,
            options=("gradient_dtype", "accumulate_steps", "delay_steps", "rank", *_WARM_UP),
            remedy="a lower sync.rank or sync.method local_sgd",
            exchange=_low_rank,
            variants=(
                Variant("powersgd, rank 4", 16, 6, "powersgd, rank 4"),
                Variant("powersgd, rank 4, delay_steps 1", 16, 0, "powersgd, a step later"),
            ),
        ),
        Method(
            name="local_sgd",
            sends="the change of all weights and moving statistics; it travels while the next steps compute",
            when="every `period` steps",
            options=("gradient_dtype", "period", *_OF_AVERAGES, *_WARM_UP, "warm_up_period", "delay_steps"),
            remedy="a longer sync.period",
            exchange=_changes,
            local_steps=True,
            variants=(
                Variant("local_sgd, period 16", 32, 16, "local_sgd, period 16"),
                Variant("local_sgd, period 32", 32),
            ),
        ),
        Method(
            name="auto",
            sends="what it chose: the least lossy of `allreduce`, also in buckets, `powersgd` and `local_sgd` with the "
            "wanted `efficiency`",
            when="chosen after a few timed steps; the records and the report say why",
            options=("gradient_dtype", "period", *_OF_AVERAGES, *_WARM_UP, "efficiency"),
            remedy="a higher sync.efficiency",
        ),
        Method(
            name="asynchronous",
            sends="to and from parameter servers (`strategy: parameter_server`): the model before a step, its gradient "
            "after it, float32; no board waits for another one",
            when="every step of a worker",
            options=(),
            remedy="more servers, or strategy multi_worker_mirrored with sync.method local_sgd",
            own_loop=False,
            servers=True,
        ),
    )
}
VARIANTS = tuple(variant for method in METHODS.values() for variant in method.variants)


def exchange_of(sync: Sync, sizes: Sizes) -> Exchange:
    """What boards exchange with this configuration. Raises ValueError if that depends on measurements."""
    exchange = METHODS[sync.method].exchange
    if exchange is None:
        raise ValueError(f"{sync.method} chooses what to send from measurements")
    return exchange(sync, sizes)


def those_with(option: str) -> List[str]:
    """Names of the methods that use an option."""
    return [method.name for method in METHODS.values() if option in method.options]
