"""Predictions for other clusters: the cost model over numbers of boards and methods of synchronising.

Not named predict.py: see `analysis.runs.loading`.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from analysis.prediction.allreduce import Network, tells_latency
from analysis.prediction.costmodel import (
    Constants,
    alone_s,
    break_even_link,
    break_even_period,
    chosen,
    constants,
    step,
)
from analysis.prediction.measured import Measured, combine
from analysis.prediction.uncertainty import ANOTHER_RUN, intervals, standard_errors
from analysis.runs.columns import Column, records, text_table
from analysis.runs.errors import AnalysisError
from trainer.contract.config import ConfigError
from trainer.contract.layout import RUN, run_folders
from trainer.contract.methods import METHODS, VARIANTS
from trainer.contract.run import load_run
from trainer.contract.sections import Sync, sync_of

# methods by their names in tables
PREDICTED: Mapping[str, Sync] = {
    variant.predicted_as: sync_of(variant.name) for variant in VARIANTS if variant.predicted_as
}
COLUMNS = (
    Column("step_s", ("step", "[ms]"), 1e3, 0),
    Column("epoch_s", ("epoch", "[s]"), 1, 1),
    Column("total_s", ("total", "[h]"), 1 / 3600, 2),
    Column("images_per_s", ("speed", "[images/s]"), 1, 0),
    Column("speedup", ("faster", "[x one]"), 1, 2),
    Column("efficiency", ("efficient", "[%]"), 100, 0),
    Column("exposed_share", ("exposed", "[%]"), 100, 0),
    Column("half_width", ("90 %", "[± %]"), 100, 0),
    Column("energy_j", ("energy", "[kJ]"), 1e-3, 1),
    Column("break_even_link_bit_per_s", ("even at", "[Mbit/s]"), 1e-6, 1),
)
_FAR = 4  # times the most boards that were measured: beyond, a prediction is marked
_WANTED = Sync().efficiency  # fraction of a step's time spent computing


@dataclass(frozen=True)
class Plan:
    """What to predict."""

    workers: Sequence[int]
    network: Network
    methods: Mapping[str, Sync] = field(default_factory=lambda: PREDICTED)

    def __post_init__(self) -> None:
        network = self.network
        problems = [f"{count} boards: give 1 or more" for count in self.workers if count < 1]
        rates = {"link": network.link_bit_per_s, "uplink": network.uplink_bit_per_s}
        for name, rate in rates.items():
            if rate is not None and not (rate > 0 and math.isfinite(rate)):
                problems.append(f"the {name} has {rate / 1e6:g} Mbit/s: give more than 0")
        if network.switch_ports is not None and network.switch_ports < 1:
            problems.append(f"a switch has {network.switch_ports} ports for boards: give 1 or more")
        if network.uplink_bit_per_s is not None and network.switch_ports is None:
            problems.append("an uplink is given, but all boards are on one switch: also give --switch-ports")
        problems += [
            f"the method {name} cannot be predicted: leave it out"
            for name, sync in self.methods.items()
            if METHODS[sync.method].exchange is None
        ]
        if problems:
            raise AnalysisError("; ".join(problems))


def measured_in(folders: Iterable[Path]) -> Measured:
    """The measurements of the collected runs among `folders`; runs on fewer boards come first.

    Raises AnalysisError without a run that timed steps.
    """
    parts, problems = [], []
    for folder in run_folders(folders):
        try:
            parts.append(Measured.from_folder(folder))
        except (AnalysisError, ConfigError) as error:
            problems.append(str(error))
    if problems or not parts:
        remedy = "no run found: give the folders of collected runs, such as one on one board"
        raise AnalysisError("\n".join(problems or [remedy]))
    parts.sort(key=lambda part: max((it.workers for it in part.timed), default=1))
    measured = combine(parts)
    if not measured.step_s and not measured.together_step_s:
        raise AnalysisError(
            f"{', '.join(measured.run_ids)}: no step was timed: give a run on one board with two epochs or more"
        )
    return measured


def predict(measured: Measured, plan: Plan) -> pd.DataFrame:
    """A row for one board, then one for each number of boards and method.

    workers, sync (none: one board); step_s, of which compute_s, communication_s that nothing hides, waiting_s for the
    slowest board; exposed_share: of a step, the last two; epoch_s with validation, total_s of all epochs (sharded or
    whole, as measured); images_per_s of all boards; speedup over one board; efficiency: speedup over boards; energy_j
    of all boards, at the mean power measured in training; break_even_link_bit_per_s: the slowest link at which they are
    as fast as one board; break_even_period: with local steps, the shortest that reaches the default of sync.efficiency;
    NAME_low, NAME_high: the 90 % interval of step_s, epoch_s and total_s of a run to come, see `uncertainty`, NaN for
    methods that were not timed, far more boards, or more than were measured without the latency of messages;
    half_width: of that, relative; far: whether the boards are more than 4 times the most that were measured. NaN is
    what is not known.
    """
    found = constants(measured)
    several = [(count, name) for count in plan.workers if count > 1 for name in plan.methods]
    made = [(1, "none"), *several]
    table = pd.DataFrame([_row(measured, found, plan, count, name) for count, name in made])

    def steps_s(moved: Measured) -> npt.NDArray[np.float64]:
        again = constants(moved)
        return np.array(
            [step(moved, again, plan.methods.get(name), count, plan.network).total_s for count, name in made]
        )

    # no interval for what was not measured, or is far from it: its error is unknown
    sound = [_is_sound(measured, found, plan.methods.get(name), count) for count, name in made]
    ends = tuple(np.where(sound, at, np.nan) for at in intervals(measured, steps_s))
    for end, at in zip(("_low", "_high"), ends, strict=True):
        table[f"step_s{end}"] = at
        for name in ("epoch_s", "total_s"):  # validation is known as well as steps are
            table[f"{name}{end}"] = table[name] * at / table["step_s"]
    table["half_width"] = (ends[1] - ends[0]) / 2 / table["step_s"]
    table["far"] = [_is_far(measured, count) for count, _ in made]
    return table


def _is_far(measured: Measured, workers: int) -> bool:
    return workers > _FAR * max(measured.workers)


def _is_sound(measured: Measured, found: Constants, sync: Sync | None, workers: int) -> bool:
    """Whether a prediction rests on measurements of the method, and on none from far fewer boards."""
    if workers == 1 or sync is None:
        return True
    local = METHODS[sync.method].local_steps
    timed = (
        any(METHODS[it.sync.method].local_steps for it in measured.timed) if local else sync.method in found.overhead_s
    )
    as_many = workers <= max(measured.workers) or tells_latency(measured.points)
    return timed and as_many and not _is_far(measured, workers)


def efficiency_of_arms(runs: pd.DataFrame, workers: Sequence[int]) -> pd.DataFrame:
    """Efficiency by number of boards (rows) of each arm's method (columns: its label), at the runs' link.

    `runs` have their arms (`comparison.arms.with_arms`); the first run of each arm is what the prediction stands on. No
    column where it cannot: without a run on one board, without a known link, with boards that had different work.
    """
    table = pd.DataFrame(index=list(workers))
    for sharding in runs.loc[runs["workers"] > 1, "sharding"].unique():  # runs of several are not combined
        own = runs[(runs["workers"] == 1) | (runs["sharding"] == sharding)]
        table = table.join(_efficiency_of_arms(own, workers))
    return table


def _efficiency_of_arms(runs: pd.DataFrame, workers: Sequence[int]) -> pd.DataFrame:
    first = runs.drop_duplicates(["workers", "label"])
    known = [name for name, method in METHODS.items() if method.exchange]
    methods = first[(first["workers"] > 1) & first["sync"].isin(known)].drop_duplicates("label")
    table = pd.DataFrame(index=list(workers))
    try:
        measured = measured_in(map(Path, first["folder"]))
        syncs = [load_run(Path(folder) / RUN).config.sync for folder in methods["folder"]]
        plan = Plan(workers, Network(measured.link_bit_per_s), dict(zip(methods["label"], syncs, strict=True)))
    except (AnalysisError, ConfigError, OSError):
        return table
    if not measured.step_s:
        return table
    found = predict(measured, plan)
    one = found["workers"] == 1
    for label in plan.methods:
        own = found[one | (found["sync"] == label)].set_index("workers")["efficiency"]
        if own.notna().all():
            table[label] = own.reindex(table.index)
    return table


def recommendations(measured: Measured, plan: Plan) -> dict[int, str]:
    """What `auto` would choose for each number of boards, and why."""
    found = constants(measured)
    return {count: chosen(measured, found, count, plan.network, Sync()).reason for count in plan.workers if count > 1}


def notes(measured: Measured) -> list[str]:
    """Notes for the reader of a prediction, a sentence each."""
    found = constants(measured)
    return [
        f"A prediction, not a measurement; it is based on {', '.join(measured.run_ids)}"
        + (", made on emulated boards: it is valid for such boards, not for real ones." if measured.emulated else "."),
        f"An epoch has {measured.train_images} images"
        + (", all of them on every board." if measured.sharding == "whole" else " that the boards share."),
        *([] if measured.step_s else ["No board was timed alone: one board is assumed to compute as fast as several."]),
        "90 %: a run takes as long as predicted, give or take this, in nine cases of ten: what was measured varied, "
        f"and runs of emulated boards differed from their predictions by {ANOTHER_RUN.share:.0%}."
        if measured.step_error or measured.together_step_error
        else "Nothing was measured twice, so that no interval is known.",
        f"*: more than {_FAR} times the {max(measured.workers)} boards that were measured; what costs nothing here may "
        "cost much there.",
        *(["Not measured, and assumed to cost nothing: " + "; ".join(found.missing) + "."] * bool(found.missing)),
        "Exposed: fraction of a step stalled by communication or the slowest board. Even at: the slowest link at "
        "which the boards are as fast as one. Accuracy is not predicted.",
    ]


def as_text(table: pd.DataFrame) -> str:
    """The prediction as text, without columns of unknown values."""
    columns = [column for column in COLUMNS if table[column.field].notna().any()]
    heads = ["boards", "", *("\n".join(column.heading) for column in columns)]
    rows = [
        [f"{row['workers']}{'*' * row['far']}", row["sync"], *(column.cell(row) for column in columns)]
        for row in records(table)
    ]
    return "\n".join(text_table(heads, rows, right={*range(len(heads))} - {1}, gap=1))


def to_dict(measured: Measured, plan: Plan) -> dict[str, Any]:
    """The prediction for --json; NaN is None."""
    table = predict(measured, plan)
    rows = table.astype(object).where(table.notna(), None)
    return {
        "prediction": True,
        "emulated": measured.emulated,
        "measured_in": list(measured.run_ids),
        "network": asdict(plan.network),
        "constants": asdict(constants(measured)),
        "standard_errors": _errors(measured),
        "rows": records(rows),
        "recommendations": {str(count): reason for count, reason in recommendations(measured, plan).items()},
        "notes": notes(measured),
    }


def _errors(measured: Measured) -> dict[str, Any]:
    """The standard errors of the model's constants, in their units; None is not known."""
    names = list(_parameters(constants(measured)))

    def parameters(moved: Measured) -> npt.NDArray[np.float64]:
        found = _parameters(constants(moved))
        return np.array([found.get(name, math.nan) for name in names])

    errors = standard_errors(measured, parameters)
    return {name: float(error) if math.isfinite(error) else None for name, error in zip(names, errors, strict=True)}


def _parameters(found: Constants) -> dict[str, float]:
    plain = {name: getattr(found, name) for name in ("spread_s", "average_delay_s", "average_cpu_s")}
    by_method = {
        f"{kind}.{name}": value for kind in ("stretch", "overhead_s") for name, value in getattr(found, kind).items()
    }
    return {**asdict(found.all_reduce), **plain, **by_method}


def _row(measured: Measured, found: Constants, plan: Plan, workers: int, name: str) -> dict[str, Any]:
    sync = plan.methods.get(name)
    made = step(measured, found, sync, workers, plan.network)
    images_per_s = workers * measured.board_batch / made.total_s
    speedup = workers * alone_s(measured) / made.total_s
    validation_s = math.nan if measured.validation_s is None else measured.validation_s / workers
    share = measured.train_images if measured.sharding == "whole" else math.ceil(measured.train_images / workers)
    epoch_s = math.ceil(share / measured.board_batch) * made.total_s + validation_s
    total_s = measured.epochs * epoch_s
    even = None if sync is None else break_even_link(measured, found, sync, workers, plan.network)
    period = None
    if sync is not None and METHODS[sync.method].local_steps:
        period = break_even_period(measured, found, sync, workers, plan.network, _WANTED)
    return {
        "workers": workers,
        "sync": name,
        "step_s": made.total_s,
        "compute_s": made.compute_s,
        "communication_s": made.communication_s,
        "waiting_s": made.waiting_s,
        "exposed_share": (made.communication_s + made.waiting_s) / made.total_s,
        "epoch_s": epoch_s,
        "total_s": total_s,
        "images_per_s": images_per_s,
        "speedup": speedup,
        "efficiency": speedup / workers,
        "energy_j": math.nan if measured.power_w is None else workers * measured.power_w * total_s,
        "break_even_link_bit_per_s": math.nan if even is None else even,
        "break_even_period": math.nan if period is None else period,
    }
