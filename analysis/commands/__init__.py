"""The commands of `python -m analysis`: each module's `add` adds parsers for its commands.

A command imports what it needs when it is executed: pandas and matplotlib take a second.
"""

from __future__ import annotations

import argparse
import os
import sys
import textwrap
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Protocol, TextIO, TypeAlias

from analysis.runs.errors import AnalysisError
from trainer.contract.config import ConfigError
from trainer.contract.reading import printable

Commands: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"


class Group(Protocol):
    def add(self, commands: Commands) -> None:
        """Add the module's commands, each with the function that executes it."""


def execute(program: str, description: str, groups: Iterable[Group], arguments: Sequence[str] | None) -> int:
    """Run one command; returns 0, or 2 with the reason on stderr, 130 after Ctrl-C, 141 after a closed pipe."""
    parser = argparse.ArgumentParser(prog=program, description=description)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for group in groups:
        group.add(commands)
    for listed in commands._choices_actions:  # what the list of commands says of each, its own help says too
        commands.choices[listed.dest].description = listed.help
    given = sys.argv[1:] if arguments is None else arguments
    options = parser.parse_args(given or ["--help"])
    try:
        code = int(options.execute(options))
        sys.stdout.flush()
        return code
    except BrokenPipeError:  # the reader has closed the pipe
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # Python flushes at exit
        return 141
    except (AnalysisError, ConfigError, OSError) as error:
        say(f"{program.rpartition(' ')[2]}: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130


def runs_argument() -> argparse.ArgumentParser:
    """A parent parser for commands that take folders of runs."""
    parser = argparse.ArgumentParser(add_help=False)
    parser.add_argument(
        "runs", nargs="+", type=Path, metavar="RUN", help="folders of runs, such as runs/*; others are skipped"
    )
    return parser


def say(*parts: object, sep: str = " ", file: TextIO | None = None) -> None:
    """Print text that may come from a board or a stranger: it does nothing to the terminal but fill lines."""
    print(printable(sep.join(map(str, parts)), keep="\n\t"), file=file)


def wrapped(sentences: str) -> str:
    """The text in lines of at most 100 characters."""
    return textwrap.fill(sentences, 100, break_on_hyphens=False)
