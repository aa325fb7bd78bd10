"""The cost model: the time of a step on N boards with each method, from measurements on few boards.

A step's time is computing, communication that is not hidden, and waiting for the slowest board.

A method's record says what it sends, how often, and what may hide it (`exchange` in trainer/contract/methods.py);
`allreduce.py` says how long a message takes. Messages sent during the backward pass overlap it, except for the last
one; an exchange that overlaps the next steps must arrive before they end (trainer/sync/local_sgd.py). Collectives of a
single number cost a ring's latency each and are never hidden behind the backward pass: Keras' six for loss and
accuracy, and one before each message of the kit's methods, which separates waiting from communication. Waiting: a
synchronous step ends when the slowest of N boards is ready. With steps that vary normally and independently with the
standard deviation s that is s E_N later than the mean, E_N being the expected greatest of N standard normals (Blom,
"Statistical estimates and transformed beta-variables", 1958). Of H steps together the deviation is s sqrt(H), so that
a period of local SGD waits s E_N / sqrt(H) a step, and that too is hidden while the average is under way. A board that
is slower for good is waited for with every method.

Measured costs that the model does not explain are kept as constants (`Constants`): per step, or per exchange for
methods with local steps. Where boards share a machine, computing at the same time is
slower than alone; that is measured (`Measured.together_step_s`) and belongs to computing. Learning is not modelled:
more boards are larger batches or rarer averages, and may need more epochs.
"""

from __future__ import annotations

import dataclasses
import math
import statistics
from bisect import bisect_left
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from analysis.prediction.allreduce import AllReduce, Network, Point, fit, hops, tells_latency
from analysis.prediction.measured import Measured, Timed
from trainer.contract.choice import FLOAT32, TIMED, choose
from trainer.contract.events import Choice
from trainer.contract.methods import BACKWARD_PASS, METHODS, NEXT_STEPS, NOTHING, Exchange, exchange_of
from trainer.contract.sections import Sync, sync_of

# fraction of computing: a layer's forward pass is one matrix product, its backward pass two
BACKWARD = 2 / 3
_LONGEST_PERIOD = 4096  # steps
_FASTEST_KBIT_S = 10**10


@dataclass(frozen=True)
class Constants:
    """Constants from the measurements. What was not measured counts as zero and is listed in `missing`."""

    all_reduce: AllReduce
    spread_s: float  # standard deviation of one step of a board
    stretch: Mapping[str, float]  # by method: the all-reduce's time within steps relative to its time alone
    overhead_s: Mapping[str, float]  # by method: extra computing per step compared with no synchronising
    average_delay_s: float  # extra seconds of local SGD's average while steps compute
    average_cpu_s: float  # seconds of computing that it takes from these steps
    missing: tuple[str, ...]


@dataclass(frozen=True)
class Step:
    """One step of one board, mean; seconds."""

    compute_s: float  # everything but the next two
    communication_s: float  # that is not hidden
    waiting_s: float  # for the slowest board

    @property
    def total_s(self) -> float:
        return self.compute_s + self.communication_s + self.waiting_s


def constants(measured: Measured) -> Constants:
    """The model's constants; those that cannot be derived from these measurements are in `missing`."""
    points = measured.points or tuple(_points_of_training(measured))
    all_reduce = fit(points)
    spread_s = _spread(measured, all_reduce)
    stretches: dict[str, list[float]] = {}
    overheads: dict[str, list[float]] = {}
    for it in filter(_tells(measured), measured.timed):
        stretch, overhead_s = _beyond(measured, all_reduce, spread_s or 0.0, it)
        if stretch is not None:
            stretches.setdefault(it.sync.method, []).append(stretch)
        overheads.setdefault(it.sync.method, []).append(overhead_s)
    local = [it for it in measured.timed if METHODS[it.sync.method].local_steps and it.link_bit_per_s]
    known = {name: method for name, method in METHODS.items() if method.exchange}
    averaging = ", ".join(name for name, method in known.items() if method.local_steps)
    absent = {
        "an all-reduce (bytes are assumed to travel at the link's rate)": not points,
        "all-reduces of different sizes (messages are assumed to have no latency)": points
        and not tells_latency(points),
        "the variation of steps (boards are assumed to wait only for one that is always slower)": spread_s is None,
        **{
            f"the cost of {name} beyond its all-reduce": name not in overheads
            for name, method in known.items()
            if not method.local_steps
        },
        f"the cost of an average of {averaging} for the steps that it overlaps": not local,
    }
    return Constants(
        all_reduce=all_reduce,
        spread_s=spread_s or 0.0,
        stretch={name: statistics.fmean(values) for name, values in stretches.items()},
        overhead_s={name: statistics.fmean(values) for name, values in overheads.items()},
        average_delay_s=_mean(
            [
                max(0.0, it.average_s - _by_itself_s(measured, all_reduce, it))
                for it in local
                if it.average_s is not None
            ],
            0.0,
        ),
        average_cpu_s=_mean(
            [max(0.0, exchange_of(it.sync, measured.sizes).every * _longer_s(measured, it)) for it in local], 0.0
        ),
        missing=tuple(name for name, true in absent.items() if true),
    )


def step(measured: Measured, found: Constants, sync: Sync | None, workers: int, network: Network) -> Step:
    """A step of `workers` boards with `measured.board_batch` images each; `sync` null: no synchronising.

    NaN if the bytes are unknown: powersgd on a model of unknown shapes.
    """
    if workers == 1:
        return Step(alone_s(measured), 0.0, 0.0)
    compute = compute_s(measured)
    if sync is None:
        return Step(compute, 0.0, 0.0)
    exchange = exchange_of(sync, measured.sizes)
    every, messages = exchange.every, len(exchange.messages)
    local = METHODS[sync.method].local_steps
    compute += found.average_cpu_s / every if local else found.overhead_s.get(sync.method, 0.0)
    stretch = found.stretch.get(sync.method, 1.0)
    travel_s = stretch * _travel_s(exchange, found.all_reduce, workers, network)
    single_s = stretch * _single_s(exchange, found.all_reduce, workers)
    lag_s, random_s = _lag_s(measured), found.spread_s * expected_maximum(workers) * math.sqrt(every)
    if exchange.behind == BACKWARD_PASS:
        hidden_s = BACKWARD * compute * (1 - 1 / messages)
        travel_s = max(travel_s - hidden_s, travel_s / messages)
    travel_s += single_s
    if exchange.behind == NEXT_STEPS:
        late_s = max(0.0, travel_s + found.average_delay_s + random_s - every * compute)
        random_s = min(late_s, random_s)
        travel_s = late_s - random_s
    return Step(compute, travel_s / every, lag_s + random_s / every)


def chosen(measured: Measured, found: Constants, workers: int, network: Network, asked: Sync) -> Choice:
    """What `auto` would choose on such boards, and why: it does not consider waiting for the slowest board."""
    made = {name: step(measured, found, sync_of(name), workers, network) for name in TIMED}
    computing_s = made[FLOAT32].compute_s  # as `auto` times it
    extra_s = {name: max(0.0, it.compute_s - computing_s) + it.communication_s for name, it in made.items()}
    return choose(computing_s, extra_s, asked.efficiency, asked.period)


def break_even_link(measured: Measured, found: Constants, sync: Sync, workers: int, network: Network) -> float | None:
    """Minimum bit/s of the links with which the boards are as fast as one; null if no link is fast enough."""

    def reached(kbit_s: int) -> bool:
        faster = dataclasses.replace(network, link_bit_per_s=1000 * kbit_s)
        return step(measured, found, sync, workers, faster).total_s <= workers * alone_s(measured)

    rates = range(1, _FASTEST_KBIT_S)
    place = bisect_left(rates, True, key=reached)
    return 1000.0 * rates[place] if place < len(rates) else None


def break_even_period(
    measured: Measured, found: Constants, sync: Sync, workers: int, network: Network, efficiency: float
) -> int | None:
    """The shortest period of local SGD that reaches this efficiency; null if none does."""

    def reached(period: int) -> bool:
        rarer = dataclasses.replace(sync, period=period)
        return alone_s(measured) / step(measured, found, rarer, workers, network).total_s >= efficiency

    periods = range(1, _LONGEST_PERIOD + 1)
    place = bisect_left(periods, True, key=reached)
    return periods[place] if place < len(periods) else None


def alone_s(measured: Measured) -> float:
    """Seconds of a board's step while the others idle; while they compute, if only that was measured."""
    return statistics.fmean(measured.step_s or measured.together_step_s)


def compute_s(measured: Measured) -> float:
    """Computing per step while all boards compute; of a board alone, if only that was measured."""
    return statistics.fmean(measured.together_step_s or measured.step_s)


def expected_maximum(count: int) -> float:
    """Expected maximum of independent standard normals (Blom 1958, with alpha = 3/8; within 5 % from two on)."""
    return statistics.NormalDist().inv_cdf((count - 0.375) / (count + 0.25))


def _lag_s(measured: Measured) -> float:
    """Waiting per step for a board that is always the slowest."""
    boards = measured.together_step_s or measured.step_s
    return max(boards) - statistics.fmean(boards)


def _waiting_s(measured: Measured, spread_s: float, workers: int) -> float:
    """Waiting per step for the slowest board, if boards synchronise after each step."""
    return _lag_s(measured) + spread_s * expected_maximum(workers)


def _travel_s(exchange: Exchange, all_reduce: AllReduce, workers: int, network: Network) -> float:
    """Seconds of all of an exchange's messages, one after the other, alone."""
    return sum(all_reduce.seconds(exchange.element_bytes * part, workers, network) for part in exchange.messages)


def _single_s(exchange: Exchange, all_reduce: AllReduce, workers: int) -> float:
    """Seconds of an exchange's collectives of one number, alone."""
    return exchange.single * hops(workers) * all_reduce.latency_s


def _tells(measured: Measured) -> Callable[[Timed], bool]:
    """Whether a method's extra cost can be derived from its step times: one exchange per step, no overlap."""

    def tells(it: Timed) -> bool:
        if METHODS[it.sync.method].exchange is None or it.link_bit_per_s is None:
            return False
        exchange = exchange_of(it.sync, measured.sizes)
        return exchange.every == 1 and (exchange.behind == NOTHING or len(exchange.messages) == 1)

    return tells


def _points_of_training(measured: Measured) -> Iterator[Point]:
    """All-reduces within training without waiting, if none were timed alone."""
    for it in filter(_tells(measured), measured.timed):
        exchange = exchange_of(it.sync, measured.sizes)
        if len(exchange.messages) == 1 and it.communication_s and it.link_bit_per_s:
            within_s = _waiting_s(measured, measured.spread_s or 0.0, it.workers) if it.waiting_s is None else 0.0
            seconds = max(it.communication_s - within_s, it.communication_s / 2)
            yield Point(exchange.element_bytes * exchange.messages[0], seconds, it.workers, it.link_bit_per_s)


def _beyond(measured: Measured, all_reduce: AllReduce, spread_s: float, it: Timed) -> tuple[float | None, float]:
    """The all-reduce's time relative to its time alone, if it includes waiting; and the remaining seconds."""
    by_itself_s = _by_itself_s(measured, all_reduce, it)
    waiting_s = _waiting_s(measured, spread_s, it.workers) if it.waiting_s is None else it.waiting_s
    stretch = None
    if it.waiting_s is not None:
        stall_s = it.communication_s or 0.0
    else:
        exchange = exchange_of(it.sync, measured.sizes)
        single_s = _single_s(exchange, all_reduce, it.workers)
        if it.communication_s is None:
            stall_s = by_itself_s + single_s
        elif it.payload_bytes is None or it.payload_bytes > exchange.element_bytes * sum(exchange.messages):
            stall_s = it.communication_s - waiting_s
            stretch = max(1.0, stall_s / (by_itself_s + single_s))
        else:  # older versions did not time the collectives of one number
            stall_s = it.communication_s - waiting_s + single_s
            stretch = max(1.0, (stall_s - single_s) / by_itself_s)
    return stretch, max(0.0, it.step_s - (it.no_sync_s or compute_s(measured)) - waiting_s - stall_s)


def _by_itself_s(measured: Measured, all_reduce: AllReduce, it: Timed) -> float:
    network = Network(it.link_bit_per_s or math.nan)
    return _travel_s(exchange_of(it.sync, measured.sizes), all_reduce, it.workers, network)


def _longer_s(measured: Measured, it: Timed) -> float:
    """Extra seconds of a local step compared with no synchronising, without its stalls."""
    stall_s = (it.communication_s or 0.0) + (it.waiting_s or 0.0)
    return it.step_s - (it.no_sync_s or compute_s(measured)) - stall_s


def _spread(measured: Measured, all_reduce: AllReduce) -> float | None:
    """Standard deviation of a step, from waiting; else from the variation of a board's steps."""
    found = [
        (it.waiting_s - hops(it.workers) * all_reduce.latency_s) / expected_maximum(it.workers)
        for it in filter(_tells(measured), measured.timed)
        if it.waiting_s is not None and len(exchange_of(it.sync, measured.sizes).messages) == 1
    ]
    return max(0.0, statistics.fmean(found)) if found else measured.spread_s


def _mean(values: list[float], otherwise: float) -> float:
    return statistics.fmean(values) if values else otherwise
