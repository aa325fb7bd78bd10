"""Notes on the progress of long tasks, which controller/plugins/elapsed.py prints.

Notes are files, since Ansible's main process prints what others write. Standard library only.
"""

from __future__ import annotations

import contextlib
import os
import select
from collections.abc import Callable, Iterator
from pathlib import Path

CONTROLLER = "localhost"  # owner of notes that belong to no board
folder: Path | None = None  # for this process and its forks; None if nobody reads notes


def note(text: str, whose: str = CONTROLLER) -> None:
    """Replace the note of a board or the controller, if anybody reads notes."""
    if folder is None:
        return
    path = folder / whose
    draft = path.with_name(f".{path.name}")
    with contextlib.suppress(OSError):  # a failed note must not fail the task
        path.parent.mkdir(exist_ok=True)
        draft.write_text(" ".join(text.split()), encoding="utf-8")
        draft.replace(path)


def read() -> dict[str, str]:
    """The notes by owner."""
    found = {}
    for path in folder.glob("[!.]*") if folder else ():
        with contextlib.suppress(OSError):  # removed meanwhile
            found[path.name] = path.read_text(encoding="utf-8")
    return {whose: text for whose, text in found.items() if text}


def clear() -> None:
    """Remove all notes, when a task ends."""
    for path in folder.glob("*") if folder else ():
        path.unlink(missing_ok=True)


def share(done_bytes: int, all_bytes: int, name: str) -> str:
    """Progress such as "42 of 169 MB of x.tar.gz"; `all_bytes` is 0 if unknown."""
    of_all = f" of {all_bytes / 1e6:.0f}" if all_bytes else ""
    return f"{done_bytes / 1e6:.0f}{of_all} MB of {name}"


@contextlib.contextmanager
def noting(look: Callable[[], str], whose: str, every_s: float = 5.0) -> Iterator[None]:
    """A context that notes what `look` returns every few seconds, until it fails.

    It runs in its own process, since Ansible's connections do not support threads. It is asked to end, not killed: it
    may hold the lock of Ansible's result queue.
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
