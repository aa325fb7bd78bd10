"""The board's lock: one run at a time, for as long as any of its processes lives."""

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
