"""The outcome in plain words, from the table of arms and nothing else."""

from __future__ import annotations

import math
from typing import Any

import pandas as pd

from analysis.arms import one_board
from analysis.paper import PAPER

_COUNTS = ["no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"]


def verdict(arms: pd.DataFrame, *, rehearsal: bool | None, synthetic: bool | None) -> str:
    """Two or three sentences on `arms` (see `analysis.arms.summarise`).

    With a run on one board: how long the paper's arm (two boards, plain Keras, all images on each)
    takes per epoch, beside the paper, or the arm of the fewest boards where the paper's is not
    there; its speed-up; and the fastest arm with its accuracy where it is another one.
    """
    base = one_board(arms)
    where = _conditions(arms, rehearsal, synthetic)
    if len(arms) == 1:
        other = "one board, -e workers=1" if base is None else "more boards, such as -e workers=2"
        return (
            f"{_measured(arms, arms.iloc[0])}{where}. "
            f"There is nothing to compare it with: run the same experiment on {other}."
        )
    if base is None:
        best = _decapitalised(_measured(arms, _fastest(arms)))
        return (
            f"Of {len(arms)} arms the fastest: {best}{where}. Without a run on one board there is "
            "no speed-up: run the same experiment with -e workers=1."
        )
    others = arms.drop(index=base.name)
    papers = others[others.apply(_is_the_papers, axis="columns")]
    lead = (others if papers.empty else papers).iloc[0]
    sentences = [_time(arms, lead), f"{_speed(lead, base)}{where}."]
    fastest = _fastest(others)
    if fastest["speedup"] > lead["speedup"]:
        sentences.append(
            f"The fastest of the {len(arms)} arms: {_decapitalised(_name(arms, fastest))}, "
            f"a speed-up of {fastest['speedup']:.2f}{_accuracy(fastest, base)}."
        )
    return " ".join(sentences)


def _time(arms: pd.DataFrame, arm: pd.Series[Any]) -> str:
    """An arm's time against one board, per epoch, or per step where no epoch is steady."""
    unit = "step" if math.isnan(arm["epoch_ratio"]) else "epoch"
    ratio = arm[f"{unit}_ratio"]
    beside = f" (the paper: {PAPER.epoch_ratio:.2f}"
    if math.isnan(ratio):
        return f"{_name(arms, arm)} could not be timed against one."
    if f"{ratio:.2f}" == "1.00":
        outcome, beside = f"as long per {unit} as one", f"{beside} times)"
    elif ratio > 1:
        outcome, beside = f"{ratio:.2f} times as long per {unit} as one", f"{beside})"
    else:
        outcome = f"{100 * (1 - ratio):.0f} % less time per {unit} than one"
        beside = f"{beside} times as long)"
    in_paper = _is_the_papers(arm) and unit == "epoch"
    return f"{_name(arms, arm)} took {outcome}{beside if in_paper else ''}."


def _speed(arm: pd.Series[Any], base: pd.Series[Any]) -> str:
    """An arm's images per second against one board."""
    several = arm["workers"] > 1
    if math.isnan(arm["speedup"]):
        return f"{'Their' if several else 'Its'} speed-up is not known"
    whole = several and arm["sharding"] == "whole"
    together = "together they" if several else "it"
    return (
        f"{f'Each saw every image; {together}' if whole else together.capitalize()} processed "
        f"{arm['images_per_s']:.0f} images/s, one board alone {base['images_per_s']:.0f}: "
        f"a speed-up of {arm['speedup']:.2f}"
    )


def _accuracy(arm: pd.Series[Any], base: pd.Series[Any]) -> str:
    """What a speed-up is worth depends on it."""
    name = "val_accuracy_final"
    if math.isnan(arm[name]) or math.isnan(base[name]):
        return ""
    return f", with a final accuracy of {arm[name]:.3f} (one board: {base[name]:.3f})"


def _measured(arms: pd.DataFrame, arm: pd.Series[Any]) -> str:
    """An arm's own figures, where there is nothing to set them against."""
    parts = []
    if not math.isnan(arm["epoch_s"]):
        parts.append(f"took {arm['epoch_s']:.1f} s per epoch")
    if not math.isnan(arm["images_per_s"]):
        parts.append(f"processed {arm['images_per_s']:.0f} images/s")
    return f"{_name(arms, arm)} {' and '.join(parts) or 'left no steady steps to time'}"


def _name(arms: pd.DataFrame, arm: pd.Series[Any]) -> str:
    """'Two boards', and how they agreed where that is needed to know which arm is meant."""
    workers = arm["workers"]
    count = _COUNTS[workers] if workers < len(_COUNTS) else str(workers)
    alone = (arms["workers"] == workers).sum() == 1
    label = "" if alone and arm["label"] in ("none", "keras") else f" ({arm['label']})"
    return f"{count.capitalize()} board{'s' if workers > 1 else ''}{label}"


def _fastest(arms: pd.DataFrame) -> pd.Series[Any]:
    return arms.sort_values("images_per_s", ascending=False, na_position="last").iloc[0]


def _is_the_papers(arm: pd.Series[Any]) -> bool:
    return bool(arm["workers"] == 2 and arm["label"] == "keras")


def _conditions(arms: pd.DataFrame, rehearsal: bool | None, synthetic: bool | None) -> str:
    """What a reader must know beside every figure: emulated, synthetic, how many runs."""
    marks = " ".join(
        mark for mark, true in (("on emulated boards", rehearsal), ("with synthetic images", synthetic)) if true
    )
    fewest, most = arms["runs"].min(), arms["runs"].max()
    count = f"n={most}" if fewest == most else f"n={fewest} to {most}"
    each = " each" if len(arms) > 1 and fewest == most else ""
    spread = ": no spread" if most == 1 else ""
    return f"{f', {marks}' if marks else ''} ({count}{each}{spread})"


def _decapitalised(sentence: str) -> str:
    return sentence[0].lower() + sentence[1:]
