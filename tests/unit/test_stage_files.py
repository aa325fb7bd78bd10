"""Files that are put onto boards; tests/lab has the rest of the stage."""

import functools
import hashlib
import importlib.util
import subprocess
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from controller import notes

PLUGIN = Path(__file__).parents[2] / "plugins/action/stage_files.py"


@pytest.fixture
def stage_files():
    spec = importlib.util.spec_from_file_location("stage_files", PLUGIN)
    plugin = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(plugin)
    return plugin


def test_while_a_large_file_goes_to_a_board_it_is_noted_how_much_is_there(stage_files, tmp_path, monkeypatch):
    monkeypatch.setenv(notes.FOLDER, str(tmp_path / "notes"))
    monkeypatch.setattr(stage_files, "noting", functools.partial(notes.noting, every_s=0.02))
    content, seen = bytes(4_000_000), []
    (tmp_path / "images.npz").write_bytes(content)

    def put_file(source, part):
        for end in (1_000_000, 3_000_000, 4_000_000):
            Path(part).write_bytes(content[:end])
            time.sleep(0.5)
            seen.append(notes.read(tmp_path / "notes")["orin-1"])

    def execute(command):
        done = subprocess.run(command, shell=True, capture_output=True, text=True)
        return {"rc": done.returncode, "stdout": done.stdout.replace("\n", "\r\n"), "stderr": done.stderr}

    action = object.__new__(stage_files.ActionModule)
    action._connection, action._low_level_execute_command = SimpleNamespace(put_file=put_file), execute
    path, sha256 = tmp_path / "assets/images.npz", hashlib.sha256(content).hexdigest()
    action._put({"source": str(tmp_path / "images.npz"), "path": str(path), "sha256": sha256}, "orin-1")
    assert seen == [f"{megabytes} of 4 MB of images.npz" for megabytes in (1, 3, 4)]
    assert path.read_bytes() == content
