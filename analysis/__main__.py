"""python -m analysis COMMAND: the only place that prints and exits."""

from __future__ import annotations

import argparse
import json
import sys
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from analysis.calibrate import calibrate
from analysis.compare import Comparison, compare
from analysis.load import AnalysisError, load
from analysis.manifest import add_energy, log_tail, write_manifest
from analysis.table import as_text, notes
from trainer.config import ConfigError
from trainer.events import write_json


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code: 0, or 2 with the reason on stderr; watch's own; 130 after Ctrl-C."""
    options = _parser().parse_args(arguments)
    try:
        if options.command == "watch":
            return _watch(options)
        if options.command == "manifest":
            _manifest(options.run, options.interrupted, options.switch_watts)
        elif options.command == "energy":
            costs = add_energy(options.run, switch_w=options.switch_watts, wall_meter=options.wall_meter)
            print("\n".join(_costs(costs)) or "nothing on its boards measures power")
        elif options.command == "calibrate":
            _calibrate(options.run, options.rate, options.core_share, options.out)
        elif options.command == "figures":
            _figures(compare(load(options.runs)), options.out)
        elif options.command == "report":
            _report(compare(load(options.runs)), options.out)
        else:
            _compare(compare(load(options.runs)), options.json, options.report)
    except (AnalysisError, ConfigError, OSError) as error:
        print(f"analysis: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m analysis", description="What runs measured.")
    commands = parser.add_subparsers(dest="command", required=True)
    runs = argparse.ArgumentParser(add_help=False)
    runs.add_argument("runs", nargs="+", type=Path, metavar="RUN", help="folders of runs; others are skipped")
    beside = commands.add_parser("compare", parents=[runs], help="arms beside each other")
    beside.add_argument("--json", action="store_true", help="print JSON, not a table")
    beside.add_argument("--report", type=Path, metavar="FILE", help="write the HTML report as well")
    page = commands.add_parser("report", parents=[runs], help="write the HTML report")
    page.add_argument("--out", type=Path, metavar="FILE", required=True)
    single = commands.add_parser("figures", parents=[runs], help="write each figure to a file, as SVG")
    single.add_argument("--out", type=Path, metavar="DIR", required=True)
    live = commands.add_parser("watch", help="a live view of a run; exit code 1 if it fails")
    live.add_argument("run", nargs="?", metavar="RUN", help="its folder, or its name in runs/; the newest without it")
    live.add_argument("-i", "--inventory", metavar="PATH", help="the one that the run was started with (ansible.cfg's)")
    live.add_argument("--every", type=float, default=10.0, metavar="S", help="between frames without a terminal (10)")
    live.add_argument("--once", action="store_true", help="show one frame and exit")
    ended = commands.add_parser("manifest", help="write manifest.json into a collected run")
    ended.add_argument("run", type=Path, metavar="RUN_DIR")
    ended.add_argument("--interrupted", action="store_true", help="the controller stopped the run")
    cost = commands.add_parser(
        "energy", help="what a run took, with what nobody on the boards knows, kept in its manifest"
    )
    cost.add_argument("run", type=Path, metavar="RUN_DIR")
    cost.add_argument("--wall-meter", type=Path, metavar="FILE", help="CSV: time (Unix seconds or ISO 8601), power_w")
    for parsers in (ended, cost):
        parsers.add_argument("--switch-watts", type=float, metavar="W", help="power of the switch")
    rate = commands.add_parser("calibrate", help="the link rate of emulated boards, from a probe")
    rate.add_argument("run", type=Path, metavar="RUN_DIR", help="the probe's collected folder")
    rate.add_argument("--rate", type=int, metavar="BIT_PER_S", required=True, help="the link's during the probe")
    rate.add_argument("--core-share", type=float, default=1.0, metavar="SHARE", help="that each board had, 0 to 1")
    rate.add_argument("--out", type=Path, metavar="FILE", required=True, help="write it there as JSON")
    return parser


def _watch(options: argparse.Namespace) -> int:
    from analysis.watch import newest, watch  # rich and paramiko take half a second to import

    runs = Path("runs")
    folder = Path(options.run) if options.run else newest(runs)
    if not (folder / "run.json").is_file():
        if not (runs / folder / "run.json").is_file():
            raise AnalysisError(f"{options.run} is not a run: give its folder, or its name in {runs}/")
        folder = runs / folder
    return watch(folder, options.inventory, every_s=options.every, once=options.once)


def _compare(comparison: Comparison, as_json: bool, report: Path | None) -> None:
    if as_json:
        print(json.dumps(comparison.to_dict(), indent=1, allow_nan=False))
    else:
        sections = [as_text(comparison), _wrapped(" ".join(notes(comparison)))]
        if len(comparison.excluded):
            rows = comparison.excluded.itertuples()
            listed = "".join(f"\n  {row.run_id} {row.status}: {row.cause}" for row in rows)
            sections.append(f"Not used:{listed}")
        if comparison.problems:
            sections.append("Problems:" + "".join(f"\n  {it}" for it in comparison.problems))
        print("\n\n".join([*sections, _wrapped(comparison.verdict)]))
    if report:
        _report(comparison, report)


def _wrapped(sentences: str) -> str:
    return textwrap.fill(sentences, 100)


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


def _calibrate(folder: Path, rate_bit_per_s: int, core_share: float, out: Path) -> None:
    found = calibrate(folder, rate_bit_per_s, core_share)
    write_json(out, found.to_dict())
    print(
        f"A step takes {1000 * found.step_s:.0f} ms on one board and {1000 * found.distributed_step_s:.0f} ms on two "
        f"at {rate_bit_per_s / 1e6:.0f} Mbit/s; {1000 * found.overhead_s:.0f} ms of that are neither computing nor on "
        f"the link. The paper's ratio, {found.ratio:.2f}, is at {found.link_rate_bit_per_s / 1e6:.0f} Mbit/s."
    )


def _manifest(folder: Path, interrupted: bool, switch_w: float | None) -> None:
    manifest = write_manifest(folder, interrupted=interrupted, switch_w=switch_w)
    cause = f": {manifest['cause']}" if manifest["cause"] else ""
    print(f"{manifest['run_id']} {manifest['status']}{cause}")
    if manifest["remedy"]:
        print(f"What to do: {manifest['remedy']}.")
    for line in _costs(manifest):
        print(line)
    tail = log_tail(folder, manifest["culprit"]) if manifest["culprit"] else []
    if tail:
        print(f"The log of {manifest['culprit']} ends with:")
    for line in tail:
        print(f"  {line[:300]}")


def _costs(manifest: Mapping[str, Any]) -> Iterator[str]:
    """What is known of a run's energy, a line for each board and one for all."""
    sensors = "; an emulated board, with made-up sensors" if manifest["rehearsal"] else ""
    for board in manifest["boards"]:
        if board["cost"]["energy_j"] is not None:
            yield f"{board['name']} {_energy(board['cost'])} ({', '.join(board['cost']['rails'])}{sensors})."
    cost = manifest["cost"]
    if cost["energy_j"] is not None and len(manifest["boards"]) > 1:
        yield f"All boards {_energy(cost)}, {cost['energy_j_per_image']:.3f} J an image."
    for where, joules in (("The switch took", cost["switch_energy_j"]), ("At the wall:", cost["wall_energy_j"])):
        if joules is not None:
            yield f"{where} {joules / 1000:.1f} kJ."


def _energy(cost: Mapping[str, Any]) -> str:
    above = cost["energy_above_idle_j"]
    return (
        f"took {cost['energy_j'] / 1000:.1f} kJ, {cost['mean_power_mw'] / 1000:.1f} W in the mean"
        f"{'' if above is None else f', {above / 1000:.1f} kJ of it above idle'}"
    )


if __name__ == "__main__":
    sys.exit(main())
