"""A board's checkpoints, from which training resumes as if it had never stopped.

Every board writes its own to its own disk: with local steps the weights differ, and the moving statistics of batch
normalisation always do. A run can resume from a place of which every board has a checkpoint.

A checkpoint is a NumPy archive. It is renamed when it is complete on disk, and each array has a CRC-32, so that a
corrupt one is skipped.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import List, Optional, Sequence, Tuple

import numpy as np

from trainer.contract.checkpoints import Place, named, path_of, whole
from trainer.contract.layout import CHECKPOINTS
from trainer.formats import npz

_KEPT = 2  # one board may be stopped before it has written the latest


class Checkpoints:
    """Writes a board's checkpoints in the background and keeps the latest ones."""

    def __init__(self, folder: Path) -> None:
        """`folder` is the run's folder on this board."""
        self._folder = folder / CHECKPOINTS
        self._thread = ThreadPoolExecutor(max_workers=1)
        self._writing: Optional[Future[None]] = None

    def save(self, place: Place, arrays: Sequence[np.ndarray]) -> None:
        """Begin to write the checkpoint of a place. Raises OSError if the previous one failed."""
        self.wait()
        self._writing = self._thread.submit(self._write, place, arrays)

    def wait(self) -> None:
        """Wait until the checkpoint is on disk. Raises OSError if it could not be written."""
        if self._writing is not None:
            self._writing.result()
            self._writing = None

    def newest(self) -> Optional[Tuple[Place, List[np.ndarray]]]:
        """The latest place with a complete checkpoint, and its arrays in the order of `save`.

        Raises NpzError for an archive that `save` has not written.
        """
        places = whole(self._folder)
        if not places:
            return None
        path = path_of(self._folder, places[-1])
        arrays = npz.read(path, path.stat().st_size)
        names = [f"arr_{place}" for place in range(len(arrays))]  # np.savez's
        if set(names) != set(arrays):
            raise npz.NpzError(f"{path.name} is no checkpoint: it has the arrays {', '.join(arrays)[:100]!r}")
        return places[-1], [arrays[name] for name in names]

    def remove(self) -> None:
        shutil.rmtree(self._folder, ignore_errors=True)

    def _write(self, place: Place, arrays: Sequence[np.ndarray]) -> None:
        self._folder.mkdir(exist_ok=True)
        path = path_of(self._folder, place)
        draft = path.with_suffix(".part")
        try:
            with draft.open("wb") as file:
                np.savez(file, *arrays)
                file.flush()
                os.fsync(file.fileno())
            draft.replace(path)
        finally:
            with contextlib.suppress(FileNotFoundError):
                draft.unlink()
        for old in named(self._folder)[:-_KEPT]:
            path_of(self._folder, old).unlink()
