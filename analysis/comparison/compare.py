"""Compares runs by arm, or says why they cannot be compared.

Not named compare.py: see `analysis.runs.loading`.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pandas as pd

from analysis.comparison import stragglers
from analysis.comparison.arms import arm_name, factors_of, summarise, with_arms
from analysis.comparison.metrics import energy_until, measure, reached, target_of
from analysis.comparison.paper import PAPER
from analysis.comparison.verdict import verdict
from analysis.runs.columns import records, shown
from analysis.runs.errors import AnalysisError
from analysis.runs.loading import Runs
from analysis.runs.provenance import power_modes, throttled, unsampled
from trainer.contract.collectives import other_than_asked
from trainer.contract.strategies import ENGINES

# fields of the configuration in which compared runs may differ: what is compared, and paths of files (whose checksums,
# in `assets`, must be equal). A name that ends with a dot is a section.
MAY_DIFFER = (
    "config.sync.",
    "config.engine",
    "config.strategy",
    "config.servers",
    "config.data.sharding",
    "config.data.path",
    "config.data.sha256",
    "config.model.weights",  # and weights_sha256
    "config.optimizer.beta_2",  # follows how few steps boards make, as the learning rate of sync.scale_rate does
    "config.on_board_loss",  # without a loss it changes nothing, and a run with one says so
    "config.min_workers",
)
# facts of boards that affect their speed or accuracy
_FACTS = ["machine", "module", "cores", "jetpack", "power_mode", *ENGINES]
_LINK = "link_rate_bit_per_s"
_NAMED = 3  # run ids listed in a message; the others are counted


@dataclass(frozen=True)
class Difference:
    """A field that must be equal in all runs but differs: run ids by value."""

    field: str
    values: dict[str, list[str]]

    def __str__(self) -> str:
        groups = (f"{value} in {_some(run_ids)}" for value, run_ids in self.values.items())
        return f"{self.field}: {'; '.join(groups)}"


class NotComparable(AnalysisError):
    """The runs differ in fields that must be equal; `differences` lists them."""

    def __init__(self, differences: list[Difference]) -> None:
        self.differences = differences
        listed = "".join(f"\n  {difference}" for difference in differences)
        super().__init__(
            "not comparable: the runs differ in more than boards, seed and synchronisation"
            f"{listed}\nGive only runs with equal values of these fields, repeat the others to match, or make a study "
            "that declares the fields as its factors (docs/usage.md)."
        )


@dataclass(frozen=True)
class Comparison:
    """Arms compared with each other.

    arms: a row per arm, see `analysis.comparison.arms.summarise`.
    runs: a row per used run: the columns of `Runs.runs`, of `analysis.comparison.metrics.measure` and
        of `analysis.comparison.arms.with_arms`; collective: the one that ran, if it is not the one asked for.
    excluded: a row per run that was left out: run_id, folder, workers, sync, seed, status, cause.
    boards, epochs: those of the runs that are used; boards with facts.power_mode, as the gates found it, epochs with
        workers and label of their arm.
    target_accuracy: of the time to accuracy; NaN if no arm has an accuracy.
    target_arm: the arm of one board from whose final accuracy it follows; None if it was given, or without one.
    factors: what the runs' study declares that its arms differ in, beside boards and synchronisation.
    drop_extremes: whether MLPerf's rule was applied, see `analysis.comparison.arms.summarise`.
    rehearsal, synthetic: whether any board was emulated, any image generated; None if unknown.
    problems: those of `Runs`, and doubts about the comparison.
    """

    arms: pd.DataFrame
    runs: pd.DataFrame
    excluded: pd.DataFrame
    boards: pd.DataFrame
    epochs: pd.DataFrame
    target_accuracy: float
    target_arm: str | None
    factors: list[str]
    drop_extremes: bool
    rehearsal: bool | None
    synthetic: bool | None
    problems: list[str]

    @property
    def verdict(self) -> str:
        """The verdict in plain words."""
        return verdict(
            self.arms,
            target=self.target_accuracy,
            factors=self.factors,
            rehearsal=self.rehearsal,
            synthetic=self.synthetic,
        )

    @property
    def marks(self) -> list[str]:
        """The label that every figure must carry: emulated boards, synthetic images."""
        words = (("emulated boards", self.rehearsal), ("synthetic images", self.synthetic))
        return [word for word, true in words if true]

    def to_dict(self) -> dict[str, Any]:
        """The tables for strict JSON; unknown values are None."""
        known: dict[str, Any] = _known(
            {
                "arms": records(self.arms),
                "target_accuracy": self.target_accuracy,
                "target_arm": self.target_arm,
                "factors": self.factors,
                "drop_extremes": self.drop_extremes,
                "rehearsal": self.rehearsal,
                "synthetic": self.synthetic,
                "paper": PAPER.to_dict(),
                "verdict": self.verdict,
                "excluded": records(self.excluded.drop(columns="folder")),
                "problems": self.problems,
            }
        )
        return known


def compare(loaded: Runs, *, target_accuracy: float | None = None, drop_extremes: bool = False) -> Comparison:
    """Group successful runs into arms, average repeats, and compare the arms with one board.

    `target_accuracy`: validation accuracy (0 to 1) for the time to accuracy; None: it follows from one board, see
    `metrics.target_of`. `drop_extremes`: see `analysis.comparison.arms.summarise`.

    Raises NotComparable if the runs differ in more than workers, boards, seed, synchronisation and the factors of their
    study, and AnalysisError if there is no usable run.
    """
    if loaded.runs.empty:
        remedy = "no training run found: give run folders, such as runs/*"
        raise AnalysisError("\n".join([*loaded.problems, remedy]))
    runs = with_arms(_with_power_mode(loaded.runs))
    excluded = _excluded(runs, loaded.epochs)
    used = runs[~runs["run_id"].isin(excluded["run_id"])]
    if used.empty:
        causes = [f"{row.run_id} {row.status}: {row.cause}" for row in excluded.itertuples()]
        raise AnalysisError("\n".join([*causes, "no usable run: correct the cause and run again"]))
    boards = _with_power_modes(loaded.boards[loaded.boards["run_id"].isin(used["run_id"])], used)
    differences = list(_differences(used, boards))
    if differences:
        raise NotComparable(differences)
    steady = loaded.epochs.loc[~loaded.epochs["begins"], "run_id"].unique()
    windows = loaded.windows_of(used.loc[~used["run_id"].isin(steady), "run_id"])
    # labels show the arms' differences, so only used runs count
    used = with_arms(used).merge(measure(used, boards, loaded.epochs, windows), on="run_id")
    accuracy, target_arm = (target_accuracy, None) if target_accuracy is not None else _target(used)
    used["collective"] = used["run_id"].map(_collectives(boards))
    found = reached(loaded.epochs, accuracy)
    used["reached"] = used["run_id"].isin(found.index)
    used["time_to_accuracy_s"] = used["run_id"].map(found["elapsed_s"])
    used["energy_to_accuracy_j"] = used["run_id"].map(energy_until(boards, found["epoch"]))
    return Comparison(
        arms=summarise(used, drop_extremes=drop_extremes),
        runs=used,
        excluded=excluded,
        boards=boards,
        epochs=loaded.epochs.merge(used[["run_id", "workers", "label"]], on="run_id"),
        target_accuracy=accuracy,
        target_arm=target_arm,
        factors=factors_of(used),
        drop_extremes=drop_extremes,
        rehearsal=_any(used["rehearsal"]),
        synthetic=_any(used["synthetic"]),
        problems=[
            *loaded.problems,
            *_warnings(used, boards),
            *_begun_anew(used),
            *throttled(used),
            *unsampled(used),
            *stragglers.warnings(used, loaded.epochs),
        ],
    )


def _target(runs: pd.DataFrame) -> tuple[float, str | None]:
    """The accuracy whose time is measured, and the arm of one board that it follows from: the one that learns most."""
    alone = runs[runs["workers"] == 1]
    plain = alone[alone["sync"] == "none"]
    finals = (alone if plain.empty else plain).groupby("label")["val_accuracy_final"]
    targets = finals.agg(target_of).dropna()
    if targets.empty:
        return math.nan, None
    return float(targets.max()), arm_name(1, str(targets.idxmax()))


def _excluded(runs: pd.DataFrame, epochs: pd.DataFrame) -> pd.DataFrame:
    """Runs that did not succeed, or without a readable epoch of the chief."""
    failed = runs["status"] != "succeeded"
    unread = ~failed & ~runs["run_id"].isin(epochs.loc[epochs["rank"] == 0, "run_id"].unique())
    table = runs[["run_id", "folder", "workers", "sync", "seed", "status", "cause"]].copy()
    table.loc[unread, "cause"] = "no epoch of the chief can be read"
    return table[failed | unread].reset_index(drop=True)


def _with_power_mode(runs: pd.DataFrame) -> pd.DataFrame:
    """`runs` with the power modes of their boards, which a study may vary."""
    found: dict[str, set[str]] = {}
    for (run_id, _), mode in power_modes(runs).items():
        found.setdefault(run_id, set()).add(mode)
    return runs.assign(
        power_mode=runs["run_id"].map({run_id: " and ".join(sorted(of)) for run_id, of in found.items()})
    )


def _with_power_modes(boards: pd.DataFrame, runs: pd.DataFrame) -> pd.DataFrame:
    modes = power_modes(runs)
    table = boards.copy()
    table["facts.power_mode"] = [modes.get(key) for key in zip(table["run_id"], table["board"], strict=True)]
    return table


def _collectives(boards: pd.DataFrame) -> dict[str, str | None]:
    """The collective that ran by run, from the first board that knows it, if it is not the one asked for; else null."""
    told = boards.dropna(subset=["collective_asked", "facts.collective_used"]).drop_duplicates("run_id")
    columns = (told[name] for name in ("run_id", "collective_asked", "facts.collective_used"))
    return {run_id: other_than_asked(asked, ran) for run_id, asked, ran in zip(*columns, strict=True)}


def _differences(runs: pd.DataFrame, boards: pd.DataFrame) -> Iterator[Difference]:
    by_run = runs.set_index("run_id")
    factors = tuple(f"config.{factor}" for factor in factors_of(runs))
    for name in by_run.columns:
        configured = name.startswith("config.") and not name.startswith((*MAY_DIFFER, *factors))
        content = name.startswith("assets.") and name.endswith(".sha256")
        if configured or content or name == "rehearsal":
            yield from _difference(name.removeprefix("config."), by_run[name])
    for fact in (fact for fact in _FACTS if f"config.{fact}" not in factors):
        yield from _difference(fact, _fact(_that_use(fact, runs, boards), fact), unknown_passes=True)
    # a single board does not use its link
    several = boards["run_id"].isin(runs.loc[runs["workers"] > 1, "run_id"])
    yield from _difference(_LINK, _fact(boards[several], _LINK), unknown_passes=True)


def _difference(field: str, values: pd.Series[Any], *, unknown_passes: bool = False) -> Iterator[Difference]:
    """The difference in `values` (by run id), if any."""
    by_value: dict[str, list[str]] = {}
    for run_id, value in values.items():
        by_value.setdefault(shown(value), []).append(str(run_id))
    if unknown_passes:
        by_value.pop("null", None)
    if len(by_value) > 1:
        yield Difference(field, by_value)


def _that_use(fact: str, runs: pd.DataFrame, boards: pd.DataFrame) -> pd.DataFrame:
    """The boards for which a fact matters: an engine's version matters to runs with that engine alone."""
    if fact not in ENGINES:
        return boards
    return boards[boards["run_id"].isin(runs.loc[runs["config.engine"] == fact, "run_id"])]


def _fact(boards: pd.DataFrame, fact: str) -> pd.Series[Any]:
    """A fact by run id; all its values if a run's boards differ."""
    known = boards[["run_id"]].assign(value=boards[f"facts.{fact}"].map(shown, na_action=None))
    return known.groupby("run_id")["value"].agg(lambda values: " and ".join(sorted(set(values) - {"null"})) or "null")


def _warnings(runs: pd.DataFrame, boards: pd.DataFrame) -> Iterator[str]:
    """Doubts about the comparison."""
    for difference in _difference("trainer_sha256", runs.set_index("run_id")["trainer_sha256"]):
        yield f"the runs were made with different versions of trainer/, {difference}"
    for engine in runs["config.engine"].unique():  # each has an environment of its own
        packages = _fact(_that_use(engine, runs, boards), "packages_sha256")
        for difference in _difference("packages_sha256", packages, unknown_passes=True):
            yield f"the boards' environments had different packages, {difference}"
    for fact in _FACTS:
        values = _fact(_that_use(fact, runs, boards), fact)
        unknown = [str(run_id) for run_id in values.index[values == "null"]]
        if 0 < len(unknown) < len(values):
            yield f"{fact} of {_some(unknown)} is unknown; assumed to equal the other runs'"


def _begun_anew(runs: pd.DataFrame) -> Iterator[str]:
    """What runs can be compared in whose boards began anew after a loss."""
    for row in runs[["run_id", "workers", "steadfast", "generations"]].to_dict("records"):
        if not row["generations"]:
            continue
        can = "its whole time and its time to accuracy include the time without training; what a step took does not"
        if row["steadfast"] < row["workers"]:
            can = (
                f"{row['steadfast']} of {row['workers']} boards trained all the time, so that it is compared in its "
                "accuracy, its whole time and its time to accuracy, and not in what a step or a pass took"
            )
        yield f"{row['run_id']}: {can}. {' '.join(row['generations'])}"


def _some(run_ids: list[str]) -> str:
    if len(run_ids) <= _NAMED + 1:
        return ", ".join(run_ids)
    return f"{', '.join(run_ids[:_NAMED])} and {len(run_ids) - _NAMED} more"


def _any(flags: pd.Series[Any]) -> bool | None:
    known = flags.dropna()
    return None if known.empty else bool(known.any())


def _known(value: Any) -> Any:
    """`value` with None for every NaN or infinite number in it."""
    if isinstance(value, dict):
        return {name: _known(item) for name, item in value.items()}
    if isinstance(value, list):
        return [_known(item) for item in value]
    if value is pd.NA or (isinstance(value, float) and not math.isfinite(value)):
        return None
    return value
