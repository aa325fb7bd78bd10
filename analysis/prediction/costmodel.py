"""What a step of N boards takes with each way of synchronising, from what was measured on few of them.

A step's time is computing, and what it stands still for: bytes that nothing hides, and the slowest board.

    keras        T of the gradient in float32, in one message or in packs, times what fit stretches it by
    allreduce    T of the gradient in its type; buckets hide behind the backward pass what they can
    powersgd     T of two messages: P with what is sent whole, and Q (trainer/contract/lowrank.py)
    local_sgd    every `period` steps T of all weights and moving statistics; hidden behind the next `period` steps, at
                 whose end it must have come (trainer/sync/local_sgd.py); the optimizer's moments stay at home

T is that of `allreduce.py`. The kit's own ways send four more bytes round before each message, so that waiting is
told from communication: another latency of a ring. Of waiting: a synchronous step ends when the slowest of N boards is
ready. With steps that vary normally and independently with the standard deviation s that is s E_N later than the mean,
E_N being the expected greatest of N standard normals (Blom, "Statistical estimates and transformed beta-variables",
1958). Of H steps together the deviation is s sqrt(H), so that a period of local SGD waits s E_N / sqrt(H) a step, and
that too is hidden while the average is under way. A board that is slower for good is waited for by every way.

What measuring shows beyond that is taken as it was measured (`Constants`), and is constant: per step for `keras`,
`allreduce` and `powersgd`, per average for `local_sgd`. Where boards share a machine, computing at the same time is
slower than alone; that is measured (`Measured.together_step_s`) and belongs to computing. Learning is not modelled:
more boards are larger batches or rarer averages, and may need more epochs.
"""

from __future__ import annotations

import dataclasses
import math
import statistics
from bisect import bisect_left
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from analysis.prediction.allreduce import AllReduce, Network, Point, fit, hops, tells_latency
from analysis.prediction.measured import Measured, Timed
from analysis.prediction.mobilenet import low_rank_elements
from trainer.contract.choice import choose
from trainer.contract.config import Sync
from trainer.contract.events import Choice

# of computing: a layer's forward pass is one product of matrices, its backward pass two
BACKWARD = 2 / 3
_SYNCHRONOUS = ("keras", "allreduce", "powersgd")
_BYTES = {"float32": 4, "float16": 2, "bfloat16": 2}
_LONGEST_PERIOD = 4096  # steps
_FASTEST_KBIT_S = 10**10


@dataclass(frozen=True)
class Constants:
    """What follows from the measurements. What was not measured is taken to cost nothing, and `missing` says so."""

    all_reduce: AllReduce
    spread_s: float  # standard deviation of one step of a board
    keras_stretch: float  # how many times as long as by itself the all-reduce takes within fit
    overhead_s: Mapping[str, float]  # by way: what a step computes longer than without exchange
    average_delay_s: float  # how much longer an average takes while steps compute
    average_cpu_s: float  # that an average takes from these steps
    missing: tuple[str, ...]


@dataclass(frozen=True)
class Step:
    """One step of one board, mean; seconds."""

    compute_s: float  # with all that is neither of the other two
    communication_s: float  # that nothing hides
    waiting_s: float  # for the slowest board

    @property
    def total_s(self) -> float:
        return self.compute_s + self.communication_s + self.waiting_s


def constants(measured: Measured) -> Constants:
    """The model's constants; what cannot be told from these measurements is in `missing`."""
    points = measured.points or tuple(_points_of_training(measured))
    all_reduce = fit(points)
    spread_s = _spread(measured, all_reduce)
    stretches: list[float] = []
    overheads: dict[str, list[float]] = {}
    for it in filter(_tells(measured), measured.timed):
        stretch, overhead_s = _beyond(measured, all_reduce, spread_s or 0.0, it)
        stretches += [] if stretch is None else [stretch]
        overheads.setdefault(it.sync.way, []).append(overhead_s)
    local = [it for it in measured.timed if it.sync.way == "local_sgd" and it.link_bit_per_s]
    absent = {
        "an all-reduce (bytes are taken to travel as fast as the link lets them)": not points,
        "all-reduces of different sizes (messages are taken to have no latency)": points and not tells_latency(points),
        "how much steps vary (boards are taken to wait only for one that is always slower)": spread_s is None,
        **{f"what {way} costs beyond its all-reduce": way not in overheads for way in _SYNCHRONOUS},
        "what an average of local_sgd costs the steps it overlaps": not local,
    }
    return Constants(
        all_reduce=all_reduce,
        spread_s=spread_s or 0.0,
        keras_stretch=_mean(stretches, 1.0),
        overhead_s={way: _mean(values, 0.0) for way, values in overheads.items()},
        average_delay_s=_mean(
            [
                max(0.0, it.average_s - _by_itself_s(measured, all_reduce, it))
                for it in local
                if it.average_s is not None
            ],
            0.0,
        ),
        average_cpu_s=_mean([max(0.0, it.sync.period * _longer_s(measured, it)) for it in local], 0.0),
        missing=tuple(name for name, true in absent.items() if true),
    )


def step(measured: Measured, found: Constants, sync: Sync | None, workers: int, network: Network) -> Step:
    """A step of `workers` boards, each with `measured.board_batch` images; `sync` null: they exchange nothing.

    NaN where the bytes are not known: powersgd on a model whose shapes are not.
    """
    if workers == 1:
        return Step(alone_s(measured), 0.0, 0.0)
    compute = compute_s(measured)
    if sync is None:
        return Step(compute, 0.0, 0.0)
    travel_s = _travel_s(measured, found.all_reduce, sync, workers, network)
    token_s = hops(workers) * found.all_reduce.latency_s
    if sync.way == "local_sgd":
        return _local(measured, found, sync, workers, travel_s + token_s)
    compute += found.overhead_s.get(sync.way, 0.0)
    every = sync.accumulate_steps
    waiting_s = _waiting_s(measured, found.spread_s, workers, every)
    messages = _messages(measured, sync)
    if sync.way == "keras":
        travel_s *= found.keras_stretch
    elif messages == 1 or sync.way == "powersgd":
        travel_s += messages * token_s
    if sync.way != "powersgd":
        hidden_s = BACKWARD * compute * (1 - 1 / messages)
        travel_s = max(travel_s - hidden_s, travel_s / messages)
    return Step(compute, travel_s / every, waiting_s)


def chosen(measured: Measured, found: Constants, workers: int, network: Network, efficiency: float) -> Choice:
    """What `auto` would take on such boards, and why: it judges by computing and all-reduces alone."""
    float32_s, float16_s = (
        found.all_reduce.seconds(share * measured.gradient_bytes, workers, network) for share in (1, 1 / 2)
    )
    return choose(compute_s(measured) + found.overhead_s.get("allreduce", 0.0), float32_s, float16_s, efficiency)


def break_even_link(measured: Measured, found: Constants, sync: Sync, workers: int, network: Network) -> float | None:
    """bit/s of the boards' links from which on they are as fast as one board; null where no link is fast enough."""

    def reached(kbit_s: int) -> bool:
        faster = dataclasses.replace(network, link_bit_per_s=1000 * kbit_s)
        return step(measured, found, sync, workers, faster).total_s <= workers * alone_s(measured)

    rates = range(1, _FASTEST_KBIT_S)
    place = bisect_left(rates, True, key=reached)
    return 1000.0 * rates[place] if place < len(rates) else None


def break_even_period(
    measured: Measured, found: Constants, sync: Sync, workers: int, network: Network, efficiency: float
) -> int | None:
    """The shortest period of local SGD with which boards are that efficient; null where none is."""

    def reached(period: int) -> bool:
        rarer = dataclasses.replace(sync, period=period)
        return alone_s(measured) / step(measured, found, rarer, workers, network).total_s >= efficiency

    periods = range(1, _LONGEST_PERIOD + 1)
    place = bisect_left(periods, True, key=reached)
    return periods[place] if place < len(periods) else None


def alone_s(measured: Measured) -> float:
    """A step of a board while the others do nothing; while they compute, where only that was measured."""
    return statistics.fmean(measured.step_s or measured.together_step_s)


def compute_s(measured: Measured) -> float:
    """Computing of a step while all boards compute; of a board alone, where only that was measured."""
    return statistics.fmean(measured.together_step_s or measured.step_s)


def expected_maximum(count: int) -> float:
    """Of that many independent standard normals (Blom 1958, with alpha = 3/8; within 5 % from two on)."""
    return statistics.NormalDist().inv_cdf((count - 0.375) / (count + 0.25))


def _local(measured: Measured, found: Constants, sync: Sync, workers: int, travel_s: float) -> Step:
    """Of a period's steps: their own time, the average's, and what of it is not hidden."""
    boards = measured.together_step_s or measured.step_s
    compute = compute_s(measured) + found.average_cpu_s / sync.period
    random_s = found.spread_s * expected_maximum(workers) * math.sqrt(sync.period)
    lag_s = max(boards) - statistics.fmean(boards)
    if not sync.overlap:
        return Step(compute, travel_s / sync.period, lag_s + random_s / sync.period)
    late_s = max(0.0, travel_s + found.average_delay_s + random_s - sync.period * compute)
    waiting_s = min(late_s, random_s)
    return Step(compute, (late_s - waiting_s) / sync.period, lag_s + waiting_s / sync.period)


def _waiting_s(measured: Measured, spread_s: float, workers: int, every: int = 1) -> float:
    """A step, for the slowest board, where boards meet every so many steps."""
    boards = measured.together_step_s or measured.step_s
    return max(boards) - statistics.fmean(boards) + spread_s * expected_maximum(workers) / math.sqrt(every)


def _travel_s(measured: Measured, all_reduce: AllReduce, sync: Sync, workers: int, network: Network) -> float:
    """Of all messages of one exchange, one after the other, by themselves."""
    size = 4 if sync.way == "keras" else _BYTES[sync.gradient_dtype]
    if sync.way == "powersgd":
        if measured.shapes is None:
            return math.nan
        parts: Sequence[float] = low_rank_elements(list(measured.shapes), sync.rank)
    elif sync.way == "local_sgd":
        parts = [measured.total_parameters]
    else:
        messages = _messages(measured, sync)
        parts = [measured.gradient_bytes / 4 / messages] * messages
    return sum(all_reduce.seconds(size * part, workers, network) for part in parts)


def _messages(measured: Measured, sync: Sync) -> int:
    if sync.way == "powersgd":
        return 2
    limit = sync.bytes_per_pack if sync.way == "keras" else sync.bucket_bytes
    return math.ceil(measured.gradient_bytes / limit) if limit else 1


def _tells(measured: Measured) -> Callable[[Timed], bool]:
    """Whether steps tell what a way costs beyond its all-reduce: one exchange a step, which nothing hides."""

    def tells(it: Timed) -> bool:
        one = it.sync.way == "powersgd" or _messages(measured, it.sync) == 1
        known = it.sync.way in _SYNCHRONOUS and it.link_bit_per_s is not None
        return one and known and it.sync.accumulate_steps == 1

    return tells


def _points_of_training(measured: Measured) -> Iterator[Point]:
    """All-reduces within training, less waiting, where none were timed by themselves."""
    for it in filter(_tells(measured), measured.timed):
        if it.sync.way != "powersgd" and it.communication_s and it.link_bit_per_s:
            size = 4 if it.sync.way == "keras" else _BYTES[it.sync.gradient_dtype]
            within_s = _waiting_s(measured, measured.spread_s or 0.0, it.workers) if it.waiting_s is None else 0.0
            seconds = max(it.communication_s - within_s, it.communication_s / 2)
            yield Point(size / 4 * measured.gradient_bytes, seconds, it.workers, it.link_bit_per_s)


def _beyond(measured: Measured, all_reduce: AllReduce, spread_s: float, it: Timed) -> tuple[float | None, float]:
    """How many times as long as by itself the all-reduce took, where waiting is within it; seconds beyond both."""
    by_itself_s = _by_itself_s(measured, all_reduce, it)
    waiting_s = _waiting_s(measured, spread_s, it.workers) if it.waiting_s is None else it.waiting_s
    stretch = None
    if it.communication_s is None:
        stood_s = by_itself_s
    elif it.waiting_s is None:
        stood_s = it.communication_s - waiting_s
        stretch = max(1.0, stood_s / by_itself_s)
    else:
        stood_s = it.communication_s
    return stretch, max(0.0, it.step_s - (it.apart_s or compute_s(measured)) - waiting_s - stood_s)


def _by_itself_s(measured: Measured, all_reduce: AllReduce, it: Timed) -> float:
    return _travel_s(measured, all_reduce, it.sync, it.workers, Network(it.link_bit_per_s or math.nan))


def _longer_s(measured: Measured, it: Timed) -> float:
    """A step of local SGD, than one without exchange; what it stood still for is not counted."""
    stood_s = (it.communication_s or 0.0) + (it.waiting_s or 0.0)
    return it.step_s - (it.apart_s or compute_s(measured)) - stood_s


def _spread(measured: Measured, all_reduce: AllReduce) -> float | None:
    """From how long boards waited for each other; else from how much a board's steps varied."""
    found = [
        (it.waiting_s - hops(it.workers) * all_reduce.latency_s) / expected_maximum(it.workers)
        for it in filter(_tells(measured), measured.timed)
        if it.waiting_s is not None and it.sync.way == "allreduce"
    ]
    return max(0.0, statistics.fmean(found)) if found else measured.spread_s


def _mean(values: list[float], otherwise: float) -> float:
    return statistics.fmean(values) if values else otherwise
