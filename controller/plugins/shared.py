"""What the processes of one command of Ansible's tell each other: its own, with the callbacks, and its workers.

It is told by files in the command's temporary folder, which workers, as forks, know, and which Ansible removes.
"""

from __future__ import annotations

from pathlib import Path

from ansible import constants

TALKING = ("follow_run", "run_study")  # actions that print lines of their own


def notes_folder() -> Path:
    """Where controller/notes.py keeps what the callback elapsed prints."""
    return Path(constants.DEFAULT_LOCAL_TMP, "notes")


def interrupted() -> Path:
    """Made by the callback interrupt at Ctrl-C, for the actions that wait for boards."""
    return Path(constants.DEFAULT_LOCAL_TMP, "interrupted")


def watched() -> Path:
    """Made by the callback brief where somebody reads its lines, for the action that has one an epoch."""
    return Path(constants.DEFAULT_LOCAL_TMP, "watched")
