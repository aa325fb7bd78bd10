"""The table of arms and the paper's numbers: columns with units, as cells and as text."""

from __future__ import annotations

import textwrap
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.measure import Measurement

from analysis.comparison.arms import arm_name
from analysis.comparison.paper import PAPER
from analysis.comparison.words import in_words
from analysis.runs.columns import WIDTH, Column, records, text_table

if TYPE_CHECKING:  # avoids an import cycle through provenance and prediction
    from analysis.comparison.compare import Comparison

_LABELS = (16, 24)  # characters of the first column; longer labels continue on the next line


COLUMNS = (
    Column("pass_s", ("pass", "[s]"), 1, 1),
    Column("pass_ratio", ("pass", "[x one]")),
    Column("total_s", ("in all", "[s]"), 1, 0),
    Column("startup_s", ("start", "[s]"), 1, 0),
    Column("images_per_s", ("speed", "[images/s]"), 1, 0),
    Column("stall_share", ("sync", "[%]"), 100, 0),
    Column("val_accuracy_first", ("first", "acc."), 1, 3),
    Column("val_accuracy_final", ("final", "acc."), 1, 3),
    Column("sent_bytes_per_step", ("sent", "[MB]"), 1e-6, 2),
)
# shown if any arm has it
_WHERE_KNOWN = (
    Column("time_to_accuracy_s", ("to acc.", "[s]"), 1, 0, "censored_s"),
    Column("energy_j_per_pass", ("energy", "[J/pass]"), 1, 0),
    Column("energy_to_accuracy_j", ("to acc.", "[kJ]"), 1e-3, 1),
)


def columns(comparison: Comparison) -> list[Column]:
    """The columns with values for these runs."""
    return [*COLUMNS, *(column for column in _WHERE_KNOWN if comparison.arms[column.field].notna().any())]


def rows(comparison: Comparison) -> list[dict[str, Any]]:
    """The arms, the runs that are not in them, then the paper's arms: each with name, words, label, runs, cause,
    of_paper and COLUMNS' fields.

    name: by its label; words: as one would say it; label: see `arms.with_arms`, empty where words do not need it.
    runs: how many; of a run that is not averaged its status. cause: of that, with the run's id; else null.
    """
    common = {"cause": None, "of_paper": False}
    measured = [{**common, **arm, **_names(arm["workers"], arm["label"])} for arm in records(comparison.arms)]
    left_out = [
        {
            "name": arm_name(run["workers"], run["sync"]),
            "words": arm_name(run["workers"], run["sync"]),
            "label": "",
            "runs": run["status"] if run["status"] != "succeeded" else "unread",
            "cause": f"{run['run_id']}, not averaged: {run['cause']}",
            "of_paper": False,
        }
        for run in records(comparison.excluded)
    ]
    of_paper = {**common, "label": "", "runs": "-", "of_paper": True}
    printed = [{**arm, **_names(arm["workers"], arm["sync"], "paper: "), **of_paper} for arm in PAPER.arms()]
    return [*measured, *left_out, *printed]


def _names(workers: int, label: str, before: str = "") -> dict[str, str]:
    words = before + in_words(workers, label)
    return {"name": before + arm_name(workers, label), "words": words, "label": "" if label == "none" else label}


def as_text(comparison: Comparison) -> str:
    """The table, at most 100 columns wide, with an arm's spread in a second line; below it the runs left out."""
    shown = columns(comparison)
    heads = ["", "runs", *("\n".join(column.heading) for column in shown)]
    cells: list[list[RenderableType]] = []
    left_out = []
    for arm in rows(comparison):
        if arm["cause"]:
            text = f"{arm['name']} {arm['runs']}: {arm['cause']}"
            left_out.append(textwrap.fill(text, WIDTH, subsequent_indent="  "))
            continue
        values = (f"{column.cell(arm)}\n{column.spread(arm)}".rstrip() for column in shown)
        cells.append([_Label(arm["name"]), str(arm["runs"]), *values])
    return "\n".join([*text_table(heads, cells, right=range(1, len(heads)), gap=1), *left_out])


@dataclass(frozen=True)
class _Label:
    """An arm's name, continued indented on the next line."""

    name: str

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        yield textwrap.fill(self.name, max(options.max_width, 3), subsequent_indent="  ")

    def __rich_measure__(self, console: Console, options: ConsoleOptions) -> Measurement:
        return Measurement(min(len(self.name), _LABELS[0]), min(len(self.name), _LABELS[1]))


def notes(comparison: Comparison) -> list[str]:
    """Notes for the reader of the table, a sentence each."""
    arms = comparison.arms
    spread = (
        "Second lines: ± standard deviation over an arm's runs; of multiples the 95 % interval."
        if arms["runs"].max() > 1
        else "n=1: no interval."
    )
    picked = arms["comparisons"].astype(float).max()
    origin = (
        f", what one board reaches in the end less a point ({comparison.target_arm})" if comparison.target_arm else ""
    )
    seen = arms[["detectable_ratio", "detectable_accuracy"]].astype(float).max()
    notes = {
        f"{', '.join(comparison.marks).capitalize()}.": comparison.marks,
        "Pass: all images of the data set once, which is an epoch, with its validation; copies of an image on several "
        "boards count once. [x one]: as a multiple of one board. In all: from the start of the boards' processes, "
        "tracing included; start: until they are ready for the first step (Keras traces later). Speed: of all boards "
        "together, copies counted.": True,
        "Sync: fraction of time in which boards waited for each other or for communication; sent: per step and board. "
        "Accuracy is that of the validation images, after the first and the last epoch.": True,
        f"To acc.: from the start of the processes to the end of the first epoch with an accuracy of "
        f"{comparison.target_accuracy:.3f}{origin}; with >, not all runs reached it, and one of those ended after this "
        "time.": (arms["time_to_accuracy_s"].notna().any()),
        "Means are without the fastest and the slowest run of arms with five or more (MLPerf); intervals are not.": (
            comparison.drop_extremes
        ),
        spread: True,
        f"Intervals against one board hold for all {picked:.0f} comparisons together (Bonferroni).": (
            picked > 1 and arms["pass_ratio_low"].notna().any()
        ),
        "This number of runs would detect a difference of "
        f"{100 * seen['detectable_ratio']:.1f} % in time and {100 * seen['detectable_accuracy']:.1f} points in "
        "accuracy in four cases of five, as far as their own spread tells.": seen.notna().all(),
    }
    return [sentence for sentence, true in notes.items() if true]
