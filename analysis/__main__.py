"""python -m analysis compare | report | figures | manifest | calibrate: the only place that prints and exits."""

from __future__ import annotations

import argparse
import json
import math
import sys
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from analysis.calibrate import calibrate
from analysis.compare import Comparison, compare
from analysis.load import AnalysisError, load
from analysis.manifest import log_tail, write_manifest
from analysis.table import as_text, notes
from trainer.config import ConfigError
from trainer.events import write_json


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code: 0, or 2 with the reason on stderr."""
    options = _parser().parse_args(arguments)
    try:
        if options.command == "manifest":
            _manifest(options.run, options.interrupted)
        elif options.command == "calibrate":
            _calibrate(options.run, options.rate, options.out)
        elif options.command == "figures":
            _figures(_compared(options), options.out)
        elif options.command == "report":
            _report(_compared(options), options.out)
        else:
            _compare(_compared(options), options.json, options.report)
    except (AnalysisError, ConfigError, OSError) as error:
        print(f"analysis: {error}", file=sys.stderr)
        return 2
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m analysis", description="What runs measured.")
    commands = parser.add_subparsers(dest="command", required=True)
    runs = argparse.ArgumentParser(add_help=False)
    runs.add_argument("runs", nargs="+", type=Path, metavar="RUN", help="folders of runs; others are skipped")
    runs.add_argument(
        "--target-accuracy",
        type=_accuracy,
        metavar="X",
        help="validation accuracy (0 to 1) to which time is measured; 95 %% of the lowest final one of the arms",
    )
    runs.add_argument(
        "--drop-extremes",
        action="store_true",
        help="average without the fastest and the slowest run of arms with five or more, as MLPerf does",
    )
    beside = commands.add_parser("compare", parents=[runs], help="arms beside each other")
    beside.add_argument("--json", action="store_true", help="print JSON, not a table")
    beside.add_argument("--report", type=Path, metavar="FILE", help="write the HTML report as well")
    page = commands.add_parser("report", parents=[runs], help="write the HTML report")
    page.add_argument("--out", type=Path, metavar="FILE", required=True)
    single = commands.add_parser("figures", parents=[runs], help="write each figure to a file, as SVG")
    single.add_argument("--out", type=Path, metavar="DIR", required=True)
    ended = commands.add_parser("manifest", help="write manifest.json into a collected run")
    ended.add_argument("run", type=Path, metavar="RUN_DIR")
    ended.add_argument("--interrupted", action="store_true", help="the controller stopped the run")
    rate = commands.add_parser("calibrate", help="the link rate of emulated boards, from a probe")
    rate.add_argument("run", type=Path, metavar="RUN_DIR", help="the probe's collected folder")
    rate.add_argument("--rate", type=int, metavar="BIT_PER_S", required=True, help="the link's during the probe")
    rate.add_argument("--out", type=Path, metavar="FILE", required=True, help="write it there as JSON")
    return parser


def _accuracy(text: str) -> float:
    try:
        accuracy = float(text)
    except ValueError:
        accuracy = math.nan
    if not 0 < accuracy <= 1:
        raise argparse.ArgumentTypeError(f"{text} is no share of right answers: give one above 0, at most 1, as 0.75")
    return accuracy


def _compared(options: argparse.Namespace) -> Comparison:
    loaded = load(options.runs)
    return compare(loaded, target_accuracy=options.target_accuracy, drop_extremes=options.drop_extremes)


def _compare(comparison: Comparison, as_json: bool, report: Path | None) -> None:
    if as_json:
        print(json.dumps(comparison.to_dict(), indent=1, allow_nan=False))
    else:
        sections = [as_text(comparison), _wrapped(" ".join(notes(comparison)))]
        if comparison.problems:
            sections.append("Problems:" + "".join(f"\n  {it}" for it in comparison.problems))
        print("\n\n".join([*sections, _wrapped(comparison.verdict)]))
    if report:
        _report(comparison, report)


def _wrapped(sentences: str) -> str:
    return textwrap.fill(sentences, 100, break_on_hyphens=False)


def _report(comparison: Comparison, out: Path) -> None:
    from analysis.report import write_report  # matplotlib takes a second to import

    try:
        write_report(comparison, out)
    except OSError as error:
        raise AnalysisError(f"{out} cannot be written ({error}): give another file") from error
    print(f"report: {out}", file=sys.stderr)


def _figures(comparison: Comparison, out: Path) -> None:
    from analysis import plots  # matplotlib takes a second to import

    out.mkdir(parents=True, exist_ok=True)
    for draw in (plots.time_per_epoch, plots.accuracy_by_epoch, plots.loss_by_epoch):
        path = out / f"{draw.__name__}.svg"
        path.write_text(plots.standalone(draw(comparison)), encoding="utf-8")
        print(path)


def _calibrate(folder: Path, rate_bit_per_s: int, out: Path) -> None:
    found = calibrate(folder, rate_bit_per_s)
    write_json(out, found.to_dict())
    print(
        f"A step takes {1000 * found.step_s:.0f} ms on one board and {1000 * found.distributed_step_s:.0f} ms on two "
        f"at {rate_bit_per_s / 1e6:.0f} Mbit/s; {1000 * found.overhead_s:.0f} ms of that are neither computing nor on "
        f"the link. The paper's ratio, {found.ratio:.2f}, is at {found.link_rate_bit_per_s / 1e6:.0f} Mbit/s."
    )


def _manifest(folder: Path, interrupted: bool) -> None:
    manifest = write_manifest(folder, interrupted=interrupted)
    cause = f": {manifest['cause']}" if manifest["cause"] else ""
    print(f"{manifest['run_id']} {manifest['status']}{cause}")
    if manifest["remedy"]:
        print(f"What to do: {manifest['remedy']}.")
    for board in manifest["boards"]:
        if board["cost"]["energy_j"] is not None:
            print(_energy(board, manifest["rehearsal"]))
    tail = log_tail(folder, manifest["culprit"]) if manifest["culprit"] else []
    if tail:
        print(f"The log of {manifest['culprit']} ends with:")
    for line in tail:
        print(f"  {line[:300]}")


def _energy(board: Mapping[str, Any], emulated: bool | None) -> str:
    cost = board["cost"]
    return (
        f"{board['name']} took {cost['energy_j'] / 1000:.1f} kJ, {cost['mean_power_mw'] / 1000:.1f} W in the mean "
        f"({', '.join(cost['rails'])}{'; an emulated board, with made-up sensors' if emulated else ''})."
    )


if __name__ == "__main__":
    sys.exit(main())
