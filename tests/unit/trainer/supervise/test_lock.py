"""The board's lock: one run at a time, for as long as any of its processes lives."""

import fcntl
import os
import subprocess

import pytest

from trainer.supervise.lock import NAME, Lock, Locked, read


def test_a_second_run_is_refused_and_told_of_the_first(tmp_path):
    lock = Lock(tmp_path, "first", "ann@desk")
    with pytest.raises(Locked, match="run first of ann@desk has used this board for 0 min"):
        Lock(tmp_path, "second", "bob@desk")
    assert read(tmp_path)["run_id"] == "first"
    lock.release()
    assert list(tmp_path.iterdir()) == []


def test_the_lock_of_a_dead_run_is_taken_over(tmp_path):
    (tmp_path / NAME).write_text('{"run_id": "dead and with a much longer name than the next", "owner": "x"}')
    lock = Lock(tmp_path, "next", "ann@desk")
    assert read(tmp_path)["run_id"] == "next"
    lock.release()


def test_a_trainer_that_outlives_its_supervisor_keeps_it(tmp_path):
    lock = Lock(tmp_path, "first", "ann@desk")
    with subprocess.Popen(["sleep", "60"], pass_fds=(lock.descriptor,)) as trainer:
        os.close(lock.descriptor)
        with pytest.raises(Locked):
            Lock(tmp_path, "second", "bob@desk")
        trainer.kill()
    Lock(tmp_path, "second", "bob@desk").release()


@pytest.mark.parametrize("content", ["", "{", "[]", "null", "\0" * 9, "[" * 9999])
def test_an_empty_or_torn_lock_of_a_dead_run_is_no_obstacle(tmp_path, content):
    (tmp_path / NAME).write_text(content)
    assert read(tmp_path) is None
    Lock(tmp_path, "next", "ann@desk").release()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("content", ["", "{}", '{"run_id": "first", "owner": 1, "since_s": "x"}'])
def test_an_odd_lock_that_is_held_is_told_without_a_name(tmp_path, content):
    with (tmp_path / NAME).open("w") as file:
        file.write(content)
        file.flush()
        fcntl.flock(file, fcntl.LOCK_EX)
        with pytest.raises(Locked, match="another run uses this board"):
            Lock(tmp_path, "second", "bob@desk")


def test_a_full_disk_leaves_no_lock(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fdopen", full)
    with pytest.raises(OSError, match="No space"):
        Lock(tmp_path, "first", "ann@desk")
    monkeypatch.undo()
    assert list(tmp_path.iterdir()) == []
    Lock(tmp_path, "second", "bob@desk").release()
