"""The commands compare, report and figures."""

from __future__ import annotations

import argparse
import json
import math
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from analysis.commands import Commands, runs_argument, say, wrapped
from analysis.runs.errors import AnalysisError

if TYPE_CHECKING:
    from analysis.comparison.compare import Comparison


def add(commands: Commands) -> None:
    runs = runs_argument()
    runs.add_argument(
        "--target-accuracy",
        type=_accuracy,
        metavar="X",
        help="validation accuracy (0 to 1) for the time to accuracy (default: what one board reaches in the end, "
        "less a point)",
    )
    runs.add_argument(
        "--drop-extremes",
        action="store_true",
        help="leave the fastest and the slowest run of arms with five or more out of means, as MLPerf does",
    )
    beside = commands.add_parser("compare", parents=[runs], help="compare the arms of runs in a table")
    beside.add_argument("--json", action="store_true", help="print JSON instead of a table")
    beside.add_argument("--report", type=Path, metavar="FILE", help="also write the HTML report")
    beside.set_defaults(execute=_compare)
    page = commands.add_parser("report", parents=[runs], help="write the HTML report")
    page.add_argument("--out", type=Path, metavar="FILE", required=True, help="HTML file to write")
    page.set_defaults(execute=_report)
    single = commands.add_parser("figures", parents=[runs], help="write each figure as an SVG file")
    single.add_argument("--out", type=Path, metavar="DIR", required=True, help="folder for the files")
    single.set_defaults(execute=_figures)


def _compared(options: argparse.Namespace) -> Comparison:
    from analysis.comparison.compare import compare
    from analysis.runs.loading import load

    loaded = load(options.runs)
    return compare(loaded, target_accuracy=options.target_accuracy, drop_extremes=options.drop_extremes)


def _accuracy(text: str) -> float:
    try:
        accuracy = float(text)
    except ValueError:
        accuracy = math.nan
    if not 0 < accuracy <= 1:
        raise argparse.ArgumentTypeError(f"{text} is not a fraction between 0 and 1 (for example 0.75)")
    return accuracy


def _compare(options: argparse.Namespace) -> int:
    from analysis.report.table import as_text, notes

    comparison = _compared(options)
    if options.json:
        say(json.dumps(comparison.to_dict(), indent=1, allow_nan=False))
    else:
        sections = [as_text(comparison), wrapped(" ".join(notes(comparison)))]
        if comparison.problems:
            sections.append("Problems:" + "".join(f"\n  {it}" for it in comparison.problems))
        say("\n\n".join([*sections, wrapped(comparison.verdict)]))
    if options.report:
        _write(comparison, options.report)
    return 0


def _report(options: argparse.Namespace) -> int:
    _write(_compared(options), options.out)
    return 0


def _write(comparison: Comparison, out: Path) -> None:
    from analysis.report.report import write_report

    try:
        write_report(comparison, out)
    except OSError as error:
        raise AnalysisError(f"{out} cannot be written ({error}): give another path") from error
    say(f"report: {out}", file=sys.stderr)


def _figures(options: argparse.Namespace) -> int:
    from analysis.report.plots import figures
    from analysis.report.plots.style import standalone

    comparison = _compared(options)
    options.out.mkdir(parents=True, exist_ok=True)
    for name, figure in figures(comparison).items():
        path = options.out / f"{name}.svg"
        path.write_text(standalone(figure.svg), encoding="utf-8")
        say(path)
    return 0
