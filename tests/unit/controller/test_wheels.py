"""The package index of files for boards that have no way out."""

import hashlib
import subprocess
import sys

import pytest

from controller import wheels
from tests.lab.wheels import write_wheel


@pytest.fixture
def downloaded(monkeypatch, tmp_path):
    """Stands in for pip's download; the number of times it was asked."""
    asked = []

    def download(python, lock, files, venv):
        asked.append(lock.read_text())
        files.mkdir(parents=True)
        write_wheel(files, "tf_keras", "2.21.0", "py3-none-any", {"tf_keras/__init__.py": ""})

    monkeypatch.setattr(wheels, "download", download)
    (tmp_path / "lock.txt").write_text("tf-keras==2.21.0\n")
    return asked


def test_it_is_made_once_for_a_lock_and_lists_what_it_has(downloaded, tmp_path):
    folder, lock = tmp_path / "cache/index", tmp_path / "lock.txt"
    assert wheels.make(sys.executable, lock, folder)
    (file,) = (folder / "files").iterdir()
    page = (folder / "simple/tf-keras/index.html").read_text()
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    assert page == f'<a href="../../files/{file.name}#sha256={digest}">{file.name}</a>\n'
    assert not wheels.make(sys.executable, lock, folder)
    lock.write_text("tf-keras==2.21.0  # another\n")
    assert wheels.make(sys.executable, lock, folder) and len(downloaded) == 2
    assert sorted(path.name for path in folder.parent.iterdir()) == ["index", "index.lock"]


def test_a_download_that_fails_leaves_what_was_there(downloaded, tmp_path, monkeypatch):
    folder, lock = tmp_path / "index", tmp_path / "lock.txt"
    wheels.make(sys.executable, lock, folder)
    lock.write_text("another\n")

    def fail(*_):
        raise subprocess.CalledProcessError(1, "pip")

    monkeypatch.setattr(wheels, "download", fail)
    with pytest.raises(subprocess.CalledProcessError):
        wheels.make(sys.executable, lock, folder)
    assert (folder / "simple/tf-keras/index.html").exists()
