"""`cluster-kit COMMAND` or `python -m controller COMMAND`: all commands, also those that only read runs."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from analysis import commands
from analysis.__main__ import COMMANDS
from analysis.commands import Commands, say
from analysis.commands.run import amount, costs
from analysis.runs import generations, throttling
from analysis.runs.errors import AnalysisError
from trainer.contract.layout import RUN
from trainer.contract.run import load_run


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; see `commands.execute`."""
    groups = (*COMMANDS, sys.modules[__name__])
    return commands.execute("cluster-kit", "Watch, compare and publish runs.", groups, arguments)


def add(commands: Commands) -> None:
    live = commands.add_parser("watch", help="a live view of a run; exit code 1 if it fails")
    live.add_argument("run", nargs="?", metavar="RUN", help="run folder, or name in runs/ (default: the newest)")
    live.add_argument(
        "-i", "--inventory", metavar="PATH", help="inventory that the run was started with (default: ansible.cfg's)"
    )
    live.add_argument(
        "--every",
        type=amount,
        default=10.0,
        metavar="S",
        help="seconds between frames without a terminal (default: 10)",
    )
    live.add_argument("--once", action="store_true", help="print one frame and exit")
    live.set_defaults(execute=_watch)
    ended = commands.add_parser("manifest", help="write manifest.json of a collected run")
    ended.add_argument("run", type=Path, metavar="RUN", help="folder of the run")
    ended.add_argument("--interrupted", action="store_true", help="the run was stopped by the controller")
    ended.set_defaults(execute=_manifest)
    ended.add_argument("--switch-watts", type=amount, metavar="W", help="power of the switch in watts")
    rate = commands.add_parser("calibrate", help="calculate the link rate of emulated boards from a probe")
    rate.add_argument("run", type=Path, metavar="RUN", help="collected folder of the probe")
    rate.add_argument("--rate", type=int, metavar="BIT_PER_S", required=True, help="link rate during the probe")
    rate.add_argument(
        "--core-share", type=float, default=1.0, metavar="SHARE", help="fraction of a core per board, 0 to 1"
    )
    rate.add_argument("--out", type=Path, metavar="FILE", required=True, help="JSON file to write")
    rate.set_defaults(execute=_calibrate)


def _watch(options: argparse.Namespace) -> int:
    from controller.watch import newest, watch

    runs = Path("runs")
    folder = Path(options.run) if options.run else newest(runs)
    if not (folder / RUN).is_file():
        if not (runs / folder / RUN).is_file():
            raise AnalysisError(f"{options.run} is not a run: give a run's folder, or its name in {runs}/")
        folder = runs / folder
    return watch(folder, options.inventory, every_s=options.every, once=options.once)


def _manifest(options: argparse.Namespace) -> int:
    from analysis.runs.manifest import log_tail, write_manifest

    manifest = write_manifest(options.run, interrupted=options.interrupted, switch_w=options.switch_watts)
    cause = f": {manifest['cause']}" if manifest["cause"] else ""
    say(f"{manifest['run_id']} {manifest['status']}{cause}")
    for line in generations.sentences(manifest["generations"]):
        say(line)
    if manifest["remedy"]:
        say(f"Remedy: {manifest['remedy']}.")
    for line in costs(manifest):
        say(line)
    for board in manifest["boards"]:
        for sentence in throttling.sentences(board["name"], board["facts"]):
            say(f"Warning: {sentence}.")
        if board["partial"]:
            say(f"Warning: {board['name']} was not collected; only records copied during training are available.")
    tail = log_tail(options.run, manifest["culprit"]) if manifest["culprit"] else []
    if tail:
        say(f"The log of {manifest['culprit']} ends with:")
    for line in tail:
        say(f"  {line[:300]}")
    if manifest["status"] == "succeeded" and (command := _next(options.run)):
        say(f"Next: {command}")
    return 0


def _next(folder: Path) -> str:
    """The command that shows what a run has measured; empty where a playbook gives it."""
    run, runs = load_run(folder / RUN), os.path.relpath(folder.parent)
    if run.task == "trial":
        return f"cluster-kit predict --from {runs}/{folder.name}"
    return f"cluster-kit compare {runs}/*-{run.experiment}-w*" if run.task == "train" and run.study is None else ""


def _calibrate(options: argparse.Namespace) -> int:
    from controller.calibrate import calibrate
    from trainer.contract.layout import write_json

    found = calibrate(options.run, options.rate, options.core_share)
    write_json(options.out, asdict(found))
    say(
        f"A step takes {1000 * found.step_s:.0f} ms on one board and {1000 * found.distributed_step_s:.0f} ms on two "
        f"at {options.rate / 1e6:.0f} Mbit/s; {1000 * found.overhead_s:.0f} ms of that are overhead, "
        f"neither computing nor communication. The paper's ratio, {found.ratio:.2f}, needs "
        f"{found.link_rate_bit_per_s / 1e6:.0f} Mbit/s."
    )
    return 0
