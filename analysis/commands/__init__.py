"""The commands of `python -m analysis`: each module has `add`, which lists its commands and what executes them.

What a command needs is imported when it is executed: pandas and matplotlib take a second.
"""

from __future__ import annotations

import argparse
import textwrap
from pathlib import Path
from typing import TypeAlias

Commands: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"


def runs_argument() -> argparse.ArgumentParser:
    """A parent parser for commands that take folders of runs."""
    parser = argparse.ArgumentParser(add_help=False)
    parser.add_argument("runs", nargs="+", type=Path, metavar="RUN", help="folders of runs; others are skipped")
    return parser


def wrapped(sentences: str) -> str:
    """For a terminal."""
    return textwrap.fill(sentences, 100, break_on_hyphens=False)
