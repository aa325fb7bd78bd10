"""The verdict in plain words, from the table of arms only."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import pandas as pd

from analysis.comparison.arms import MARGIN, one_board
from analysis.comparison.paper import PAPER
from analysis.comparison.words import method_in_words
from trainer.contract.methods import METHODS

_COUNTS = ["no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"]
_MUCH = 0.1  # fraction of the steps' time above which something is a bottleneck


def verdict(
    arms: pd.DataFrame, *, target: float, factors: Sequence[str], rehearsal: bool | None, synthetic: bool | None
) -> str:
    """Three to eight sentences on `arms` (see `arms.summarise`); the first one answers the question.

    With a run on one board: whether an arm is worth it, for equal work in wall-clock time: a pass over the data set,
    the time until the accuracy `target`, and all in all. That arm is the one that its study named beforehand, else the
    best one, with intervals that allow for the choice. Then what it costs in accuracy and energy, what limits it, and
    what would change that; how long the paper's arm (two boards, plain Keras) takes, beside the paper. At last, where
    another collective ran than was asked for, which. `factors`: what a study varied beside boards and synchronisation;
    passes and whole runs are then not equal work, and the time to the accuracy alone decides.
    """
    base = one_board(arms)
    marks = _marks(rehearsal, synthetic)
    if len(arms) == 1:
        other = "one board, -e workers=1" if base is None else "more boards, such as -e workers=2"
        return (
            f"{_measured(arms, arms.iloc[0])}{marks} ({_count(arms)}). "
            f"There is nothing to compare: run the same experiment on {other}.{_collectives(arms)}"
        )
    if base is None:
        fastest = arms.sort_values("pass_s", na_position="last").iloc[0]
        return (
            f"Of {len(arms)} arms the fastest: {_decapitalised(_measured(arms, fastest))}{marks} ({_count(arms)}). "
            f"Without a run on one board nothing can be called worth it: run the same experiment with -e workers=1."
            f"{_collectives(arms)}"
        )
    others = arms.drop(index=base.name)
    best = _judged(others)
    papers = others[others.apply(_is_the_papers, axis="columns")]
    sentences = [
        _answer(arms, best, base, target, factors, marks),
        _images(best),
        _accuracy(best, base),
        _energy(best, target),
        _limit(best),
        *(_of_the_papers(arms, arm) for _, arm in papers.iterrows()),
    ]
    return " ".join(sentence for sentence in sentences if sentence) + _collectives(arms)


def _judged(others: pd.DataFrame) -> pd.Series[Any]:
    """The arm that was named beforehand; else the soonest at the accuracy, if it is sooner than one board; else the one
    with the shortest pass."""
    named = others[others["primary"].astype(bool)]
    if len(named) == 1:
        return named.iloc[0]
    sooner = others[others["time_to_accuracy_ratio"] < 1]
    if not sooner.empty:
        return sooner.sort_values("time_to_accuracy_s").iloc[0]
    return others.sort_values("pass_s", na_position="last").iloc[0]


def _collectives(arms: pd.DataFrame) -> str:
    """A sentence for each collective that ran instead of the one asked for, with its arms."""
    ran = {what: arms[arms["collective"] == what] for what in arms["collective"].dropna().unique()}
    return "".join(
        f" {', '.join(_name(arms, arm) for _, arm in ours.iterrows())}: {what}." for what, ours in ran.items()
    )


def _answer(
    arms: pd.DataFrame, arm: pd.Series[Any], base: pd.Series[Any], target: float, factors: Sequence[str], marks: str
) -> str:
    """Whether an arm is worth it: faster in every known measure of equal work. One slower measure means no."""
    boards = _name(arms, arm)
    reached, missed = not math.isnan(base["time_to_accuracy_s"]), arm["unreached"] > 0
    names = ["time_to_accuracy_ratio"] if factors else ["pass_ratio", "time_to_accuracy_ratio", "total_ratio"]
    known = [name for name in names if not math.isnan(arm[name])]
    # of these two alone: whether there is an interval does not depend on the others
    count = _count(arms.loc[[base.name, arm.name]])
    if not known and not (reached and missed):
        return f"Whether {_decapitalised(boards)} would be worth it is unknown: no time is known{marks} ({count})."
    single = arm["runs"] == 1 or base["runs"] == 1
    states = [_state(arm, name, single=single) for name in known]
    if reached and missed:
        states.append(-1 if arm["unreached"] == arm["runs"] else 0)
    several = arm["workers"] > 1
    parts = [_part(arm, name, target, index == 0) for index, name in enumerate(known)]
    subject, does = ("they", "do") if several else ("it", "does")
    told = f"{subject} {'take' if several else 'takes'} {_listed(parts)}" if parts else ""
    if reached and missed:
        all_of_it = "" if arm["runs"] == 1 else f" in {int(arm['unreached'])} of {int(arm['runs'])} runs"
        told += (
            f"{', and' if told else subject} {does} not reach an accuracy of {target:.3f}{all_of_it} within "
            f"{arm['censored_s']:.0f} s (one board: {base['time_to_accuracy_s']:.0f} s)"
        )
    told += f"{marks} ({count}{_chosen(arm)})"
    if 0 in states and -1 not in states:
        seen = _seen(arm, "detectable_ratio", "%", 0)
        return f"Whether {_decapitalised(boards)} {'are' if several else 'is'} worth it cannot be told: {told}; {seen}."
    worth = "worth it" if -1 not in states else "not worth it"
    if -1 not in states and _learns_less(arm):
        worth += f", but {'learn' if several else 'learns'} less"
    verb = ("look" if several else "looks") if single else "are" if several else "is"
    return f"{boards} {verb} {worth}: {told}."


def _state(arm: pd.Series[Any], name: str, *, single: bool) -> int:
    """1 if an arm takes less than one board, -1 if more, 0 if that cannot be told; of single runs the value decides."""
    low, high = (arm[name], arm[name]) if single else (arm[f"{name}_low"], arm[f"{name}_high"])
    return 1 if high < 1 else -1 if low > 1 or single else 0


def _part(arm: pd.Series[Any], name: str, target: float, first: bool) -> str:
    what = {
        "pass_ratio": "for a pass over the data set",
        "time_to_accuracy_ratio": f"to an accuracy of {target:.3f}",
        "total_ratio": "in all",
    }
    of_one = " the time of one board" if first else ""
    return f"{arm[name]:.2f} times{of_one} {what[name]}{_brackets(_interval(arm, name, 2))}"


def _chosen(arm: pd.Series[Any]) -> str:
    if arm["primary"]:
        return "; the arm that was named beforehand"
    if arm["comparisons"] < 2:
        return ""
    wider = "" if math.isnan(arm["pass_ratio_low"]) else ", intervals are wider for that"
    return f"; the best of {arm['comparisons']:.0f} comparisons{wider}"


def _seen(arm: pd.Series[Any], name: str, unit: str, decimals: int) -> str:
    """The difference that this number of runs can detect, and how well it is known."""
    value, low, high = (f"{100 * arm[f'{name}{end}']:.{decimals}f}" for end in ("", "_low", "_high"))
    return (
        f"these runs could show a difference of {value} {unit} or more (from their own spread, which so few runs tell "
        f"only to between {low} and {high} {unit})"
    )


def _learns_less(arm: pd.Series[Any]) -> bool:
    """Whether accuracy is lower than one board's: significantly, or of single runs by more than the margin."""
    high = arm["accuracy_difference_high"]
    return bool(high < 0 or (math.isnan(high) and arm["accuracy_difference"] < -MARGIN))


def _images(arm: pd.Series[Any]) -> str:
    """Images/s, where they say something else than the time of a pass."""
    if arm["workers"] == 1 or arm["sharding"] != "whole" or math.isnan(arm["images_ratio"]):
        return ""
    return (
        f"In images/s that is {arm['images_ratio']:.2f} times one board, but each of its {arm['workers']} boards "
        "trains on all images (data.sharding whole), so that an image counts once per board; data.sharding sharded "
        "would divide a pass among them."
    )


def _of_the_papers(arms: pd.DataFrame, arm: pd.Series[Any]) -> str:
    """The paper's arm beside the paper: a pass, images/s, and the speed per pass."""
    name, two = _name(arms, arm), PAPER.arms()[1]
    if math.isnan(arm["pass_ratio"]):
        return f"{name} could not be timed against one."
    images = "an unknown number of" if math.isnan(arm["images_ratio"]) else f"{arm['images_ratio']:.2f} times the"
    return (
        f"{name} took {arm['pass_ratio']:.2f} times as long per epoch as one"
        f"{_brackets(_interval(arm, 'pass_ratio', 2))}, with {images} images/s and {1 / arm['pass_ratio']:.2f} times "
        f"the speed per pass; the paper: {two['pass_ratio']:.2f}, {two['images_ratio']:.2f} and "
        f"{1 / two['pass_ratio']:.2f}."
    )


def _accuracy(arm: pd.Series[Any], base: pd.Series[Any]) -> str:
    """A sentence on the final accuracy."""
    points, margin = 100 * arm["accuracy_difference"], f"{100 * MARGIN:g} points"
    if math.isnan(points):
        return "The effect on accuracy is not known."
    values = f"{arm['val_accuracy_final']:.3f} against {base['val_accuracy_final']:.3f}"
    low, high = 100 * arm["accuracy_difference_low"], 100 * arm["accuracy_difference_high"]
    if math.isnan(low):
        return f"Final accuracy: {points:+.1f} points ({values}; n=1: cannot tell whether that is chance)."
    bound = f"at least {100 * arm['accuracy_at_least']:+.1f} with 95 % confidence, one-sided"
    not_worse, found = arm["accuracy_at_least"] > -MARGIN, f"{points:+.1f} points ({values}; "
    if high < 0:
        by_less = f"; by less than {margin}: {bound}" if not_worse else ""
        return f"Final accuracy is worse: {found}95 % interval {low:+.1f} to {high:+.1f}{by_less})."
    if not_worse:
        return f"Final accuracy is not worse by more than {margin}: {found}{bound})."
    return (
        f"Whether final accuracy is worse by more than {margin} cannot be told: {found}95 % interval {low:+.1f} to "
        f"{high:+.1f}); {_seen(arm, 'detectable_accuracy', 'points', 1)}."
    )


def _energy(arm: pd.Series[Any], target: float) -> str:
    told = [
        f"{what} takes {arm[name]:.2f} times the energy of one board{_brackets(_interval(arm, name, 2))}"
        for name, what in (
            ("energy_ratio", "a pass over the data set"),
            ("energy_to_accuracy_ratio", f"an accuracy of {target:.3f}"),
        )
        if not math.isnan(arm[name])
    ]
    return f"{'; '.join(told)}.".replace("a", "A", 1) if told else ""


def _limit(arm: pd.Series[Any]) -> str:
    """The bottleneck of the steps, and its remedy."""
    compute, communication, waiting = (arm[f"{part}_share"] for part in ("compute", "communication", "waiting"))
    if math.isnan(compute):
        return ""
    parts = f"{100 * compute:.0f} % computing (reading images included), {100 * communication:.0f} % communication"
    parts += " with waiting" if math.isnan(waiting) else f", {100 * waiting:.0f} % waiting for the slowest board"
    if not (communication > _MUCH or waiting > _MUCH):
        limit, remedy = "Computing", "on a GPU model.precision mixed_float16 or model.xla autoclustering"
    elif waiting > communication:
        limit, remedy = "Waiting", "equally fast boards (power mode, clocks, cooling)"
    else:
        less = "sync.gradient_dtype float16, " if "gradient_dtype=float32" in arm["label"] else ""
        limit, remedy = "Communication", f"a faster link, {less}{METHODS[arm['sync']].remedy}"
    return f"{limit} limits it: its steps are {parts}; {remedy} would change that."


def _interval(arm: pd.Series[Any], name: str, decimals: int) -> str:
    low, high = arm[f"{name}_low"], arm[f"{name}_high"]
    return "" if math.isnan(low) else f"95 % interval {low:.{decimals}f} to {high:.{decimals}f}"


def _brackets(*notes: str) -> str:
    known = "; ".join(note for note in notes if note)
    return f" ({known})" if known else ""


def _measured(arms: pd.DataFrame, arm: pd.Series[Any]) -> str:
    """An arm's own figures, without a comparison."""
    parts = []
    if not math.isnan(arm["pass_s"]):
        parts.append(f"took {arm['pass_s']:.1f} s per epoch")
    if not math.isnan(arm["images_per_s"]):
        parts.append(f"processed {arm['images_per_s']:.0f} images/s")
    return f"{_name(arms, arm)} {' and '.join(parts) or 'left no steady steps to time'}"


def _name(arms: pd.DataFrame, arm: pd.Series[Any]) -> str:
    """'Two boards', with the method if the arm is ambiguous without it."""
    workers = arm["workers"]
    count = _COUNTS[workers] if workers < len(_COUNTS) else str(workers)
    alone = (arms["workers"] == workers).sum() == 1
    method = "" if alone and arm["label"] == PAPER.method else method_in_words(workers, arm["label"])
    return f"{count.capitalize()} board{'s' if workers > 1 else ''}{_brackets(method)}"


def _listed(parts: Sequence[str]) -> str:
    return " and ".join([", ".join(parts[:-1]), parts[-1]] if len(parts) > 1 else parts)


def _is_the_papers(arm: pd.Series[Any]) -> bool:
    return bool(arm["workers"] == 2 and arm["label"] == PAPER.method)


def _marks(rehearsal: bool | None, synthetic: bool | None) -> str:
    """The label for every figure: emulated boards, synthetic images."""
    words = (("on emulated boards", rehearsal), ("with synthetic images", synthetic))
    marks = " ".join(mark for mark, true in words if true)
    return f", {marks}" if marks else ""


def _count(arms: pd.DataFrame) -> str:
    """The number of runs, and whether they were paired."""
    fewest, most = arms["runs"].min(), arms["runs"].max()
    each = " each" if len(arms) > 1 and fewest == most else ""
    pairs = ", in pairs" if arms["paired"].eq(True).any() else ""
    interval = ": no interval" if fewest == 1 else ""
    return f"n={most}{each}{pairs}{interval}" if fewest == most else f"n={fewest} to {most}{pairs}{interval}"


def _decapitalised(sentence: str) -> str:
    return sentence[0].lower() + sentence[1:]
