"""The run's folder: the names in it, how its JSON is written, and what in such a folder is not the kit's.

File managers, editors, network drives and synchronising tools leave metadata, thumbnails, backups and copies beside
whatever people look at. All of that is passed over by its name. Standard library only.
"""

from __future__ import annotations

import json
import os
import re
from pathlib import Path, PurePath
from typing import Any, Collection, Iterable, Iterator, List, Optional

RUN = "run.json"  # what makes a folder a run: what was resolved
MANIFEST = "manifest.json"  # how it ended
GATES = "gates.json"  # what the gates found
PREDICTION = "prediction.json"  # what was expected of it
ATTEMPTS = "attempts"  # what earlier attempts left, by number
BOARDS = "boards"  # a folder for each board
# what the follow stage noted; in the run's folder: which board failed first, in a board's: what became of it
LOST = "lost.json"

# In a board's folder of a run, and in the run's folder on the board.
TF_CONFIG = "tf_config.json"
EVENTS = "events.jsonl"
TELEMETRY = "telemetry.jsonl"
LIVE = "live.json"  # what the latest look at the board found; on the controller, until the run has a manifest
CLOCK = "clock.json"  # how far the board's clock was off at the start and at the end
LOG = "trainer.log"
RESULT = "result.json"  # how the worker ended; the last one that is written
CHECKPOINTS = "checkpoints"  # what the training needs to go on
# On the board alone.
HEARTBEAT = "heartbeat.json"  # that the supervisor lives, and what of
PROGRESS = "progress"  # its time of change is that of the latest step
RESERVE = "reserve"  # is given up for the result when the disk is full

EMULATED = Path("/etc/cluster-kit/emulated.json")  # of a board; written by the lab on its boards
# of the run's folder: run.json, events.jsonl, result.json, manifest.json; schema1.py has what it was before
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


def is_junk(name: str) -> bool:
    """Whether a file or folder of this name is none of the kit's, but left by somebody's system."""
    return bool(_JUNK.search(name))


def entries(folder: Path, pattern: str = "*") -> List[Path]:
    """What lies in a folder, by name, without junk; nothing where there is no such folder."""
    return [path for path in sorted(folder.glob(pattern)) if not is_junk(path.name)]


def files(folder: Path, boards: Collection[str] = ()) -> Iterator[Path]:
    """Every file below a folder, in the order of their paths, without junk; a folder of `boards` has any name."""
    for path in sorted(folder.iterdir()):
        if is_junk(path.name) and not _is_boards(path, boards):
            continue
        if path.is_dir() and not path.is_symlink():
            yield from files(path, boards)
        elif path.is_file():
            yield path


def within_junk(path: str, boards: Collection[str] = ()) -> bool:
    """Whether `files` passes over a path that is relative to the folder."""
    pure = PurePath(path)
    return any(is_junk(part.name) and not _is_boards(part, boards) for part in (pure, *pure.parents) if part.name)


def _is_boards(path: PurePath, boards: Collection[str]) -> bool:
    return path.parent.name == "boards" and path.name in boards


def run_folders(folders: Iterable[Path]) -> List[Path]:
    """Those that are runs: they have a run.json, and are no copies.

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
    """What the run.json in a folder says that the run is called; None where it does not."""
    try:
        name = json.loads((folder / RUN).read_text(encoding="utf-8"))["run_id"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return name if isinstance(name, str) else None


def attempts(folder: Path) -> List[Path]:
    """The folders of the attempts that a run has behind it, in their order."""
    numbered = [path for path in (folder / ATTEMPTS).glob("*") if path.name.isdecimal() and path.is_dir()]
    return sorted(numbered, key=lambda path: int(path.name))


def write_json(path: Path, value: Any) -> None:
    """Write a JSON file atomically: a reader sees the old file or the new one, never half of it."""
    draft = path.with_name(path.name + ".part")
    with draft.open("w", encoding="utf-8") as file:
        json.dump(value, file, indent=1, allow_nan=False)
        file.write("\n")
        file.flush()
        os.fsync(file.fileno())
    draft.replace(path)
