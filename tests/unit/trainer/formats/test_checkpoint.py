"""Checkpoints: whole or passed over."""

import numpy as np
import pytest

from trainer.contract.layout import CHECKPOINTS
from trainer.formats.checkpoint import Checkpoints, path_of, whole


def save(folder, *epochs):
    checkpoints = Checkpoints(folder)
    for epoch in epochs:
        checkpoints.save(epoch, [np.full(1000, epoch, np.float32), np.array(epoch, np.int64)])
    checkpoints.wait()
    return checkpoints


def test_the_newest_is_read_as_it_was_written(tmp_path):
    epoch, arrays = save(tmp_path, 1, 2).newest()
    assert epoch == 2
    assert np.array_equal(arrays[0], np.full(1000, 2)) and arrays[1] == 2 and arrays[1].dtype == np.int64


def test_without_any_there_is_no_newest(tmp_path):
    assert Checkpoints(tmp_path).newest() is None


def test_the_two_latest_are_kept(tmp_path):
    save(tmp_path, 1, 2, 3)
    assert whole(tmp_path / CHECKPOINTS) == [2, 3]
    assert len(list((tmp_path / CHECKPOINTS).iterdir())) == 2


def test_one_that_was_cut_is_passed_over_for_the_one_before(tmp_path):
    checkpoints = save(tmp_path, 2, 3)
    path = path_of(tmp_path / CHECKPOINTS, 3)
    path.write_bytes(path.read_bytes()[:-200])
    assert checkpoints.newest()[0] == 2


def test_one_with_a_wrong_bit_is_passed_over_for_the_one_before(tmp_path):
    checkpoints = save(tmp_path, 2, 3)
    path = path_of(tmp_path / CHECKPOINTS, 3)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1  # among the numbers
    path.write_bytes(content)
    assert checkpoints.newest()[0] == 2


def test_what_cannot_be_written_is_told(tmp_path):
    (tmp_path / CHECKPOINTS).write_text("a file where the folder should be")
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save(1, [np.zeros(3)])
    with pytest.raises(OSError):
        checkpoints.save(2, [np.zeros(3)])
