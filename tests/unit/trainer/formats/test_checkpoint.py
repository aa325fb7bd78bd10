"""Checkpoints: whole or passed over."""

import numpy as np
import pytest

from trainer.contract.checkpoints import Place, path_of, whole
from trainer.contract.layout import CHECKPOINTS
from trainer.formats.checkpoint import Checkpoints


def save(folder, *epochs):
    checkpoints = Checkpoints(folder)
    for epoch in epochs:
        checkpoints.save(Place(epoch), [np.full(1000, epoch, np.float32), np.array(epoch, np.int64)])
    checkpoints.wait()
    return checkpoints


def test_the_newest_is_read_as_it_was_written(tmp_path):
    place, arrays = save(tmp_path, 1, 2).newest()
    assert place == Place(2)
    assert np.array_equal(arrays[0], np.full(1000, 2)) and arrays[1] == 2 and arrays[1].dtype == np.int64


def test_without_any_there_is_no_newest(tmp_path):
    assert Checkpoints(tmp_path).newest() is None


def test_the_two_latest_are_kept(tmp_path):
    save(tmp_path, 1, 2, 3)
    assert whole(tmp_path / CHECKPOINTS) == [Place(2), Place(3)]
    assert len(list((tmp_path / CHECKPOINTS).iterdir())) == 2


def test_one_that_was_cut_is_passed_over_for_the_one_before(tmp_path):
    checkpoints = save(tmp_path, 2, 3)
    path = path_of(tmp_path / CHECKPOINTS, Place(3))
    path.write_bytes(path.read_bytes()[:-200])
    assert checkpoints.newest()[0] == Place(2)


def test_one_with_a_wrong_bit_is_passed_over_for_the_one_before(tmp_path):
    checkpoints = save(tmp_path, 2, 3)
    path = path_of(tmp_path / CHECKPOINTS, Place(3))
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1  # among the numbers
    path.write_bytes(content)
    assert checkpoints.newest()[0] == Place(2)


def test_what_cannot_be_written_is_told(tmp_path):
    (tmp_path / CHECKPOINTS).write_text("a file where the folder should be")
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save(Place(1), [np.zeros(3)])
    with pytest.raises(OSError):
        checkpoints.save(Place(2), [np.zeros(3)])


def test_those_within_an_epoch_lie_between_those_of_whole_ones(tmp_path):
    checkpoints = Checkpoints(tmp_path)
    for place in (Place(1), Place(1, 900), Place(1, 1000)):
        checkpoints.save(place, [np.zeros(3)])
    checkpoints.wait()
    assert whole(tmp_path / CHECKPOINTS) == [Place(1, 900), Place(1, 1000)]
    path_of(tmp_path / CHECKPOINTS, Place(1, 1000)).rename(tmp_path / CHECKPOINTS / "epoch-00001-1000 copy.npz")
    checkpoints.save(Place(2), [np.zeros(3)])
    checkpoints.wait()
    assert checkpoints.newest()[0] == Place(2) and whole(tmp_path / CHECKPOINTS) == [Place(1, 900), Place(2)]
