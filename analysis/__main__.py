"""`python -m analysis COMMAND`: the commands that only read runs."""

import sys
from collections.abc import Sequence

from analysis import commands
from analysis.commands import comparison, evidence, prediction, run

COMMANDS = (comparison, prediction, run, evidence)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; see `commands.execute`."""
    return commands.execute("python -m analysis", "Compare, predict and publish runs.", COMMANDS, arguments)


if __name__ == "__main__":
    sys.exit(main())
