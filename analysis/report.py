"""The report: one HTML page that needs nothing but itself, for screen, print, light and dark."""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pandas as pd
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from analysis.arms import arm_name, records, shown
from analysis.comparison import Comparison
from analysis.loading import flatten
from analysis.paper import PAPER
from analysis.plots import accuracy_by_epoch, loss_by_epoch, time_per_epoch
from analysis.table import columns, notes, rows
from trainer.config import Config, to_dict

# heading, column of `boards`, factor
_FACTS = (
    ("module", "facts.module", 1),
    ("JetPack", "facts.jetpack", 1),
    ("TensorFlow", "facts.tensorflow", 1),
    ("Python", "facts.python", 1),
    ("machine", "facts.machine", 1),
    ("cores", "facts.cores", 1),
    ("memory [GB]", "facts.memory_bytes", 1e-9),
    ("link [Mbit/s]", "facts.link_rate_bit_per_s", 1e-6),
    ("emulated", "facts.emulated", 1),
)


def write_report(comparison: Comparison, out: Path) -> None:
    """Write the report to `out`, with links to the runs' folders relative to it."""
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(render(comparison, out.parent), encoding="utf-8")


def render(comparison: Comparison, folder: Path, *, drawn: bool = True) -> str:
    """The report as HTML; `folder` is where it will lie. Without the drawings where only its words count."""
    environment = Environment(
        loader=PackageLoader("analysis"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    unit = "epoch" if comparison.arms["epoch_s"].notna().any() else "step"
    figures = [
        (
            time_per_epoch,
            f"Bars: mean time per {unit} of an arm. Dots: its runs, where it has several.",
        ),
        (
            accuracy_by_epoch,
            "One line per run. Hollow: the paper after its first epoch, on CIFAR-100.",
        ),
        (loss_by_epoch, "One line per run."),
    ]
    return environment.get_template("report.html.j2").render(
        comparison=comparison,
        paper=PAPER,
        columns=columns(comparison),
        rows=rows(comparison),
        notes=notes(comparison),
        # made by matplotlib, which escapes the texts in it
        figures=[(Markup(draw(comparison) if drawn else ""), caption) for draw, caption in figures],
        runs=list(_runs(comparison, folder)),
        facts=_FACTS,
        boards=list(_boards(comparison.boards)),
        settings=list(_settings(comparison.runs)),
        commits=sorted({_commit(run) for run in records(comparison.runs)}),
        commands=list(dict.fromkeys(_commands(comparison))),
    )


def _runs(comparison: Comparison, folder: Path) -> Iterator[dict[str, Any]]:
    """Every run, used or not, with a link that works from `folder`."""
    used = comparison.runs.assign(cause=None)
    for run in [*records(used), *records(comparison.excluded)]:
        link = Path(os.path.relpath(run["folder"], folder)).as_posix()
        name = arm_name(run["workers"], run.get("label", run["sync"]))
        yield {**run, "link": quote(f"{link}/"), "name": name}


def _boards(boards: pd.DataFrame) -> Iterator[list[str]]:
    """A board's name and facts; more than one row where they changed between runs."""
    table = boards[["board", *(column for _, column, _ in _FACTS)]].copy()
    for _, column, factor in _FACTS:
        if factor != 1:
            table[column] = (pd.to_numeric(table[column]) * factor).round(1)
    for row in table.drop_duplicates().itertuples(index=False):
        yield [shown(value).replace("null", "-") for value in row]


def _settings(runs: pd.DataFrame) -> Iterator[tuple[str, str, str]]:
    """Fields of the configuration that are not the paper's: name, value here, the paper's."""
    for name, default in flatten("config", to_dict(Config())).items():
        values = sorted({_without_folder(shown(value)) for value in runs[name]})
        if values != [shown(default)]:
            yield name.removeprefix("config."), " or ".join(values), shown(default)


def _without_folder(value: str) -> str:
    """A user's file by its name: where it lay is of no use to a reader."""
    return Path(value).name if Path(value).is_absolute() else value


def _commit(run: dict[str, Any]) -> str:
    commit = shown(run["git_commit"])
    if commit == "null":
        return "a version that is not in git"
    return f"{commit}, with uncommitted changes" if run["git_dirty"] else commit


def _commands(comparison: Comparison) -> Iterator[str]:
    inventory = "-i inventory/lab " if comparison.rehearsal else ""
    for run in records(comparison.runs):
        yield (
            f"ansible-playbook {inventory}playbooks/run_experiment.yml "
            f"-e experiment={shlex.quote(run['experiment'])} "
            f"-e workers={run['workers']} -e seed={run['seed']}"
        )
