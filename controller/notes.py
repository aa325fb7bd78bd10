"""What a step that takes minutes is doing, for the line that controller/plugins/elapsed.py prints meanwhile.

Notes are files: who writes them is another process than Ansible's own, which prints. Standard library only.
"""

from __future__ import annotations

import contextlib
import os
import select
from collections.abc import Callable, Iterator
from pathlib import Path

CONTROLLER = "localhost"  # whose note it is, where no board's
folder: Path | None = None  # of this process and its forks; set by who reads notes, and None where nobody does


def note(text: str, whose: str = CONTROLLER) -> None:
    """Replaces the note of a board, or of the controller, by this line; nothing where nobody reads it."""
    if folder is None:
        return
    path = folder / whose
    draft = path.with_name(f".{path.name}")
    with contextlib.suppress(OSError):  # what is noted must not fail for want of a note
        path.parent.mkdir(exist_ok=True)
        draft.write_text(" ".join(text.split()), encoding="utf-8")
        draft.replace(path)


def read() -> dict[str, str]:
    """The notes, by whose they are."""
    found = {}
    for path in folder.glob("[!.]*") if folder else ():
        with contextlib.suppress(OSError):  # taken away meanwhile
            found[path.name] = path.read_text(encoding="utf-8")
    return {whose: text for whose, text in found.items() if text}


def clear() -> None:
    """Takes all notes away: they were of a step that is over."""
    for path in folder.glob("*") if folder else ():
        path.unlink(missing_ok=True)


def share(done_bytes: int, all_bytes: int, name: str) -> str:
    """How much of a file is there, such as 42 of 169 MB of x.tar.gz; `all_bytes` is 0 where nobody said it."""
    of_all = f" of {all_bytes / 1e6:.0f}" if all_bytes else ""
    return f"{done_bytes / 1e6:.0f}{of_all} MB of {name}"


@contextlib.contextmanager
def noting(look: Callable[[], str], whose: str, every_s: float = 5.0) -> Iterator[None]:
    """Meanwhile notes what `look` says, every few seconds, until it fails.

    A process of its own does that, since Ansible's connections are not made for threads. It is asked to end, and not
    killed: it may hold the lock of the queue through which Ansible's processes talk.
    """
    if folder is None:
        yield
        return
    ended, end = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.close(end)
            while not select.select([ended], [], [], every_s)[0]:
                note(look(), whose)
        finally:
            os._exit(0)
    os.close(ended)
    try:
        yield
    finally:
        os.close(end)
        os.waitpid(child, 0)
