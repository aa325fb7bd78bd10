"""The report: a self-contained HTML page for screen, phone and print, light and dark."""

from __future__ import annotations

import json
import math
import os
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pandas as pd
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from analysis.comparison.arms import arm_name
from analysis.comparison.compare import Comparison
from analysis.comparison.paper import PAPER
from analysis.report.plots import figures
from analysis.report.table import columns, notes, rows
from analysis.runs import provenance
from analysis.runs.columns import records, shown
from analysis.runs.loading import flatten
from trainer.contract.config import Config, to_dict
from trainer.contract.layout import write_text

# heading, column of `boards`, factor
_FACTS = (
    ("module", "facts.module", 1),
    ("JetPack", "facts.jetpack", 1),
    ("power mode", "facts.power_mode", 1),
    ("TensorFlow", "facts.tensorflow", 1),
    ("Python", "facts.python", 1),
    ("machine", "facts.machine", 1),
    ("cores", "facts.cores", 1),
    ("memory [GB]", "facts.memory_bytes", 1e-9),
    ("link [Mbit/s]", "facts.link_rate_bit_per_s", 1e-6),
    ("emulated", "facts.emulated", 1),
)
_FIRST = ("time_per_pass", "time_to_accuracy")  # equal work


def write_report(comparison: Comparison, out: Path) -> None:
    """Write the report to `out`, with links to the runs' folders relative to it."""
    out.parent.mkdir(parents=True, exist_ok=True)
    write_text(out, render(comparison, out.parent))


def render(comparison: Comparison, folder: Path, *, drawn: bool = True) -> str:
    """The report as HTML; `folder` is its future folder. `drawn` false leaves out the drawings."""
    environment = Environment(
        loader=PackageLoader("analysis.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    answer, stop, others = comparison.verdict.partition(". ")
    # from matplotlib, which escapes its texts
    drawings = {name: (Markup(figure.svg), figure.caption) for name, figure in figures(comparison, drawn=drawn).items()}
    every = pd.concat([comparison.runs[["run_id", "folder"]], comparison.excluded[["run_id", "folder"]]])
    headings, boards = _boards(comparison)
    return environment.get_template("report.html.j2").render(
        comparison=comparison,
        answer=answer + stop.strip(),
        others=others,
        paper=PAPER,
        columns=columns(comparison),
        rows=rows(comparison),
        notes=notes(comparison),
        first=[drawings.pop(name) for name in _FIRST if name in drawings],
        drawings=list(drawings.values()),
        runs=list(_runs(comparison, folder)),
        predicted=(provenance.PREDICTED, list(provenance.predictions(comparison.runs))),
        choices=(provenance.CHOICES, list(provenance.choices(comparison.runs))),
        attempts=(provenance.ATTEMPTS, list(provenance.attempts(every))),
        boards=(headings, boards),
        gates=(provenance.FINDINGS, provenance.gates(every)),
        unchecked=provenance.unchecked(every),
        waived=provenance.waived(every),
        clocks=list(provenance.clocks(comparison.runs, comparison.epochs)),
        settings=(("field", "these runs", "the paper, or the kit's default"), list(_settings(comparison.runs))),
        commits=sorted({_commit(run) for run in records(comparison.runs)}),
        commands=list(dict.fromkeys(_commands(comparison))),
    )


def _runs(comparison: Comparison, folder: Path) -> Iterator[dict[str, Any]]:
    """All runs, used or not, with links relative to `folder`."""
    told = comparison.boards.dropna(subset="facts.collective_used").drop_duplicates("run_id")
    collectives = dict(zip(told["run_id"], told["facts.collective_used"], strict=True))
    used = comparison.runs.assign(cause=None)
    for run in [*records(used), *records(comparison.excluded)]:
        link = Path(os.path.relpath(run["folder"], folder)).as_posix()
        name = arm_name(run["workers"], run.get("label", run["sync"]))
        ran = shown(run.get("collective"))
        if ran == "null":
            ran = collectives.get(run["run_id"], "-")
        yield {**run, "link": quote(f"{link}/"), "name": name, "collective": ran}


def _boards(comparison: Comparison) -> tuple[list[str], list[list[str]]]:
    """Headings, and rows of a board's name and facts: several if they changed between runs, without unknown facts."""
    told = [(heading, column, factor) for heading, column, factor in _FACTS if comparison.boards[column].notna().any()]
    table = comparison.boards[["board", *(column for _, column, _ in told)]].copy()
    for _, column, factor in told:
        if factor != 1:
            table[column] = (pd.to_numeric(table[column]) * factor).round(1)
    # as text: values of different types may be equal, and some are not hashable
    lines = dict.fromkeys(tuple(map(_cell, row)) for row in table.itertuples(index=False))
    return ["board", *(heading for heading, _, _ in told)], [list(line) for line in lines]


def _cell(value: object) -> str:
    """A board's name or fact; - if unknown."""
    text = shown(value)
    return "-" if text == "null" and not isinstance(value, str) else text


def _settings(runs: pd.DataFrame) -> Iterator[tuple[str, str, str]]:
    """Fields of the configuration that are not the paper's: name, value here, the paper's."""
    for name, default in flatten("config", to_dict(Config())).items():
        values = sorted({_without_folder(shown(value)) for value in runs[name]})
        if values != [shown(default)]:
            yield name.removeprefix("config."), " or ".join(values), shown(default)


def _without_folder(value: str) -> str:
    """A user's file by its name, without its folder."""
    return Path(value).name if Path(value).is_absolute() else value


def _commit(run: dict[str, Any]) -> str:
    commit = shown(run["git_commit"])
    if commit == "null":
        return "a version outside git"
    return f"{commit}, with uncommitted changes" if run["git_dirty"] else commit


def _commands(comparison: Comparison) -> Iterator[str]:
    """The commands that repeat each run and compare them. The overrides have all values that are not defaults."""
    inventory = "-i inventory/lab " if comparison.rehearsal else ""
    for run in records(comparison.runs):
        override = json.dumps({"override": _override(run)})
        yield (
            # the preset that is all defaults: other presets set fields that the run may not have
            f"ansible-playbook {inventory}playbooks/run_experiment.yml "
            f"-e experiment=paper -e workers={run['workers']} -e seed={run['seed']} -e {shlex.quote(override)}"
        )
    given = not comparison.target_arm and not math.isnan(comparison.target_accuracy)  # NaN: no arm has an accuracy
    target = f" --target-accuracy {comparison.target_accuracy:g}" if given else ""
    extremes = " --drop-extremes" if comparison.drop_extremes else ""
    yield f"python -m analysis report runs/* --out report.html{target}{extremes}"


def _override(run: dict[str, Any]) -> dict[str, Any]:
    """The fields of a run's configuration that are not at their defaults, nested as in an override."""
    nested: dict[str, Any] = {}
    for name, default in flatten("config", to_dict(Config())).items():
        value = run[name]
        if shown(value) != shown(default):
            *sections, field = name.removeprefix("config.").split(".")
            inside = nested
            for section in sections:
                inside = inside.setdefault(section, {})
            # a column of whole numbers with a null in it is a column of floats
            whole = isinstance(value, float) and value.is_integer() and not isinstance(default, float)
            inside[field] = int(value) if whole else _without_folder(value) if isinstance(value, str) else value
    return nested
