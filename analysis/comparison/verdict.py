"""The verdict in plain words, from the table of arms only."""

from __future__ import annotations

import math
from typing import Any

import pandas as pd

from analysis.comparison.arms import MARGIN, one_board
from analysis.comparison.paper import PAPER
from trainer.contract.methods import METHODS

_COUNTS = ["no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"]
_SURE = 0.05  # significance level
_MUCH = 0.1  # fraction of the steps' time above which something is a bottleneck


def verdict(arms: pd.DataFrame, *, rehearsal: bool | None, synthetic: bool | None) -> str:
    """Three to seven sentences on `arms` (see `arms.summarise`); the first one answers the question.

    With a run on one board: whether more boards are worth it, judged by the fastest arm; what that one costs in
    accuracy and energy; what limits it, and what would change that. Then how long the paper's arm (two boards, plain
    Keras) takes per epoch, beside the paper. At last, where another collective ran than was asked for, which.
    """
    base = one_board(arms)
    marks = _marks(rehearsal, synthetic)
    where = f"{marks} ({_count(arms)})"
    if len(arms) == 1:
        other = "one board, -e workers=1" if base is None else "more boards, such as -e workers=2"
        return (
            f"{_measured(arms, arms.iloc[0])}{where}. "
            f"There is nothing to compare: run the same experiment on {other}.{_collectives(arms)}"
        )
    if base is None:
        return (
            f"Of {len(arms)} arms the fastest: {_decapitalised(_measured(arms, _fastest(arms)))}{where}. Without a run "
            f"on one board there is no speed-up: run the same experiment with -e workers=1.{_collectives(arms)}"
        )
    others = arms.drop(index=base.name)
    best = _fastest(others)
    # of these two alone: whether there is an interval does not depend on the others
    count = _count(arms.loc[[base.name, best.name]])
    papers = others[others.apply(_is_the_papers, axis="columns")]
    sentences = [
        f"{_answer(arms, best, marks, count)}.",
        _accuracy(best, base),
        _energy(best),
        _limit(best),
        _time(arms, best if papers.empty else papers.iloc[0]),
    ]
    return " ".join(sentence for sentence in sentences if sentence) + _collectives(arms)


def _collectives(arms: pd.DataFrame) -> str:
    """A sentence for each collective that ran instead of the one asked for, with its arms."""
    ran = {what: arms[arms["collective"] == what] for what in arms["collective"].dropna().unique()}
    return "".join(
        f" {', '.join(_name(arms, arm) for _, arm in ours.iterrows())}: {what}." for what, ours in ran.items()
    )


def _answer(arms: pd.DataFrame, arm: pd.Series[Any], marks: str, count: str) -> str:
    """Whether an arm's speed-up makes it worth it."""
    boards, value = _name(arms, arm), arm["speedup"]
    if math.isnan(value):
        return f"Whether {_decapitalised(boards)} would be worth it is unknown: there is no speed-up{marks} ({count})"
    several = arm["workers"] > 1
    speed = f"a speed-up of {value:.2f}{_brackets(_interval(arm, 'speedup', 2), count)}{marks}"
    worth = f"{'' if value > 1 else 'not '}worth it in speed"
    if value > 1 and _learns_less(arm):
        worth += f", but {'learn' if several else 'learns'} less"
    if math.isnan(arm["speedup_low"]):
        return f"{boards} {'look' if several else 'looks'} {worth}: {speed}"
    if arm["speedup_low"] > 1 or arm["speedup_high"] < 1:
        return f"{boards} {'are' if several else 'is'} {worth}: {speed}"
    return (
        f"Whether {_decapitalised(boards)} {'are' if several else 'is'} worth it in speed cannot be told: {speed}; "
        f"these runs could show a difference of {100 * arm['detectable_speedup']:.0f} % or more"
    )


def _learns_less(arm: pd.Series[Any]) -> bool:
    """Whether accuracy is lower than one board's by more than the margin and, with an interval, significantly."""
    return bool(arm["accuracy_difference"] < -MARGIN and not arm["accuracy_difference_high"] >= 0)


def _time(arms: pd.DataFrame, arm: pd.Series[Any]) -> str:
    """An arm's time relative to one board, per epoch, or per step without a steady epoch."""
    unit = "step" if math.isnan(arm["epoch_ratio"]) else "epoch"
    ratio = arm[f"{unit}_ratio"]
    if math.isnan(ratio):
        return f"{_name(arms, arm)} could not be timed against one."
    if f"{ratio:.2f}" == "1.00":
        outcome, times = f"as long per {unit} as one", " times"
    elif ratio > 1:
        outcome, times = f"{ratio:.2f} times as long per {unit} as one", ""
    else:
        outcome, times = f"{ratio:.2f} times the time per {unit} of one", " times"
    paper = f"the paper: {PAPER.epoch_ratio:.2f}{times}" if _is_the_papers(arm) and unit == "epoch" else ""
    return f"{_name(arms, arm)} took {outcome}{_brackets(paper, _interval(arm, f'{unit}_ratio', 2))}."


def _accuracy(arm: pd.Series[Any], base: pd.Series[Any]) -> str:
    """A sentence on the final accuracy."""
    points, margin = 100 * arm["accuracy_difference"], f"{100 * MARGIN:g} points"
    if math.isnan(points):
        return "The effect on accuracy is not known."
    values = f"{arm['val_accuracy_final']:.3f} against {base['val_accuracy_final']:.3f}"
    low, high = 100 * arm["accuracy_difference_low"], 100 * arm["accuracy_difference_high"]
    if math.isnan(low):
        return f"Final accuracy: {points:+.1f} points ({values}; n=1: cannot tell whether that is chance)."
    found = f"{points:+.1f} points ({values}; 95 % interval {low:+.1f} to {high:+.1f})"
    if arm["not_worse_p"] < _SURE:
        return f"Final accuracy is not worse by more than {margin}: {found}."
    if high < 0:
        return f"Final accuracy is worse: {found}."
    return (
        f"Whether final accuracy is worse by more than {margin} cannot be told: {found}; these runs could show a "
        f"difference of {100 * arm['detectable_accuracy']:.1f} points or more."
    )


def _energy(arm: pd.Series[Any]) -> str:
    ratio, interval = arm["energy_ratio"], _brackets(_interval(arm, "energy_ratio", 2))
    return "" if math.isnan(ratio) else f"An image takes {ratio:.2f} times the energy of one board{interval}."


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
    shared = "; data.sharding sharded would divide an epoch among the boards"
    whole = arm["workers"] > 1 and arm["sharding"] == "whole"
    return f"{limit} limits it: its steps are {parts}; {remedy} would change that{shared if whole else ''}."


def _interval(arm: pd.Series[Any], name: str, decimals: int) -> str:
    low, high = arm[f"{name}_low"], arm[f"{name}_high"]
    return "" if math.isnan(low) else f"95 % interval {low:.{decimals}f} to {high:.{decimals}f}"


def _brackets(*notes: str) -> str:
    known = "; ".join(note for note in notes if note)
    return f" ({known})" if known else ""


def _measured(arms: pd.DataFrame, arm: pd.Series[Any]) -> str:
    """An arm's own figures, without a comparison."""
    parts = []
    if not math.isnan(arm["epoch_s"]):
        parts.append(f"took {arm['epoch_s']:.1f} s per epoch")
    if not math.isnan(arm["images_per_s"]):
        parts.append(f"processed {arm['images_per_s']:.0f} images/s")
    return f"{_name(arms, arm)} {' and '.join(parts) or 'left no steady steps to time'}"


def _name(arms: pd.DataFrame, arm: pd.Series[Any]) -> str:
    """'Two boards', with the method if the arm is ambiguous without it."""
    workers = arm["workers"]
    count = _COUNTS[workers] if workers < len(_COUNTS) else str(workers)
    alone = (arms["workers"] == workers).sum() == 1
    label = "" if alone and arm["label"] in ("none", PAPER.method) else f" ({arm['label']})"
    return f"{count.capitalize()} board{'s' if workers > 1 else ''}{label}"


def _fastest(arms: pd.DataFrame) -> pd.Series[Any]:
    return arms.sort_values("images_per_s", ascending=False, na_position="last").iloc[0]


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
