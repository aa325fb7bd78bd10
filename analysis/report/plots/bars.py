"""Bar charts: an arm's mean, and its runs as dots."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import pandas as pd

from analysis.comparison.arms import one_board
from analysis.comparison.compare import Comparison
from analysis.comparison.paper import PAPER
from analysis.comparison.stragglers import by_board, computing
from analysis.report.plots.rows import Row, draw
from analysis.report.plots.style import arms, name


def time_per_pass(comparison: Comparison) -> str:
    """Time per pass over the data set, a dot per run, beside the paper's bar if it has that arm.

    As a multiple of one board; without a run on one board, in seconds and without the paper.
    """
    base = one_board(comparison.arms)
    scale = 1.0 if base is None else float(base["pass_s"])
    papers = {} if base is None else {(arm["workers"], arm["sync"]): arm for arm in PAPER.arms()}

    def value(arm: dict[str, Any]) -> str:
        seconds = f"{arm['pass_s']:.3g} s"
        return seconds if base is None else f"{_interval(arm, 'pass_ratio', 2)}   ({seconds})"

    rows = []
    for arm, row in _rows(comparison, "pass_s", value, lambda seconds: seconds / scale):
        rows.append(row)
        paper = papers.get((arm["workers"], arm["label"]))
        if paper:
            ratio = paper["pass_ratio"]
            rows.append(Row("the same in the paper", f"{ratio:.2f}   (paper)", [ratio], hollow=True))
    below = "seconds per pass" if base is None else "time per pass over the data set, one board = 1"
    return draw(comparison, "time", "Time per pass over the data set", below, rows)


def time_to_accuracy(comparison: Comparison) -> str:
    """Seconds from the start of the boards' processes until the comparison's target accuracy."""
    title = f"Time to a validation accuracy of {comparison.target_accuracy:.3f}"

    def value(arm: dict[str, Any]) -> str:
        return f"{_interval(arm, 'time_to_accuracy_s', 1)} s"

    def unknown(arm: dict[str, Any]) -> str:
        if not arm["unreached"]:
            return "not known"
        of_runs = "" if arm["runs"] == 1 else f" by {arm['unreached']} of {arm['runs']} runs"
        return f"not reached{of_runs} in {arm['censored_s']:.0f} s"

    found = _rows(comparison, "time_to_accuracy_s", value, unknown=unknown)
    rows = [row for _, row in found]
    return draw(comparison, "reach", title, "seconds since the start, tracing and validation included", rows)


def time_of_a_step(comparison: Comparison) -> str:
    """The parts of a step's time: computing, communication, waiting."""
    rows = []
    for arm, colour, _ in arms(comparison):
        shares = [arm[f"{part}_share"] for part in ("compute", "communication", "waiting")]
        known = [1e3 * arm["step_s"] * share for share in shares if not math.isnan(share)]
        text = f"{1e3 * arm['step_s']:.0f} ms" if known else "not known"
        if math.isnan(shares[2]) and arm["workers"] > 1 and known:
            text += ", waiting within communication"
        rows.append(Row(name(arm), text, known or [0.0], colour))
    parts = ("computing", "communication", "waiting")
    return draw(comparison, "step", "Where the time of a step goes", "milliseconds per step", rows, parts)


def computing_by_board(comparison: Comparison) -> str:
    """Each board's computing per step, without communication and waiting, to find slower boards."""
    steps = computing(comparison.epochs)
    means = by_board(steps)
    rows = []
    for arm, colour, _ in arms(comparison):
        own = means[means["run_id"].isin(arm["run_ids"])]
        if arm["workers"] < 2 or own.empty:
            continue
        rows.append(Row(name(arm), ""))
        for (_, board), runs in own.groupby(["rank", "board"]):
            each = 1e3 * steps.loc[steps["run_id"].isin(arm["run_ids"]) & (steps["board"] == board), "compute_s"]
            mean = 1e3 * runs["compute_s"].mean(skipna=False)
            span = (each.min(), each.max()) if each.notna().all() else None
            text = "not known" if math.isnan(mean) else f"{mean:.0f} ms"
            rows.append(Row(str(board), text, [mean], colour, list(1e3 * runs["compute_s"]), span))
    title = "Computing of a step, by board"
    return draw(comparison, "boards", title, "milliseconds per step, without communication and waiting", rows)


def energy_per_pass(comparison: Comparison) -> str:
    """Energy of all boards' modules per pass over the data set."""

    def value(arm: dict[str, Any]) -> str:
        return f"{_interval(arm, 'energy_j_per_pass', 0)} J   ({arm['mean_power_w']:.1f} W)"

    rows = [row for _, row in _rows(comparison, "energy_j_per_pass", value)]
    return draw(comparison, "energy", "Energy per pass", "joules per pass over the data set, all boards' modules", rows)


def _rows(
    comparison: Comparison,
    measure: str,
    value: Callable[[dict[str, Any]], str],
    length: Callable[[Any], Any] = lambda measured: measured,
    unknown: Callable[[dict[str, Any]], str] = lambda arm: "not known",
) -> Iterator[tuple[dict[str, Any], Row]]:
    for arm, colour, _ in arms(comparison):
        runs: pd.Series[Any] = length(comparison.runs.loc[comparison.runs["run_id"].isin(arm["run_ids"]), measure])
        if math.isnan(arm[measure]):
            yield arm, Row(name(arm), unknown(arm), [0.0], colour)
        else:
            dots = list(runs) if len(runs) > 1 else []
            yield arm, Row(name(arm), value(arm), [length(arm[measure])], colour, dots)


def _interval(arm: dict[str, Any], measure: str, decimals: int) -> str:
    """A value with its 95 % interval, if any."""
    low, high = arm[f"{measure}_low"], arm[f"{measure}_high"]
    known = "" if math.isnan(low) else f" [{low:.{decimals}f}–{high:.{decimals}f}]"
    return f"{arm[measure]:.{decimals}f}{known}"
