"""What file managers, editors, network drives and synchronising tools leave in folders that people look at."""

from __future__ import annotations

import shutil
from pathlib import Path

APPLE_DOUBLE = b"\x00\x05\x16\x07\x00\x02\x00\x00Mac OS X        \x00\x02\xff"
FILES = (
    ".DS_Store",
    ".directory",
    ".hidden",
    ".localized",
    ".nfs000000000a3f1c2200000001",
    ".fuse_hidden0000002a00000001",
    "4913~",
    "Desktop.ini",
    "Icon\r",
    "Thumbs.db",
    "desktop.ini",
    "ehthumbs_vista.db",
    "~$notes.docx",
)
FOLDERS = (
    "$RECYCLE.BIN",
    "#recycle",
    ".Spotlight-V100",
    ".Trash-1000",
    ".Trashes",
    ".fseventsd",
    ".ipynb_checkpoints",
    ".stversions",
    "@eaDir",
    "System Volume Information",
    "__MACOSX",
    "lost+found",
)


def beside(name: str) -> list[str]:
    """What is left beside a file or a folder of this name."""
    stem, dot, suffix = name.partition(".")
    suffix = dot + suffix
    return [
        f"._{name}",
        f".{name}.swp",
        f".~lock.{name}#",
        f".#{name}",
        f"#{name}#",
        f".syncthing.{name}.tmp",
        f".goutputstream-{stem}",
        f"{name}~",
        f"{name}.~1~",
        f"{name}.bak",
        f"{name}.old",
        f"{name}.orig",
        f"{name}.part",
        f"{name}.rej",
        f"{name}.save",
        f"{name}.swo",
        f"{name}.tmp",
        f"{stem} (1){suffix}",
        f"{stem}(1){suffix}",
        f"{stem} copy{suffix}",
        f"{stem} copy 2{suffix}",
        f"{stem} - Copy{suffix}",
        f"{stem} - Copy (2){suffix}",
        f"{stem} (copy){suffix}",
        f"{stem} (3rd copy){suffix}",
        f"Copy of {name}",
        f"{stem} Kopie{suffix}",
        f"{stem} - Kopie{suffix}",
        f"Kopie von {name}",
        f"{stem} (Anna's conflicted copy 2026-11-21){suffix}",
        f"{stem} (Case Conflict){suffix}",
        f"{stem}.sync-conflict-20261121-185430-ABCDEFG{suffix}",
        f"{stem}_conflict-20261121-185430{suffix}",
    ]


def litter(folder: Path) -> None:
    """Leave all of it in a folder and in those below."""
    for place in [folder, *(path for path in folder.rglob("*") if path.is_dir())]:
        litter_here(place)


def litter_here(folder: Path) -> None:
    """Leave all of it in a folder; copies and backups have what their original has, others what nobody can read."""
    for path in [path for path in folder.iterdir() if path.is_file()]:
        for name in beside(path.name):
            (folder / name).write_bytes(APPLE_DOUBLE if name[0] in ".#~" else path.read_bytes())
    for name in FILES:
        (folder / name).write_bytes(APPLE_DOUBLE)
    for name in FOLDERS:
        (folder / name).mkdir()
        (folder / name / "events.jsonl@SynoEAStream").write_bytes(APPLE_DOUBLE)


def copy_beside(folder: Path) -> None:
    """Copies of a folder, as people and file managers make them."""
    for name in (name for name in beside(folder.name) if name[0] not in ".#~"):
        shutil.copytree(folder, folder.parent / name)
