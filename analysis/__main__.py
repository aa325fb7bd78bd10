"""python -m analysis COMMAND: the only place that prints errors and exits."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from analysis.commands import comparison, evidence, prediction, run
from analysis.errors import AnalysisError
from trainer.config import ConfigError


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns its exit code: 0 where all is well, 2 with the reason on stderr, 130 after Ctrl-C."""
    parser = argparse.ArgumentParser(prog="python -m analysis", description="What runs measured.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for module in (comparison, prediction, run, evidence):
        module.add(commands)
    options = parser.parse_args(arguments)
    try:
        return int(options.execute(options))
    except (AnalysisError, ConfigError, OSError) as error:
        print(f"analysis: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main())
