"""manifest, energy, watch, calibrate: a single run."""

from __future__ import annotations

import argparse
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from analysis import throttling
from analysis.commands import Commands
from analysis.errors import AnalysisError


def add(commands: Commands) -> None:
    live = commands.add_parser("watch", help="a live view of a run; exit code 1 if it fails")
    live.add_argument("run", nargs="?", metavar="RUN", help="its folder, or its name in runs/; the newest without it")
    live.add_argument("-i", "--inventory", metavar="PATH", help="the one that the run was started with (ansible.cfg's)")
    live.add_argument("--every", type=_amount, default=10.0, metavar="S", help="between frames without a terminal (10)")
    live.add_argument("--once", action="store_true", help="show one frame and exit")
    live.set_defaults(execute=_watch)
    ended = commands.add_parser("manifest", help="write manifest.json into a collected run")
    ended.add_argument("run", type=Path, metavar="RUN_DIR")
    ended.add_argument("--interrupted", action="store_true", help="the controller stopped the run")
    ended.set_defaults(execute=_manifest)
    cost = commands.add_parser("energy", help="what a run took, with what no board knows, kept in its manifest")
    cost.add_argument("run", type=Path, metavar="RUN_DIR")
    cost.add_argument("--wall-meter", type=Path, metavar="FILE", help="CSV: time (Unix or ISO 8601), power_w")
    cost.set_defaults(execute=_energy)
    for parser in (ended, cost):
        parser.add_argument("--switch-watts", type=_amount, metavar="W", help="power of the switch")
    rate = commands.add_parser("calibrate", help="the link rate of emulated boards, from a probe")
    rate.add_argument("run", type=Path, metavar="RUN_DIR", help="the probe's collected folder")
    rate.add_argument("--rate", type=int, metavar="BIT_PER_S", required=True, help="the link's during the probe")
    rate.add_argument("--core-share", type=float, default=1.0, metavar="SHARE", help="that each board had, 0 to 1")
    rate.add_argument("--out", type=Path, metavar="FILE", required=True, help="write it there as JSON")
    rate.set_defaults(execute=_calibrate)


def _amount(text: str) -> float:
    try:
        amount = float(text)
    except ValueError:
        amount = math.nan
    if not 0 <= amount < math.inf:
        raise argparse.ArgumentTypeError(f"{text!r} is no amount: give a number from 0 on, such as 12.5")
    return amount


def _watch(options: argparse.Namespace) -> int:
    from analysis.watch import newest, watch

    runs = Path("runs")
    folder = Path(options.run) if options.run else newest(runs)
    if not (folder / "run.json").is_file():
        if not (runs / folder / "run.json").is_file():
            raise AnalysisError(f"{options.run} is not a run: give its folder, or its name in {runs}/")
        folder = runs / folder
    return watch(folder, options.inventory, every_s=options.every, once=options.once)


def _manifest(options: argparse.Namespace) -> int:
    from analysis.manifest import log_tail, write_manifest

    manifest = write_manifest(options.run, interrupted=options.interrupted, switch_w=options.switch_watts)
    cause = f": {manifest['cause']}" if manifest["cause"] else ""
    print(f"{manifest['run_id']} {manifest['status']}{cause}")
    if manifest["remedy"]:
        print(f"What to do: {manifest['remedy']}.")
    for line in _costs(manifest):
        print(line)
    for board in manifest["boards"]:
        for sentence in throttling.sentences(board["name"], board["facts"]):
            print(f"Warning: {sentence}.")
    tail = log_tail(options.run, manifest["culprit"]) if manifest["culprit"] else []
    if tail:
        print(f"The log of {manifest['culprit']} ends with:")
    for line in tail:
        print(f"  {line[:300]}")
    return 0


def _energy(options: argparse.Namespace) -> int:
    from analysis.manifest import add_energy

    manifest = add_energy(options.run, switch_w=options.switch_watts, wall_meter=options.wall_meter)
    print("\n".join(_costs(manifest)) or "nothing on its boards measures power")
    return 0


def _costs(manifest: Mapping[str, Any]) -> Iterator[str]:
    """What is known of a run's energy, a line for each board and one for all."""
    sensors = "; an emulated board, with made-up sensors" if manifest["rehearsal"] else ""
    for board in manifest["boards"]:
        if board["cost"]["energy_j"] is not None:
            yield f"{board['name']} {_taken(board['cost'])} ({', '.join(board['cost']['rails'])}{sensors})."
    cost = manifest["cost"]
    if cost["energy_j"] is not None and len(manifest["boards"]) > 1:
        yield f"All boards {_taken(cost)}, {cost['energy_j_per_image']:.3f} J an image."
    for where, joules in (("The switch took", cost["switch_energy_j"]), ("At the wall:", cost["wall_energy_j"])):
        if joules is not None:
            yield f"{where} {joules / 1000:.1f} kJ."


def _taken(cost: Mapping[str, Any]) -> str:
    above = cost["energy_above_idle_j"]
    return (
        f"took {cost['energy_j'] / 1000:.1f} kJ, {cost['mean_power_mw'] / 1000:.1f} W in the mean"
        f"{'' if above is None else f', {above / 1000:.1f} kJ of it above idle'}"
    )


def _calibrate(options: argparse.Namespace) -> int:
    from analysis.calibrate import calibrate
    from trainer.events import write_json

    found = calibrate(options.run, options.rate, options.core_share)
    write_json(options.out, found.to_dict())
    print(
        f"A step takes {1000 * found.step_s:.0f} ms on one board and {1000 * found.distributed_step_s:.0f} ms on two "
        f"at {options.rate / 1e6:.0f} Mbit/s; {1000 * found.overhead_s:.0f} ms of that are neither computing nor on "
        f"the link. The paper's ratio, {found.ratio:.2f}, is at {found.link_rate_bit_per_s / 1e6:.0f} Mbit/s."
    )
    return 0
