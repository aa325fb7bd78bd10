"""The order of images, which engines, versions of NumPy and resumed runs share."""

import numpy as np
import pytest

from trainer.loop.shard import Shard, training_order, validation_order

FIRST, FOURTH = [3, 5, 2, 7, 0, 6, 1, 4], [5, 3, 2, 0]


def test_the_order_is_always_this_one():
    """Another order would make runs of different versions other runs."""
    assert training_order(Shard(0, 1, False, 4), 8, seed=1, epoch=0).tolist() == FIRST
    assert training_order(Shard(1, 2, True, 4), 8, seed=2**32 - 1, epoch=3).tolist() == FOURTH


@pytest.mark.parametrize("workers", [1, 2, 3])
def test_boards_share_an_epoch_out(workers):
    parts = [training_order(Shard(rank, workers, True, 4), 12, 1, 5) for rank in range(workers)]
    assert sorted(np.concatenate(parts)) == list(range(12))


def test_boards_that_see_all_have_orders_of_their_own():
    first, second = (training_order(Shard(rank, 2, False, 4), 50, 1, 0).tolist() for rank in range(2))
    assert sorted(first) == sorted(second) == list(range(50)) and first != second


def test_parts_are_in_proportion_to_batches_and_to_counts():
    parts = [training_order(Shard(rank, 2, True, (6, 2)[rank], (6, 2)), 16, 1, 0) for rank in range(2)]
    assert [len(part) for part in parts] == [12, 4] and sorted(np.concatenate(parts)) == list(range(16))
    parts = [training_order(Shard(rank, 2, True, 4, counts=(3, 1)), 16, 1, 0) for rank in range(2)]
    assert [len(part) for part in parts] == [12, 4] and sorted(np.concatenate(parts)) == list(range(16))


def shards(workers, kind):
    if kind == "proportional":
        batches = (6, 2, 4)[:workers]
        return [Shard(rank, workers, True, batches[rank], batches) for rank in range(workers)]
    return [Shard(rank, workers, kind == "sharded", 4) for rank in range(workers)]


@pytest.mark.parametrize("kind", ["whole", "sharded", "proportional"])
@pytest.mark.parametrize("steps", [1, 3])
def test_the_rest_of_an_epoch_is_what_the_same_boards_would_have_had(kind, steps):
    total = 50  # which nothing divides
    for shard in shards(3, kind):
        done = steps * shard.taken
        rest = training_order(shard, total, 1, 5, done).tolist()
        assert rest == training_order(shard, total, 1, 5).tolist()[steps * shard.batch :]
        assert steps + shard.steps(total - done) == shard.steps(total)


@pytest.mark.parametrize("kind", ["sharded", "proportional"])
def test_the_rest_of_an_epoch_is_shared_out_anew_among_other_boards(kind):
    done = 2 * shards(3, kind)[0].taken
    begun = [training_order(shard, 60, 1, 5)[: 2 * shard.batch] for shard in shards(3, kind)]
    rest = [training_order(shard, 60, 1, 5, done) for shard in shards(2, kind)]
    images = np.concatenate(begun + rest).tolist()
    assert set(images) == set(range(60)), "each image"
    assert len(images) - 60 < sum(shard.batch for shard in shards(2, kind)), "once, but for what fills the last step"


def test_validation_is_shared_out_in_order():
    assert [validation_order(Shard(rank, 2, True, 4), 5).tolist() for rank in range(2)] == [[0, 2, 4], [1, 3, 0]]
