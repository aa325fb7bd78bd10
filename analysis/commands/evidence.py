"""The commands bundle, verify and export."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from analysis.commands import Commands, runs_argument, say, wrapped


def add(commands: Commands) -> None:
    runs = runs_argument()
    parser = commands.add_parser("bundle", parents=[runs], help="pack runs and their comparison as an evidence bundle")
    parser.add_argument("--out", type=Path, metavar="FILE.tar.gz", required=True, help="archive to write")
    parser.add_argument("--study", metavar="NAME", help="only the runs of this study")
    parser.set_defaults(execute=_bundle)
    check = commands.add_parser("verify", help="verify a bundle's files, and recompute its figures from the records")
    check.add_argument("bundle", type=Path, metavar="BUNDLE", help="archive that the command bundle wrote")
    check.add_argument("--sha256", metavar="HEX", help="published SHA-256 of the bundle")
    check.set_defaults(execute=_verify)
    tables = commands.add_parser("export", parents=[runs], help="export tidy tables for other programs")
    tables.add_argument("--to", choices=["csv", "parquet", "mlflow"], required=True, help="format of the tables")
    tables.add_argument("--out", type=Path, metavar="DIR", required=True, help="folder for the tables")
    tables.set_defaults(execute=_export)


def _bundle(options: argparse.Namespace) -> int:
    from analysis.publish.bundle import write_bundle

    bundle = write_bundle(options.runs, options.out, options.study)
    say(f"{bundle.path}: {len(bundle.run_ids)} runs, {bundle.files} files\nSHA-256 {bundle.sha256}")
    for warning in bundle.warnings:
        say(f"Before you publish it: {warning}.", file=sys.stderr)
    return 0


def _verify(options: argparse.Namespace) -> int:
    from analysis.publish.verify import NOT_PROVEN, verify

    found = verify(options.bundle, options.sha256)
    if found.findings:
        say(f"{options.bundle} is not valid:" + "".join(f"\n  {finding}" for finding in found.findings))
    elif found.unchecked:
        say(
            f"{options.bundle} is valid as far as this version can check: its {found.files} files are "
            f"unchanged since packing, and its {found.runs} runs match their boards' records."
        )
    else:
        say(
            f"{options.bundle} is valid: its {found.files} files are unchanged since packing, and all "
            f"{found.figures} figures of its comparison follow from the records of its {found.runs} runs."
        )
    say(*(f"Not checked: {sentence}" for sentence in found.unchecked), *found.notes, wrapped(NOT_PROVEN), sep="\n")
    return 1 if found.findings or found.unchecked else 0


def _export(options: argparse.Namespace) -> int:
    from analysis.publish.export import export

    exported = export(options.runs, options.to, options.out)
    for problem in exported.problems:
        say(f"analysis: {problem}", file=sys.stderr)
    say(*exported.written, sep="\n")
    return 0
