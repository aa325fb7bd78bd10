"""Draws results and puts them into docs/results.md."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.figure import Figure

from analysis.report.plots.style import COLOURS, INK, STYLE, as_svg, standalone
from benchmarks.docs import estimate, labels, rehearsed, scaling, setup_table
from benchmarks.lab import chaos, playbook, prediction, scale, single, straggler, study, sync
from benchmarks.lab.benchmark_run import PROJECT, RUNS
from benchmarks.machine import engines, telemetry
from benchmarks.machine import learning as bench_learning
from trainer.contract.layout import entries

_TABLES: dict[str, Callable[[dict[str, Any]], str]] = {
    "sync": sync.table,
    "learning": bench_learning.table,
    "single": single.table,
    "scale": scale.table,
    "straggler": straggler.table,
    "prediction": prediction.table,
    "playbook": playbook.table,
    "chaos": chaos.table,
    "telemetry": telemetry.table,
    "strategies": study.table,
    "servers": study.table,
    "engines": study.table,
    "curves": engines.table,
}
_SCALING: dict[str, Callable[[dict[str, Any]], str]] = {
    "validation": scaling.validation_table,
    "speed": scaling.speed_table,
    "switches": scaling.switches_table,
    "period": scaling.period_table,
}


def publish(docs: Path) -> list[Path]:
    """Publish runs/bench-*.json: a copy in docs/data, a figure, and the table in docs/results.md."""
    written = []
    for path in entries(RUNS, "bench-*.json"):
        copy = docs / "data" / path.name
        copy.parent.mkdir(exist_ok=True)
        shutil.copyfile(path, copy)
        written.append(copy)
    return [*written, *render(docs)]


def render(docs: Path) -> list[Path]:
    """Draw the figures and fill in the tables from docs/data."""
    page = docs / "results.md"
    text = page.read_text(encoding="utf-8")
    written = [page]
    results = {path.stem.removeprefix("bench-"): _read(path) for path in sorted((docs / "data").glob("bench-*.json"))}
    text = filled(text, "setup", setup_table.table(results))
    text = filled(text, "rehearsal", rehearsed.table())
    for name, table in _TABLES.items():
        if name not in results:
            continue
        result = results[name]
        body = table(result)
        if name in _FIGURES:
            body += f"\n\n![{_ALT[name]}](figures/bench_{name}.svg)"
        text = filled(text, name, body)
        if name in _FIGURES:
            figure = docs / "figures" / f"bench_{name}.svg"
            figure.write_text(standalone(_FIGURES[name](result)), encoding="utf-8")
            written.append(figure)
    if {"learned", "learning"} <= set(results):
        text = filled(text, "estimate", estimate.table(results["learned"], results["learning"]["rows"]))
    page.write_text(text, encoding="utf-8")
    return written


def render_scaling(docs: Path) -> list[Path]:
    """Draw the figure and fill in the tables of docs/scaling.md."""
    result = scaling.load(docs)
    page, figure = docs / "scaling.md", docs / "figures" / "scaling.svg"
    text = page.read_text(encoding="utf-8")
    for name, table in _SCALING.items():
        text = filled(text, name, table(result))
    page.write_text(text, encoding="utf-8")
    figure.write_text(standalone(scaling.efficiency(result)), encoding="utf-8")
    return [page, figure]


def filled(text: str, name: str, body: str) -> str:
    """A page with the text between a name's marks replaced."""
    before, begin, rest = text.partition(f"<!-- {name} -->\n")
    _, end, after = rest.partition("<!-- end -->")
    return f"{before}{begin}{body}\n{end}{after}"


def _read(path: Path) -> dict[str, Any]:
    result: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return result


def speed(result: dict[str, Any]) -> str:
    """Speed-up of two boards with every method: a panel per link; the line's ends are the least and the greatest."""
    title = "Two boards against one, by method of synchronising"
    two = [row for row in result["summary"] if row["boards"] > 1]
    links = list(dict.fromkeys(row["link"] for row in two))
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(7.2, 1.0 + 0.34 * len(two)), layout="constrained")
        for axes, link in zip(figure.subplots(len(links), 1, sharex=True, squeeze=False)[:, 0], links, strict=True):
            rows = sorted((row for row in two if row["link"] == link), key=lambda row: row["speedup"])
            for place, row in enumerate(rows):
                colour = COLOURS[0] if row["engine"] == "tensorflow" else COLOURS[1]
                axes.barh(place, row["speedup"], height=0.6, color=colour)
                axes.plot([row["speedup_min"], row["speedup_max"]], [place, place], color=INK, linewidth=1.5)
                axes.annotate(
                    f"{row['speedup']:.2f}",
                    (row["speedup_max"], place),
                    xytext=(6, 0),
                    textcoords="offset points",
                    verticalalignment="center",
                )
            axes.set_yticks(range(len(rows)), [labels.of_method(row) for row in rows])
            for at in (1, 2):
                axes.axvline(at, color=INK, linewidth=0.8, linestyle=":")
            axes.set_xlim(0, 1.15 * max(row["speedup_max"] for row in two))  # room for the figures
            axes.tick_params(axis="y", length=0)
            rates = {row["link_rate_bit_per_s"] for row in result["rows"] if row["link"] == link}
            axes.set_title(labels.of_link(link, *rates), loc="left", fontsize=11)
        axes.set_xlabel("images/s of two boards, one board of the same engine = 1")
        figure.suptitle(f"{title}, on emulated boards", x=0.01, horizontalalignment="left", fontsize=12)
        return as_svg(figure, "sync", title)


def passes(result: dict[str, Any]) -> str:
    """Validation accuracy by passes over the images, a panel a task: mean over the seeds, a line a number of boards."""
    title = "Validation accuracy by passes over the images"
    tasks = list(dict.fromkeys(row["task"] for row in result["rows"]))
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(7.2, 0.8 + 3.0 * len(tasks)), layout="constrained")
        for axes, task in zip(figure.subplots(len(tasks), 1, squeeze=False)[:, 0], tasks, strict=True):
            told = bench_learning.summary(result["rows"], task)
            for place, row in enumerate(told):
                own = [
                    it["val_accuracy"]
                    for it in result["rows"]
                    if (it["task"], it["arm"], it["boards"]) == (task, row["arm"], row["boards"])
                ]
                means = [sum(after) / len(own) for after in zip(*own, strict=True)]
                label = "the best one board" if row["boards"] == 1 else f"{row['boards']} boards, the preset"
                axes.plot(range(1, len(means) + 1), means, ".-", color=COLOURS[place], linewidth=1.4, label=label)
            axes.axhline(told[0]["target"], color=INK, linewidth=0.8, linestyle=":")
            axes.set_title(f"{task}; dotted: the target", loc="left", fontsize=11)
            axes.set_ylabel("validation accuracy")
            axes.grid(axis="y", alpha=0.2, color=INK)
        axes.set_xlabel("passes over the training images")
        figure.legend(*axes.get_legend_handles_labels(), loc="outside lower left", ncols=3)
        figure.suptitle(f"{title}, workers in turn", x=0.01, horizontalalignment="left", fontsize=12)
        return as_svg(figure, "learning", title)


def efficiency(result: dict[str, Any]) -> str:
    """Efficiency by number of boards: measured as dots with their least and greatest, predicted as lines."""
    title = "Efficiency at the paper's ratio, measured and predicted"
    by_method: dict[str, list[dict[str, Any]]] = {}
    for row in sorted(result["summary"], key=lambda row: row["boards"]):
        by_method.setdefault(row["sync"], []).append(row)
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(7.2, 3.8), layout="constrained")
        axes = figure.add_subplot()
        for place, (method, rows) in enumerate(by_method.items()):
            colour, boards = COLOURS[place % len(COLOURS)], [row["boards"] for row in rows]
            colour = INK if place >= len(COLOURS) else colour
            middle = [row["efficiency"] for row in rows]
            ends = [
                [row["efficiency"] - row["efficiency_min"] for row in rows],
                [row["efficiency_max"] - row["efficiency"] for row in rows],
            ]
            axes.errorbar(boards, middle, ends, fmt="o", markersize=5, color=colour, label=labels.METHODS[method])
            told = [row["predicted_efficiency"] for row in rows]
            if None not in told:
                axes.plot(boards, told, "-", color=colour, linewidth=1.2)
        axes.set_xscale("log", base=2)
        axes.set_xticks(sorted({row["boards"] for row in result["summary"]}), minor=False)
        axes.xaxis.set_major_formatter("{x:.0f}")
        axes.set_ylim(0, max(1.1, axes.get_ylim()[1]))
        axes.set_xlabel("boards")
        axes.set_ylabel("efficiency: speed-up over boards")
        axes.grid(axis="y", alpha=0.2, color=INK)
        figure.legend(loc="outside lower left", ncols=3)
        figure.suptitle(f"{title}, emulated boards", x=0.01, horizontalalignment="left", fontsize=12)
        return as_svg(figure, "scale", title)


_ALT = {
    "sync": "Speed-up of two boards over one by method, a bar each, at both links",
    "learning": "Validation accuracy by passes over the images, a line a number of boards",
    "scale": "Efficiency of 2, 4 and 8 boards by method, measured and predicted",
}
_FIGURES: dict[str, Callable[[dict[str, Any]], str]] = {
    "sync": speed,
    "learning": passes,
    "scale": efficiency,
}

DOCS = PROJECT / "docs"
