"""The measurements of boards and network on which a prediction is based.

A single run seldom has all of them. `Measured.from_folder` reads a run by kind of record (`_READERS`), and `combine`
merges runs. What no run measured is null.
"""

from __future__ import annotations

import dataclasses
import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from analysis.prediction.allreduce import Point
from analysis.prediction.mobilenet import Shape, backbone, elements, head
from analysis.prediction.repeats import Error, error_of, error_of_turns
from analysis.prediction.trials import turns
from analysis.prediction.windows import spread, steady_epochs, steady_windows, step_s, sums
from analysis.runs.errors import AnalysisError
from analysis.runs.manifest import read_manifest, read_result
from trainer.contract import strategies
from trainer.contract.events import NO_SYNC, ONE_BOARD, Average, Collective, Probe, Start, Trial, Validation
from trainer.contract.layout import BOARDS, EVENTS, RESULT, RUN
from trainer.contract.methods import METHODS, NOTHING, Sizes, exchange_of
from trainer.contract.records import is_complete, read_records
from trainer.contract.run import Run, load_run
from trainer.contract.sections import Sync, sync_of

Records = Mapping[str, Sequence[Mapping[str, Any]]]  # of events.jsonl, by board


@dataclass(frozen=True)
class Timed:
    """Steps of several boards with a method of synchronising; means over steps and boards in seconds per step."""

    sync: Sync
    workers: int
    link_bit_per_s: float | None
    step_s: float
    no_sync_s: float | None = None  # a step in the same minute without synchronising
    communication_s: float | None = None  # stalled by communication
    waiting_s: float | None = None  # waited for the slowest board; null: within communication_s
    average_s: float | None = None  # with local steps: an average's time on the wire
    error: Error | None = None  # of all these times but no_sync_s; null: measured once
    payload_bytes: float | None = None  # handed to collectives


@dataclass(frozen=True)
class Measured:
    """Measurements on boards that all do the same work."""

    run_ids: tuple[str, ...]
    emulated: bool | None
    gradient_bytes: int  # float32
    total_parameters: int  # including the moving statistics, without what is frozen
    shapes: tuple[Shape, ...] | None  # of the trainable tensors; null if unknown
    board_batch: int  # images per step
    train_images: int
    epochs: int
    sharding: str  # config.data.sharding; of several boards, where some were timed
    step_s: tuple[float, ...] = ()  # of each board timed while the others idled
    together_step_s: tuple[float, ...] = ()  # of each board's computing while all compute
    step_error: Error | None = None
    together_step_error: Error | None = None
    spread_s: float | None = None  # standard deviation of one step of a board
    validation_s: float | None = None  # validation of all images on one board
    startup_s: float | None = None  # from the trainer's start until its first step
    power_w: float | None = None  # mean power of a board while it trains
    points: tuple[Point, ...] = ()  # all-reduces timed alone
    timed: tuple[Timed, ...] = ()
    engine: str = strategies.TENSORFLOW

    @property
    def sizes(self) -> Sizes:
        """The model's sizes for `exchange_of`."""
        return Sizes(self.gradient_bytes / 4, self.total_parameters, self.shapes)

    @property
    def workers(self) -> list[int]:
        """The numbers of boards timed together."""
        return sorted({it.workers for it in self.timed}) or [1]

    @property
    def link_bit_per_s(self) -> float:
        """The slowest link of the timed steps. Raises AnalysisError if it is unknown."""
        links = [it.link_bit_per_s for it in self.timed if it.link_bit_per_s is not None]
        if not links and self.timed:
            raise AnalysisError(f"{', '.join(self.run_ids)}: the boards' link rate is not known: give it with --link")
        return min(links, default=1e9)

    @classmethod
    def from_folder(cls, folder: Path) -> Measured:
        """A collected run's measurements. Raises ConfigError if it is not a run, AnalysisError if no board started."""
        run = load_run(folder / RUN)
        strategy = run.config.strategy_on(run.workers)
        predicted = strategies.default(strategies.TENSORFLOW, run.workers)
        if strategy != predicted:
            raise AnalysisError(
                f"{run.run_id}: trained with strategy {strategy}, which is not predicted: give runs with strategy "
                f"{predicted}"
            )
        homes = {board: folder / BOARDS / board for board in run.boards}
        records: Records = {
            board: list(filter(is_complete, read_records(home / EVENTS)[0]))
            for board, home in homes.items()
            if (home / EVENTS).is_file()
        }
        starts = [record for record in _of_kind(records, Start.KIND) if record["gradient_bytes"]]
        if not starts:
            raise AnalysisError(f"{run.run_id}: no board started training: give a run that succeeded")
        facts = [result["facts"] for home in homes.values() if (result := read_result(home / RESULT)[0])]
        links = [fact["link_rate_bit_per_s"] for fact in facts if fact.get("link_rate_bit_per_s")]
        emulated = [fact["emulated"] for fact in facts if fact.get("emulated") is not None]
        manifest = read_manifest(folder)[0] or {"boards": []}
        powers = [board.get("cost", {}).get("mean_power_mw") for board in manifest["boards"]]
        known = [power for power in powers if power is not None]
        found: dict[str, Any] = {}
        try:
            for read in _READERS:
                found |= read(run, records, min(links, default=None))
        except (ArithmeticError, ValueError) as error:  # such as no steps
            raise AnalysisError(f"{run.run_id}: its records cannot be used ({error}): give another run") from error
        return cls(
            run_ids=(run.run_id,),
            emulated=any(emulated) if emulated else None,
            gradient_bytes=starts[0]["gradient_bytes"],
            total_parameters=_changing(starts[0]),
            shapes=_shapes(starts[0]["gradient_bytes"], starts[0]["classes"], run.config.model.dense_units),
            board_batch=starts[0]["board_batch"],
            train_images=starts[0]["train_images"],
            epochs=run.config.epochs,
            sharding=run.config.data.sharding,
            engine=run.config.engine,
            startup_s=max(start["startup_s"] for start in starts),
            power_w=statistics.fmean(known) / 1000 if known else None,
            **found,
        )


def combine(parts: Sequence[Measured]) -> Measured:
    """Merges several: single values come from the first that has them. Runs on fewer boards should come first.

    Raises AnalysisError if they did not do the same work.
    """
    problems = [
        f"{name}: {', '.join(f'{getattr(part, name)} in {part.run_ids[0]}' for part in parts)}"
        for name in ("engine", "gradient_bytes", "board_batch", "train_images", "emulated")
        if len({getattr(part, name) for part in parts}) > 1
    ]
    # what one board does with the images is the same whatever the sharding
    shardings = {part.sharding: part.run_ids[0] for part in reversed(parts) if part.timed}
    if len(shardings) > 1:
        problems.append(f"data.sharding: {', '.join(f'{name} in {run_id}' for name, run_id in shardings.items())}")
    if problems:
        listed = "".join(f"\n  {problem}" for problem in problems)
        raise AnalysisError(
            f"a prediction cannot use runs that differ in{listed}\nGive runs with equal values of these."
        )
    first, joined = parts[0], {"run_ids", "points", "timed"}
    values: dict[str, Any] = {}
    for item in dataclasses.fields(Measured):
        each = [getattr(part, item.name) for part in parts]
        if item.name in joined:
            values[item.name] = tuple(element for value in each for element in value)
        else:
            values[item.name] = next((value for value in each if value not in (None, ())), getattr(first, item.name))
    for name in ("step", "together_step"):  # the error of those that are used
        values[f"{name}_error"] = next((getattr(it, f"{name}_error") for it in parts if getattr(it, f"{name}_s")), None)
    return Measured(**{**values, "sharding": next(iter(shardings), first.sharding)})


def _training(run: Run, records: Records, link: float | None) -> dict[str, Any]:
    """A run that trained: its steady windows and epochs (see analysis.comparison.metrics)."""
    windows = [steady_windows(of_board) for of_board in records.values()]
    boards = [sums(own) for own in windows if own]
    if not boards:
        return {}
    epochs = [epoch for of_board in records.values() for epoch in steady_epochs(of_board)]
    found: dict[str, Any] = {}
    if epochs:  # validation is always shared
        found["validation_s"] = run.workers * statistics.fmean(epoch["validation_s"] for epoch in epochs)
    if run.workers == 1:
        steps = {"step_s": (boards[0]["elapsed_s"],), "step_error": error_of([step_s(it) for it in windows[0]])}
        return {**found, **steps, "spread_s": spread(windows[0])}
    error = error_of([step_s(window) for window in next(own for own in windows if own)])
    travel = [record["travel_s"] for record in _of_kind(records, Average.KIND) if record["travel_s"] is not None]
    waiting = [board["waiting_s"] for board in boards]
    stalls = [board["communication_s"] for board in boards]
    split = not any(map(math.isnan, stalls))  # NaN with sync.step_times false
    timed = Timed(
        sync=run.config.sync,
        workers=run.workers,
        link_bit_per_s=link,
        step_s=statistics.fmean(board["elapsed_s"] for board in boards),
        communication_s=statistics.fmean(stalls) if split else None,
        waiting_s=None if any(map(math.isnan, waiting)) else statistics.fmean(waiting),
        average_s=statistics.median(travel) if travel else None,
        payload_bytes=statistics.fmean(board["payload_bytes"] for board in boards),
        error=error,
    )
    together_s = tuple(board["compute_s"] for board in boards) if split else ()
    return {**found, "together_step_s": together_s, "together_step_error": error, "timed": (timed,)}


def _probe(run: Run, records: Records, link: float | None) -> dict[str, Any]:
    """A probe: steps of one board, Keras' steps of all boards, and all-reduces alone."""
    probes = _of_kind(records, Probe.KIND)
    if not probes:
        return {}
    found: dict[str, Any] = {
        "step_s": tuple(statistics.median(probe["step_s"]) for probe in probes),
        "step_error": error_of(probes[0]["step_s"]),
    }
    together = [second for probe in probes for second in probe["distributed_step_s"]]
    travel = [second for probe in probes for second in probe["all_reduce_s"]]
    if together:
        timed = Timed(Sync(), run.workers, link, statistics.median(together), error=error_of(together))
        found["timed"] = (timed,)
    if travel and link:
        point = Point(probes[0]["payload_bytes"], statistics.median(travel), run.workers, link, error_of(travel))
        found["points"] = (point,)
    return found


def _trial(run: Run, records: Records, link: float | None) -> dict[str, Any]:
    """A trial: every method in turn."""
    trials = _of_kind(records, Trial.KIND)
    if not trials:
        return {}
    start = next(record for record in _of_kind(records, Start.KIND) if record["gradient_bytes"])
    # shapes do not affect the number of messages
    sizes = Sizes(start["gradient_bytes"] / 4, _changing(start), shapes=None)
    return of_turns(turns(trials, run.workers), sizes, link)


def _collectives(run: Run, records: Records, link: float | None) -> dict[str, Any]:
    """All-reduces alone, of several sizes: the time on the slowest board."""
    seconds: dict[int, list[tuple[float, Error | None]]] = {}
    for record in _of_kind(records, Collective.KIND):
        found = statistics.median(record["seconds"]), error_of(record["seconds"])
        seconds.setdefault(record["payload_bytes"], []).append(found)
    if not seconds or not link:
        return {}
    slowest = ((size, max(each, key=lambda it: it[0])) for size, each in seconds.items())
    return {"points": tuple(Point(size, took_s, run.workers, link, error) for size, (took_s, error) in slowest)}


def _validation(run: Run, records: Records, link: float | None) -> dict[str, Any]:
    """Seconds of the whole validation on one board, from some batches."""
    found = [it["seconds"] / it["batches"] * it["batches_per_epoch"] for it in _of_kind(records, Validation.KIND)]
    return {"validation_s": run.workers * statistics.fmean(found)} if found else {}


# later readers override earlier ones
_READERS: tuple[Callable[[Run, Records, float | None], dict[str, Any]], ...] = (
    _training,
    _probe,
    _trial,
    _collectives,
    _validation,
)


def of_turns(rows: pd.DataFrame, sizes: Sizes, link: float | None) -> dict[str, Any]:
    """The fields of `Measured` from turns (see `analysis.prediction.trials.turns`): medians over the cycles.

    A method's extra time over no_sync is the median of the differences within a cycle, so that a slow phase of the
    machine does not count.
    """
    middle: dict[Any, dict[Any, Any]] = rows.groupby("sync").median(numeric_only=True).to_dict("index")
    alone, error = middle.pop(ONE_BOARD)["step_s"], error_of_turns(rows)
    if NO_SYNC not in middle:  # a single board has no no_sync turns
        return {"step_s": (alone,), "step_error": error}
    no_sync_s = middle.pop(NO_SYNC)["step_s"]
    by_cycle = rows.pivot(index="cycle", columns="sync", values="step_s")
    timed, points = [], []
    for name, row in middle.items():
        sync, workers = sync_of(name), int(row["boards"])
        stall_s = row["communication_s"]
        timed.append(
            Timed(
                sync=sync,
                workers=workers,
                link_bit_per_s=link,
                step_s=no_sync_s + float((by_cycle[name] - by_cycle[NO_SYNC]).median()),
                no_sync_s=no_sync_s,
                communication_s=stall_s,
                waiting_s=None if math.isnan(row["waiting_s"]) else row["waiting_s"],
                average_s=(row["overlapped_s"] + stall_s) * sync.period if METHODS[sync.method].local_steps else None,
                payload_bytes=row["payload_bytes_per_step"],
                error=error,
            )
        )
        sent = exchange_of(sync, sizes)
        messages = len(sent.messages)
        # the stall of overlapped messages is not their duration
        if sent.behind == NOTHING and sent.every == 1 and link:
            points.append(Point(row["payload_bytes_per_step"] / messages, stall_s / messages, workers, link, error))
    steps = {"step_s": (alone,), "together_step_s": (no_sync_s,), "step_error": error, "together_step_error": error}
    return {**steps, "timed": tuple(timed), "points": tuple(points)}


def _changing(start: Mapping[str, Any]) -> int:
    """Parameters that boards with local steps average; older records only have all of them."""
    return int(start.get("changing_parameters") or start["total_parameters"])


def _of_kind(records: Records, kind: str) -> list[Mapping[str, Any]]:
    return [record for of_board in records.values() for record in of_board if record["event"] == kind]


def _shapes(gradient_bytes: int, classes: int, dense_units: int) -> tuple[Shape, ...] | None:
    """Shapes of all layers or of the head, whichever has that many parameters."""
    top = head(classes, dense_units)
    for shapes in ([*backbone(), *top], top):
        if 4 * elements(shapes) == gradient_bytes:
            return tuple(shapes)
    return None
