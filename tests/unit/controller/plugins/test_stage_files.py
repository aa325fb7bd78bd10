"""Files that are put onto boards; tests/lab has the rest of the stage."""

import functools
import hashlib
import time
from pathlib import Path

import pytest
from ansible.errors import AnsibleActionFail

from controller import notes
from controller.plugins import stage_files
from tests.unit.actions import Board, action, run


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


@pytest.fixture
def files(tmp_path):
    """Two files for a board whose assets are a folder here; it has the first one, and a torn second one."""
    found = []
    for name, content in (("a", b"A"), ("b c", b"B")):
        (tmp_path / name).write_bytes(content)
        sha256 = hashlib.sha256(content).hexdigest()
        found.append({"source": str(tmp_path / name), "path": str(tmp_path / "assets" / name), "sha256": sha256})
    (tmp_path / "assets").mkdir()
    (tmp_path / "assets/a").write_bytes(b"A")
    (tmp_path / "assets/b c").write_bytes(b"torn")
    return found


def test_a_board_gets_what_it_lacks_and_nothing_else(files):
    board, first, second = Board(), *(file["path"] for file in files)
    assert run("stage_files", board, {"files": files}) == {"changed": True, "staged": [second]}
    assert board.put == [f"{second}.part"] and Path(second).read_bytes() == b"B"
    assert sorted(path.name for path in Path(first).parent.iterdir()) == ["a", "b c"]
    assert Path(second).stat().st_mode & 0o777 == 0o644
    board = Board()
    assert run("stage_files", board, {"files": files}) == {"changed": False, "staged": []}
    assert len(board.commands) == 1 and board.put == [], "one look where all is there"


def test_what_arrives_otherwise_than_it_was_sent_is_not_taken(files):
    files[1]["sha256"] = "0" * 64
    with pytest.raises(AnsibleActionFail, match="arrived corrupt: check the board"):
        run("stage_files", Board(), {"files": files})
    assert Path(files[1]["path"]).read_bytes() == b"torn"


def test_a_board_that_cannot_keep_a_file_is_told_of_with_the_command(files, tmp_path):
    files[1]["path"] = str(tmp_path / "a/below-a-file")
    with pytest.raises(
        AnsibleActionFail, match=r"umask 022; mkdir -p .*' failed on the board .*ansible_user may write"
    ):
        run("stage_files", Board(), {"files": files})


def test_nothing_to_stage_asks_nothing():
    board = Board()
    assert run("stage_files", board, {"files": []}) == {"changed": False, "staged": []} and board.commands == []
