"""`python -m benchmarks sync|accuracy`: measure on emulated boards; `figures`: draw what was measured."""

from __future__ import annotations

import argparse
import sys

from benchmarks.sitting import BenchmarkError


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    speed = commands.add_parser("sync", help="images/s of every way of synchronising, and of PyTorch's DDP")
    speed.add_argument("--repeats", type=int, default=3)
    speed.add_argument("--seed", type=int, default=1, help="of the order")
    speed.add_argument("--only", default="", metavar="TEXT", help="variants with this in their name")
    options = parser.parse_args()
    try:
        if options.command == "sync":
            from benchmarks import sync

            path = sync.measure(options.repeats, options.seed, options.only)
        print(path, file=sys.stderr)
    except BenchmarkError as error:
        print(f"benchmark: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
