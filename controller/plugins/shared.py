"""Paths by which an Ansible command's main process (callbacks) and workers (actions) communicate.

The files are in the command's temporary folder, which forked workers know and Ansible removes.
"""

from __future__ import annotations

from pathlib import Path

from ansible import constants

from trainer.contract.layout import PEERS_KEY

TALKING = ("follow_run", "run_study")  # actions that print their own lines


def notes_folder() -> Path:
    """Folder of notes (controller/notes.py) for the callback elapsed."""
    return Path(constants.DEFAULT_LOCAL_TMP, "notes")


def interrupted() -> Path:
    """File that the callback interrupt creates at Ctrl-C, for actions that wait for boards."""
    return Path(constants.DEFAULT_LOCAL_TMP, "interrupted")


def watched() -> Path:
    """File that the callback brief creates, for the action that prints a line per epoch."""
    return Path(constants.DEFAULT_LOCAL_TMP, "watched")


def peers_key() -> Path:
    """File with the key of the boards' heartbeats, which begin_run makes and place_run copies; in no other place."""
    return Path(constants.DEFAULT_LOCAL_TMP, PEERS_KEY)
