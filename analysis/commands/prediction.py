"""The command predict: the time of other numbers of boards, links and methods."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from analysis.commands import Commands, say, wrapped
from trainer.contract.fields import whole_number
from trainer.contract.layout import run_folders

_MOST_WORKERS = 1_000_000


def add(commands: Commands) -> None:
    paper = commands.add_parser("predict", help="predict training times from measured runs")
    paper.add_argument(
        "--from",
        dest="runs",
        nargs="+",
        type=Path,
        metavar="RUN",
        required=True,
        help="folders of measured runs: of playbooks/predict.yml, or of one and of several boards",
    )
    paper.add_argument("--workers", type=_counts, metavar="N,N,...", help="numbers of boards (default: as measured)")
    paper.add_argument(
        "--link", type=float, metavar="MBIT_PER_S", help="link rate of each board (default: as measured)"
    )
    paper.add_argument("--switch-ports", type=int, metavar="N", help="boards per switch (default: one switch)")
    paper.add_argument(
        "--uplink", type=float, metavar="MBIT_PER_S", help="uplink of each switch (default: no bottleneck)"
    )
    paper.add_argument("--json", action="store_true", help="print JSON, not a table")
    paper.set_defaults(execute=_predict)


def _counts(text: str) -> list[int]:
    counts = {whole_number(count.strip()) or 0 for count in text.split(",")}
    if not all(1 <= count <= _MOST_WORKERS for count in counts):
        raise argparse.ArgumentTypeError(f"{text!r} is not a list of numbers from 1 to {_MOST_WORKERS}, such as 2,4,8")
    return sorted(counts)


def _predict(options: argparse.Namespace) -> int:
    from analysis.prediction import servers
    from analysis.prediction.allreduce import Network
    from analysis.prediction.predict import Plan, as_text, measured_in, notes, predict, recommendations, to_dict
    from analysis.runs.columns import records

    with_servers = servers.with_servers(run_folders(options.runs))
    measured = measured_in([folder for folder in options.runs if folder not in with_servers])
    uplink = None if options.uplink is None else 1e6 * options.uplink
    link = measured.link_bit_per_s if options.link is None else 1e6 * options.link
    plan = Plan(options.workers or measured.workers, Network(link, options.switch_ports, uplink))
    found = servers.table(measured, plan.workers, link, with_servers)
    if options.json:
        rows = records(found.astype(object).where(found.notna(), None))
        told = {**to_dict(measured, plan), "parameter_servers": rows}
        say(json.dumps(told, indent=1, allow_nan=False))
        return 0
    chosen = [wrapped(f"{count} boards: {reason}.") for count, reason in recommendations(measured, plan).items()]
    parts = [as_text(predict(measured, plan)), wrapped(" ".join(notes(measured))), "\n".join(chosen)]
    if not found.empty:
        said = (
            "Parameter servers: bounds between which their speed lies. Busiest: bytes one way through the busiest link "
            "while every worker makes a step."
        )
        parts.append(f"{wrapped(said)}\n{servers.as_text(found)}")
    say("\n\n".join(parts))
    return 0
