"""The run's folder: the names of its files, how JSON is written, and which files do not belong to the kit.

File managers, editors, network drives and synchronising tools leave metadata, thumbnails, backups and copies in
folders. All of these are skipped by name. Standard library only.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
from pathlib import Path, PurePath
from typing import Any, Collection, Iterable, Iterator, List, Optional

from trainer.contract import reading

RUN = "run.json"  # the resolved run; a folder with it is a run
MANIFEST = "manifest.json"  # the run's outcome
GATES = "gates.json"  # the gates' findings
PREDICTION = "prediction.json"  # the prediction before the run
ATTEMPTS = "attempts"  # folders of earlier attempts, by number
BOARDS = "boards"  # a folder for each board
# what a resumed run begins with, until it takes the place of `boards`; both names are junk to whoever reads runs
RESUME_DRAFT = "resume.part"
RESUME_READY = ".resume-"  # and the number of the attempt that is put aside
# notes of the follow stage: in the run's folder, which board failed first; in a board's folder, how it ended
LOST = "lost.json"
GRANTED = ".grant-"  # in the run's folder, and the number of a generation: the board that was named for it
LEFT = ".left"  # in a board's folder: it failed, and the others go on; hidden, since it does not belong to the run

# In a board's folder of a run, and in the run's folder on the board.
TF_CONFIG = "tf_config.json"
EVENTS = "events.jsonl"
TELEMETRY = "telemetry.jsonl"
LIVE = "live.json"  # the latest look at the board; on the controller, until the run has a manifest
CLOCK = "clock.json"  # the board's clock offset at the start and at the end
LOG = "trainer.log"
RESULT = "result.json"  # the worker's outcome; written last
CHECKPOINTS = "checkpoints"  # from which training can resume
TENSORBOARD, WEIGHTS = "tensorboard", "weights"  # of the chief
# all that is collected from a board: whatever else is in its folder on the controller, the controller has measured
OF_BOARD = (TF_CONFIG, EVENTS, TELEMETRY, LOG, RESULT, CHECKPOINTS, TENSORBOARD, WEIGHTS)
# On the board alone.
HEARTBEAT = "heartbeat.json"  # shows that the supervisor runs, and of which run
PROGRESS = "progress"  # its modification time is that of the latest step
RELAY = "relay.txt"  # what the tasks of parameter servers tell of this board
# the images and labels as they are in memory, which such a worker reads while the run lasts: of training, of validation
UNPACKED = ("train.images", "train.labels", "test.images", "test.labels")
RESERVE = "reserve"  # freed for the result when the disk is full
PEERS_KEY = "peers.key"  # of the heartbeats of one start of the run; deleted as the supervisor reads it
PEERS_KEY_BYTES = 32
GENERATION = "generation.json"  # the boards that train together since one was lost; see generation.py
GRANT = "grant.json"  # the generation for which the controller named this board, as its tie-break
MEMBERSHIP = "membership.json"  # what the board promised and accepted about the next generation

EMULATED = Path("/etc/cluster-kit/emulated.json")  # of a board; written by the lab on its boards
# version of the run's files: run.json, events.jsonl, result.json, manifest.json; schema1.py reads older ones
SCHEMA = 2
# ansible.cfg has the same patterns, for folders of inventories: it takes a list at whose commas it is split
JUNK = (
    # hidden files: metadata of macOS, locks and swap files of editors, what network drives keep of deleted files;
    # drafts of Office and Emacs; folders of network storage: @eaDir, #recycle
    r"^[.~#@]",
    # backups of editors, and files that are not yet written whole
    r"~$",
    r"(?i:[.](bak|old|orig|part|partial|rej|save|sw[a-px]|tmp)$)",
    # what Windows, file systems and archives from macOS have
    r"(?i:^(desktop[.]ini|ehthumbs.*|icon\r|thumbs[.]db|__macosx)$)",
    r"(?i:^(lost[+]found|recycler|[$]recycle[.]bin|system volume information)$)",
    # copies, as file managers name them in some languages
    r"(?i:[ (](copia|copie|copy|kopi|kopia|kopie)([ ).]|$)|^(copia|copie|copy|kopi|kopia|kopie) )",
    r"[(][0-9]+[)]([.]|$)",
    # copies of a file that two edited at once, by tools that synchronise
    r"(?i:[.]sync-conflict-|_conflict-[0-9]{8}|[(].*conflict)",
)
_JUNK = re.compile("|".join(JUNK))
_NUMBERED = re.compile("[1-9][0-9]{0,8}")


def is_junk(name: str) -> bool:
    """Whether a file or folder of this name is junk that an operating system or tool left."""
    return bool(_JUNK.search(name))


def entries(folder: Path, pattern: str = "*") -> List[Path]:
    """Entries of a folder in order of name, without junk; empty if there is no such folder."""
    return [path for path in sorted(folder.glob(pattern)) if not is_junk(path.name)]


def files(folder: Path, boards: Collection[str] = ()) -> Iterator[Path]:
    """Every file below a folder in order of path, without junk and links; folders in `boards` may have any name."""
    for path in sorted(folder.iterdir()):
        if is_junk(path.name) and not _is_boards(path, boards):
            continue
        if path.is_symlink():
            continue
        if path.is_dir():
            yield from files(path, boards)
        elif path.is_file():
            yield path


def within_junk(path: str, boards: Collection[str] = ()) -> bool:
    """Whether `files` skips a path (relative to the folder)."""
    pure = PurePath(path)
    return any(is_junk(part.name) and not _is_boards(part, boards) for part in (pure, *pure.parents) if part.name)


def _is_boards(path: PurePath, boards: Collection[str]) -> bool:
    return path.parent.name == "boards" and path.name in boards


def run_folders(folders: Iterable[Path]) -> List[Path]:
    """The folders that are runs: they have a run.json and are not copies.

    A copy has the name of one, or another name than its run where the folder that has the run's name is there as well.
    """
    named = {path: run_id(path) for path in folders if not is_junk(path.name) and _has_run(path)}
    own = {folder for folder, name in named.items() if folder.resolve().name == name}
    there = {named[folder] for folder in own}
    return [folder for folder, name in named.items() if folder in own or name not in there]


def _has_run(folder: Path) -> bool:
    try:
        return (folder / RUN).is_file()
    except PermissionError:
        return False


def run_id(folder: Path) -> Optional[str]:
    """The run's id according to the folder's run.json, or None."""
    try:
        name = reading.read(folder / RUN)["run_id"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return name if reading.is_name(name) else None


def attempts(folder: Path) -> List[Path]:
    """The folders of a run's earlier attempts, in order."""
    numbered = [path for path in (folder / ATTEMPTS).glob("*") if _NUMBERED.fullmatch(path.name) and path.is_dir()]
    return sorted(numbered, key=lambda path: int(path.name))


def write_json(path: Path, value: Any) -> None:
    """Write a JSON file as `write_text` does."""
    write_text(path, json.dumps(value, indent=1, allow_nan=False) + "\n")


def append_json(path: Path, value: Any) -> None:
    """Append a line to a file of JSON lines. Raises OSError."""
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(value) + "\n")


def write_text(path: Path, text: str) -> None:
    """Write a file atomically: a reader sees the old file or the new one, never half of it. Raises OSError."""
    draft = path.with_name(path.name + ".part")
    try:
        with draft.open("w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
    except OSError:  # a full disk needs its space back
        with contextlib.suppress(OSError):
            draft.unlink()
        raise
