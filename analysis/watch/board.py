"""The state of a board during a run."""

from __future__ import annotations

import statistics
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from analysis.runs.progress import ODD, Progress
from trainer.contract.events import Epoch, NewGeneration, Resume, Sample, Served, Start, Window
from trainer.contract.reading import is_number
from trainer.contract.records import is_complete, is_moment, parse_record
from trainer.contract.tegrastats import hottest_c, summed_rails

_RECENT = 5  # windows
_LATE_S = 10.0  # a look that takes longer is late


@dataclass(frozen=True)
class Steps:
    """The last window of steps."""

    epoch: int  # from 1
    done: int  # steps of the epoch
    step_s: float
    stall_share: float | None  # 0 to 1, fraction of time in communication and waiting; null with sync.step_times false


@dataclass(frozen=True)
class Load:
    """The last sample; null where the board has no sensor."""

    memory_bytes: float | None
    cpu: float | None  # 0 to 1
    gpu: float | None  # 0 to 1
    hottest_c: float | None
    power_w: float | None  # of the module's rails; see trainer.contract.tegrastats


@dataclass
class Board:
    """A board, updated from its records.

    Fields named ..._at_s are moments of the controller's monotonic clock.
    """

    name: str
    epochs: int  # of the configuration
    began_at_s: float  # when watching began
    start: Mapping[str, Any] | None = None  # the start record
    generation: Mapping[str, Any] | None = None  # the latest record of one, where boards were lost
    epoch: int = 0  # the last completed one
    steps: Steps | None = None  # this attempt's
    compute_s: list[float] = field(default_factory=list)  # per step, by window, without an attempt's first
    accuracies: dict[int, float] = field(default_factory=dict)  # of validation, by epoch
    load: Load | None = None
    throttling: Mapping[str, Any] = field(default_factory=dict)  # since the run began; see analysis.runs.throttling
    rails: set[str] = field(default_factory=set)  # of all samples, since one that is cut off lacks some
    result: Mapping[str, Any] | None = None  # result.json
    clock: Mapping[str, Any] | None = None  # clock.json
    emulated: bool | None = None
    serves: bool = False  # is a parameter server and nothing else
    odd_lines: int = 0  # lines that are not records
    overdue_s: float | None = None  # seconds overdue; null if nothing is expected
    reached: bool = False  # whether it was reached at least once
    lost_at_s: float | None = None  # null while it is reachable
    lost_why: str = ""
    moved_at_s: float = field(init=False)  # time of its last step or record
    sampled_at_s: float = field(init=False)
    progress: Progress = field(init=False)
    _beat: Mapping[str, Any] | None = None  # heartbeat.json

    def __post_init__(self) -> None:
        self.moved_at_s = self.sampled_at_s = self.began_at_s
        self.progress = Progress(self.epochs)

    @property
    def state(self) -> str:
        """connecting, starting, training, serving, reconnecting, ended, failed or interrupted."""
        if self.result is not None:
            status = str(self.result.get("status"))
            return "ended" if status == "succeeded" else status
        if not self.reached:
            return "connecting"
        if self.lost_at_s is not None:
            return "reconnecting"
        return "training" if self.steps else "serving" if self.serves else "starting"

    @property
    def epochs_done(self) -> float:
        """Completed epochs, plus the fraction of the current one."""
        if self.steps is None or self.start is None or self.steps.epoch <= self.epoch:
            return float(self.epoch)
        # beside parameter servers, a fast board makes more steps than its part
        return self.epoch + min(1.0, self.steps.done / float(self.start["steps_per_epoch"]))

    @property
    def recent_compute_s(self) -> float | None:
        """Median seconds of computing per step over the last windows, without communication and waiting."""
        return statistics.median(self.compute_s[-_RECENT:]) if self.compute_s else None

    def take_event(self, line: bytes, now_s: float) -> None:
        try:
            self._take(self._record(line))
            self.moved_at_s = now_s
        except ODD:
            self.odd_lines += 1

    def _record(self, line: bytes) -> Mapping[str, Any]:
        """The record in a line. Raises ValueError where it lacks a value; entries that do not fit are only counted."""
        odd: list[str] = []
        record = parse_record(line, odd)
        if not is_complete(record):
            raise ValueError("lacks values")
        self.odd_lines += bool(odd)
        return record

    def _take(self, record: Mapping[str, Any]) -> None:
        kind = record["event"]
        if kind == Start.KIND and int(record["steps_per_epoch"]) > 0:
            self.start = record
        elif kind == Start.KIND:
            self.serves = True
        elif kind == Served.KIND:
            self.epoch = int(record["epoch"])
        elif kind == Resume.KIND:
            self.epoch, self.steps, self.compute_s = int(record["epoch"]), None, []
        elif kind == NewGeneration.KIND:
            # the trainer that ended has a successor
            self.generation, self.result, self.steps, self.compute_s = record, None, None, []
        elif kind == Window.KIND:
            self._take_window(record)
        elif kind == Epoch.KIND:
            self.epoch = int(record["epoch"])
            self.accuracies[self.epoch] = float(record["val_accuracy"])
        self.progress.take(record)

    def _take_window(self, record: Mapping[str, Any]) -> None:
        steps, elapsed_s, stall_s = int(record["steps"]), float(record["elapsed_s"]), record["communication_s"]
        latest = Steps(
            epoch=int(record["epoch"]),
            done=int(record["first_step"]) + steps,
            step_s=elapsed_s / steps,
            # if waiting was not measured, it is part of communication
            stall_share=None if stall_s is None else (float(stall_s) + float(record["waiting_s"] or 0.0)) / elapsed_s,
        )
        if self.steps is not None and stall_s is not None:
            self.compute_s.append(float(record["compute_s"]) / steps)
        self.steps = latest

    def take_sample(self, line: bytes, now_s: float) -> None:
        try:
            record = self._record(line)
            if record["event"] != Sample.KIND:
                raise ValueError(record["event"])
            power_mw, celsius = record["power_mw"], record["temperature_c"]
            self.rails |= power_mw.keys()
            rails = summed_rails(self.rails)
            self.load = Load(
                memory_bytes=_number(record["memory_bytes"]),
                cpu=_number(record["cpu_load"]),
                gpu=_number(record["gpu_load"]),
                hottest_c=hottest_c({name: float(value) for name, value in celsius.items()}),
                power_w=sum(float(power_mw[rail]) for rail in rails) / 1000
                if rails and set(rails) <= power_mw.keys()
                else None,
            )
            self.throttling = {name: record.get(name) for name in ("over_current_events", "throttled_s")}
            self.sampled_at_s = now_s
        except ODD:
            self.odd_lines += 1

    def take_heartbeat(self, beat: Mapping[str, Any] | None, now_s: float) -> None:
        """Take heartbeat.json, which the supervisor writes every second, with the seconds since the last progress."""
        still_s = (beat or {}).get("still_s")
        if is_number(still_s) and beat != self._beat:
            self.moved_at_s = now_s - still_s
        self._beat = beat

    def restart(self) -> None:
        """Reset the state, because the records were replaced."""
        self.start, self.generation, self.epoch, self.steps, self.result = None, None, 0, None, None
        self.compute_s, self.accuracies, self.progress = [], {}, Progress(self.epochs)

    def take_live(self, live: Mapping[str, Any], now_s: float, time_s: float) -> None:
        """Take live.json, if any: the state of the copying; `time_s`: now, as Unix time."""
        if not is_moment(live.get("due_s")) or not is_moment(live.get("seen_s")):
            return
        self.overdue_s = time_s - live["due_s"] if live.get("following") else None
        if isinstance(live.get("emulated"), bool):
            self.reached, self.emulated = True, live["emulated"]
        why = live.get("why")
        if self.overdue_s is not None and (why or self.overdue_s > _LATE_S):
            self.lose(str(why or "no answer"), now_s - (time_s - live["seen_s"]))
        else:
            self.reach(now_s)
        beat, result = live.get("heartbeat"), live.get("result")
        self.take_heartbeat(beat if isinstance(beat, dict) else None, now_s)
        # while the board is followed, a result that is gone was of a trainer that has a successor
        kept = None if live.get("following") else self.result
        self.result = result if isinstance(result, dict) else kept

    def reach(self, now_s: float) -> None:
        if self.lost_at_s is not None:
            # the next look brings its records
            self.moved_at_s = self.sampled_at_s = now_s
        self.lost_at_s = None

    def lose(self, why: str, since_s: float) -> None:
        self.lost_at_s, self.lost_why = since_s, why


def _number(value: Any) -> float | None:
    return None if value is None else float(value)
