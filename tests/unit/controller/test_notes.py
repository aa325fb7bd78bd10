"""What a long step is doing, noted for whoever waits."""

import os
import time

import pytest

from controller import notes


def test_notes_are_read_by_whose_they_are_and_go_with_the_step(tmp_path, monkeypatch):
    monkeypatch.setattr(notes, "folder", tmp_path / "notes")
    notes.note("old")
    notes.note("1 of 2 MB")
    notes.note("", "orin-1")
    notes.note("Collecting\n gast", "orin-2")
    assert notes.read() == {"localhost": "1 of 2 MB", "orin-2": "Collecting gast"}
    notes.clear()
    assert notes.read() == {}


def test_notes_are_not_left_where_nobody_reads_them_and_never_end_a_step(tmp_path, monkeypatch):
    monkeypatch.setattr(notes, "folder", None)
    notes.note("x")
    with notes.noting(lambda: "never", "orin-1", every_s=0.01):
        time.sleep(0.1)
    (tmp_path / "file").write_text("")
    monkeypatch.setattr(notes, "folder", tmp_path / "file/notes")
    notes.note("x")
    assert notes.read() == {}


def test_notes_are_renewed_beside_a_step_until_it_ends_or_fails(tmp_path, monkeypatch):
    monkeypatch.setattr(notes, "folder", tmp_path)
    looks = iter(range(1_000_000))
    with pytest.raises(KeyError), notes.noting(lambda: f"look {next(looks)}", "orin-1", every_s=0.01):
        time.sleep(0.3)
        assert int(notes.read()["orin-1"].split()[1]) > 3
        raise KeyError
    with pytest.raises(ChildProcessError):  # there is no child any more
        os.waitpid(-1, os.WNOHANG)
    last = notes.read()
    time.sleep(0.1)
    assert notes.read() == last


def test_a_look_that_fails_ends_the_notes_and_not_the_step(tmp_path, monkeypatch):
    monkeypatch.setattr(notes, "folder", tmp_path)
    with notes.noting(lambda: 1 / 0, "orin-1", every_s=0.01):
        time.sleep(0.1)
    assert notes.read() == {}
