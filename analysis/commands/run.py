"""The command energy."""

from __future__ import annotations

import argparse
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from analysis.commands import Commands, say


def add(commands: Commands) -> None:
    cost = commands.add_parser("energy", help="show a run's energy, and add a switch or wall meter to its manifest")
    cost.add_argument("run", type=Path, metavar="RUN", help="folder of the run")
    cost.add_argument("--wall-meter", type=Path, metavar="FILE", help="CSV: time (Unix or ISO 8601), power_w")
    cost.add_argument("--switch-watts", type=amount, metavar="W", help="power of the switch in watts")
    cost.set_defaults(execute=_energy)


def amount(text: str) -> float:
    """An option's number, 0 or more."""
    try:
        amount = float(text)
    except ValueError:
        amount = math.nan
    if not 0 <= amount < math.inf:
        raise argparse.ArgumentTypeError(f"{text!r} is not a valid amount: give a number, 0 or more, such as 12.5")
    return amount


def _energy(options: argparse.Namespace) -> int:
    from analysis.runs.manifest import add_energy

    manifest = add_energy(options.run, switch_w=options.switch_watts, wall_meter=options.wall_meter)
    say("\n".join(costs(manifest)) or "its boards have no power sensors")
    return 0


def costs(manifest: Mapping[str, Any]) -> Iterator[str]:
    """A run's energy, one line per board and one for all."""
    sensors = "; an emulated board with simulated sensors" if manifest["rehearsal"] else ""
    for board in manifest["boards"]:
        if board["cost"]["energy_j"] is not None:
            cost = board["cost"]
            sampled = f"{cost['coverage']:.0%} of it sampled, the largest gap {cost['largest_gap_s']:.1f} s"
            yield f"{board['name']} {_taken(cost)} ({', '.join(cost['rails'])}{sensors}; {sampled})."
        elif board["cost"]["refused"]:
            yield f"{board['name']}: energy not known: {board['cost']['refused']}."
    cost = manifest["cost"]
    if cost["energy_j"] is not None and len(manifest["boards"]) > 1:
        yield f"All boards {_taken(cost)}, {cost['energy_j_per_image']:.3f} J per image."
    for where, joules in (("The switch took", cost["switch_energy_j"]), ("At the wall:", cost["wall_energy_j"])):
        if joules is not None:
            yield f"{where} {joules / 1000:.1f} kJ."


def _taken(cost: Mapping[str, Any]) -> str:
    above = cost["energy_above_idle_j"]
    warm = "" if cost.get("idle_cold") is not False else f" (which was warm, {cost['idle_temperature_c']:.0f} °C)"
    return (
        f"took {cost['energy_j'] / 1000:.1f} kJ, {cost['mean_power_mw'] / 1000:.1f} W on average"
        f"{'' if above is None else f', {above / 1000:.1f} kJ of it above idle{warm}'}"
    )
