"""Files that are put onto boards; tests/lab has the rest of the stage."""

import functools
import hashlib
import time
from pathlib import Path

from actions import Board, action

from controller import notes
from controller.plugins import stage_files


def test_while_a_large_file_goes_to_a_board_it_is_noted_how_much_is_there(tmp_path, monkeypatch):
    monkeypatch.setattr(notes, "folder", tmp_path / "notes")
    monkeypatch.setattr(stage_files, "noting", functools.partial(notes.noting, every_s=0.02))
    content, seen = bytes(4_000_000), []
    (tmp_path / "images.npz").write_bytes(content)

    class Slow(Board):
        def put_file(self, source, part):
            for end in (1_000_000, 3_000_000, 4_000_000):
                Path(part).write_bytes(content[:end])
                time.sleep(0.5)
                seen.append(notes.read()["orin-1"])

        def execute(self, command, **options):
            done = super().execute(command, **options)
            return {**done, "stdout": done["stdout"].replace("\n", "\r\n")}  # ssh gave the board a terminal

    stage = action("stage_files", Slow())
    path, sha256 = tmp_path / "assets/images.npz", hashlib.sha256(content).hexdigest()
    stage._put({"source": str(tmp_path / "images.npz"), "path": str(path), "sha256": sha256})
    assert seen == [f"{megabytes} of 4 MB of images.npz" for megabytes in (1, 3, 4)]
    assert path.read_bytes() == content
