"""Groups runs into arms, and averages their measures."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import pandas as pd

from analysis.comparison import statistics
from analysis.comparison.metrics import METRICS
from analysis.comparison.statistics import Estimate
from analysis.runs.columns import shown
from trainer.contract import strategies
from trainer.contract.sections import Optimizer, Sync

MARGIN = 0.005  # of validation accuracy, 0 to 1: an arm that is worse by less counts as equally good
# ratios of an arm's measures to one board's; of times and energies, less than 1 is better
RATIOS = {
    "pass_ratio": "pass_s",
    "step_ratio": "step_s",
    "total_ratio": "total_s",
    "time_to_accuracy_ratio": "time_to_accuracy_s",
    "images_ratio": "images_per_s",
    "energy_ratio": "energy_j_per_pass",
    "energy_to_accuracy_ratio": "energy_to_accuracy_j",
}
_ENDS = ("", "_low", "_high")
_AGAINST = [
    *(f"{name}{end}" for name in (*RATIOS, "efficiency", "accuracy_difference") for end in _ENDS),
    "paired",
    "comparisons",
    "accuracy_at_least",
    *(f"{name}{end}" for name in ("detectable_ratio", "detectable_accuracy") for end in _ENDS),
]

# fields that define an arm besides the method; fields that only stop or refuse a run do not
_NO_ARM = ("method", "timeout_s", "strict_implementation")
_DEFAULTS = {name: value for name, value in asdict(Sync()).items() if name not in _NO_ARM}
_ARM = ["workers", "sync", "label"]
_BETA_2, _USUAL_BETA_2 = "config.optimizer.beta_2", shown(Optimizer().beta_2)
# what boards and method say already
_UNNAMED = (strategies.NONE, strategies.MULTI_WORKER_MIRRORED, strategies.PARAMETER_SERVER)


def with_arms(runs: pd.DataFrame) -> pd.DataFrame:
    """`runs` with three columns that identify a run's arm.

    sync: how the boards synchronise; none for a board that trains without a distribution strategy.
    sharding: whole, sharded or proportional, config.data.sharding.
    label: sync, a strategy of one board, dedicated parameter servers, and the differences from the paper's method:
    sharded images, and fields of config.sync and Adam's beta_2 that are not at their defaults. `implementation` is
    named only if runs differ in it: it is only the collective asked for, and without GPUs all are the same ring.
    Relative speeds for proportional parts are named if an arm's runs would differ in them. Of the factors that a study
    declares (`factors_of`) the values are named where runs differ in them.
    """
    strategy = runs["config.strategy"].fillna("").astype(str)
    # several boards have the engine's first strategy by default, of which the paper's engine's is named by the method
    torch = (runs["config.engine"] == strategies.PYTORCH) & (runs["workers"] > 1) & (strategy == "")
    strategy = strategy.mask(torch, strategies.DDP)
    alone = (runs["workers"] == 1) & strategy.isin(["", strategies.NONE])
    runs = runs.assign(
        sync=runs["config.sync.method"].mask(alone, "none"),
        sharding=runs["config.data.sharding"],
    )
    runs["label"] = runs["sync"]
    named = ~strategy.isin(["", *_UNNAMED])
    runs.loc[named, "label"] += ", " + strategy[named]
    dedicated = runs["config.servers"] > 0
    runs.loc[dedicated, "label"] += ", servers=" + runs["config.servers"].map(shown, na_action=None)[dedicated]
    shared = (runs["workers"] > 1) & (runs["sharding"] != "whole")
    runs.loc[shared, "label"] += ", " + runs["sharding"]
    for field, default in _DEFAULTS.items():
        values = runs[f"config.sync.{field}"].map(shown, na_action=None)
        odd = ~alone & (values != shown(default))
        if field != "implementation" or values[~alone].nunique() > 1:
            runs.loc[odd, "label"] += f", {field}=" + values[odd]
    if _BETA_2 in runs and _BETA_2.removeprefix("config.") not in factors_of(runs):
        values = runs[_BETA_2].map(shown, na_action=None)
        odd = runs[_BETA_2].notna() & (values != _USUAL_BETA_2)
        runs.loc[odd, "label"] += ", beta_2=" + values[odd]
    proportional = shared & (runs["sharding"] == "proportional")
    speeds = runs["speeds"].map(shown, na_action=None)  # lists cannot be hashed
    kinds = speeds.where(proportional).groupby([runs["workers"], runs["label"]]).transform("nunique")
    apart = proportional & (kinds > 1)
    runs.loc[apart, "label"] += ", speeds=" + speeds[apart]
    for factor in factors_of(runs):
        column = f"config.{factor}" if f"config.{factor}" in runs else factor
        if column in runs and not factor.startswith("sync."):
            values = runs[column].map(shown, na_action=None)
            if values.nunique() > 1:
                runs["label"] += f", {factor.rpartition('.')[2]}=" + values
    return runs


def factors_of(runs: pd.DataFrame) -> list[str]:
    """The factors that the runs' studies declare, all of them the same ones: fields, and facts of boards."""
    declared = [list(factors) for factors in runs["factors"]]
    return [factor for factor in declared[0] if all(factor in others for others in declared)] if declared else []


def summarise(runs: pd.DataFrame, *, drop_extremes: bool = False) -> pd.DataFrame:
    """One row per arm, by workers, sync and label, from runs that have their arm and METRICS.

    sharding; collective: where another one ran than was asked for, which, as its runs have it, else null;
    primary: whether its study named it before any run was made; runs: how many; run_ids; each of METRICS: mean over
    the runs, null where one of them lacks it; NAME_std: its sample standard deviation; NAME_low, NAME_high: its 95 %
    interval; all three null for one run. unreached: how many runs ended without the target accuracy; censored_s: how
    long they had trained then, at least.

    Against one board, and null without a run on it: RATIOS, each the ratio of geometric means; efficiency: images_ratio
    by workers; accuracy_difference: val_accuracy_final less that of one board; of all of them NAME_low and NAME_high,
    null where either has one run and for one board itself. paired: whether runs were taken in pairs, see `_pairs`.
    comparisons: among how many the arm could be picked afterwards; the intervals hold for all of them together, see
    `statistics.together`. accuracy_at_least: the one-sided lower end of accuracy_difference; detectable_ratio (of
    pass_s), detectable_accuracy: the difference that this number of runs can detect, see `statistics`.

    Arms are compared with one board of their own engine, where there is one.

    "One board" is the one without a distribution strategy where there is one; of several it is the strongest rival:
    the one that is soonest at the target accuracy, then the one with the shortest pass.

    `drop_extremes`: means and ratios leave out what `statistics.kept` does, `dropped` has their run ids; spreads,
    intervals, differences and tests keep all runs, because intervals of what is left would be too narrow, and are not
    of pairs, because what is left is not.
    """
    groups = {key: runs.loc[index] for key, index in runs.groupby(_ARM).groups.items()}
    averaged = {key: arm[_averaged(arm)] if drop_extremes else arm for key, arm in groups.items()}
    arms = pd.DataFrame([_alone(arm, averaged[key]) for key, arm in groups.items()])
    base = one_board(arms)
    if base is None:
        return arms.reindex(columns=[*arms.columns, *_AGAINST])
    rows = []
    for (key, arm), primary, engine in zip(groups.items(), arms["primary"], arms["engine"], strict=True):
        own = one_board(arms[arms["engine"] == engine])
        against = tuple((base if own is None else own)[_ARM])
        # one board against itself: a single run, which has no interval
        ours, theirs = (arm, groups[against]) if key != against else (arm.iloc[:1], arm.iloc[:1])
        pairs = None if drop_extremes else _pairs(ours, theirs)
        values = (averaged[key], averaged[against]) if drop_extremes else pairs or (arm, groups[against])
        count = _comparisons(arms, primary=bool(primary))
        rows.append(_against(*(pairs or (ours, theirs)), *values, paired=pairs is not None, comparisons=count))
    return pd.concat([arms, pd.DataFrame(rows, index=arms.index)[_AGAINST]], axis="columns")


def _comparisons(arms: pd.DataFrame, *, primary: bool) -> int:
    """Among how many comparisons one may be picked: the other arms, if the rival is certain, else all pairs.

    One alone for an arm that was named beforehand, where only one was.
    """
    rivals, count = len(_rivals(arms)), len(arms)
    if primary and arms["primary"].sum() == 1:
        return rivals
    return count - 1 if rivals == 1 else count * (count - 1) // 2


def _averaged(arm: pd.DataFrame) -> pd.Series[bool]:
    """The runs that MLPerf's rule keeps, by time to accuracy if a run reached it, else by total time."""
    timed = "time_to_accuracy_s" if arm["time_to_accuracy_s"].notna().any() else "total_s"
    return pd.Series(statistics.kept(arm[timed]), index=arm.index)


def _alone(arm: pd.DataFrame, averaged: pd.DataFrame) -> dict[str, Any]:
    """An arm's own measures."""
    row: dict[str, Any] = {
        **{name: arm[name].iloc[0] for name in [*_ARM, "sharding"]},
        "collective": "; ".join(sorted(set(arm["collective"].dropna()))) or None,
        "engine": arm["config.engine"].iloc[0],
        "primary": bool(arm["primary"].all()),
        "runs": len(arm),
        "run_ids": arm["run_id"].tolist(),
        "dropped": sorted(set(arm["run_id"]) - set(averaged["run_id"])),
    }
    for metric in METRICS:
        found = statistics.mean(arm[metric])
        row |= {
            metric: averaged[metric].mean(skipna=False),
            f"{metric}_std": arm[metric].std(skipna=False),
            f"{metric}_low": found.low.item(),
            f"{metric}_high": found.high.item(),
        }
    without = arm[~arm["reached"].astype(bool)]
    return {**row, "unreached": len(without), "censored_s": without["total_s"].min()}


def _against(
    arm: pd.DataFrame,
    base: pd.DataFrame,
    averaged: pd.DataFrame,
    base_averaged: pd.DataFrame,
    *,
    paired: bool,
    comparisons: int,
) -> dict[str, Any]:
    """An arm's measures relative to one board; ratios are of the averaged runs."""
    how: dict[str, Any] = {"paired": paired, "confidence": statistics.together(comparisons)}
    row: dict[str, Any] = {"paired": paired, "comparisons": comparisons}
    for name, metric in RATIOS.items():
        of_all = statistics.ratio(arm[metric], base[metric], **how)
        value = statistics.ratio(averaged[metric], base_averaged[metric], paired=False).value
        row |= _estimate(name, Estimate(value, of_all.low, of_all.high))
    row |= {f"efficiency{end}": row[f"images_ratio{end}"] / averaged["workers"].iloc[0] for end in _ENDS}
    final = arm["val_accuracy_final"], base["val_accuracy_final"]
    row |= _estimate("accuracy_difference", statistics.difference(*final, **how))
    row["accuracy_at_least"] = statistics.at_least(*final, **how).item()
    row |= _estimate("detectable_ratio", statistics.detectable_ratio(arm["pass_s"], base["pass_s"], **how))
    return row | _estimate("detectable_accuracy", statistics.detectable(*final, **how))


def _estimate(name: str, found: Estimate) -> dict[str, float]:
    return {name: found.value.item(), f"{name}_low": found.low.item(), f"{name}_high": found.high.item()}


def _pairs(arm: pd.DataFrame, base: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame] | None:
    """The runs of both arms in pairs made under the same conditions; None if there are no pairs.

    By the study's repeat, whose runs were made next to each other, where two or more are in both arms; else by the
    seed where each one occurs once in both arms.
    """
    for key in ("repeat", "seed"):
        ours, theirs = (it.dropna(subset=key).sort_values(key) for it in (arm, base))
        once = ours[key].is_unique and theirs[key].is_unique
        common = set(ours[key]) & set(theirs[key])
        if once and len(common) > 1 and (key == "repeat" or len(common) == len(arm) == len(base)):
            return ours[ours[key].isin(common)], theirs[theirs[key].isin(common)]
    return None


def one_board(arms: pd.DataFrame) -> pd.Series[Any] | None:
    """The arm of one board to which others are compared, the strongest rival; None without one."""
    rivals = _rivals(arms)
    return None if rivals.empty else rivals.sort_values(["time_to_accuracy_s", "pass_s"], na_position="last").iloc[0]


def _rivals(arms: pd.DataFrame) -> pd.DataFrame:
    """The arms of one board, without a distribution strategy if there are such."""
    alone = arms[arms["workers"] == 1]
    plain = alone[alone["sync"] == "none"]
    return alone if plain.empty else plain


def arm_name(workers: int, label: str) -> str:
    """A name such as '2 boards, keras'."""
    boards = f"{workers} board{'s' if workers > 1 else ''}"
    return boards if label == "none" else f"{boards}, {label.removeprefix('none, ')}"
