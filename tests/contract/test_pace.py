"""Boards that make unequal numbers of steps in an epoch, by their speeds."""

import pytest

pytestmark = pytest.mark.tensorflow


@pytest.fixture(scope="module")
def shares(on_board):
    """Three boards, of which the second takes twice and the third four times as long for a step; 23 batches of 5."""
    return on_board(
        """
        import numpy as np
        from trainer.contract.config import parse
        from trainer.formats.archives import Images
        from trainer.learning import data
        from trainer.learning.optimizers import Rate
        from trainer.loop.pace import Pace
        count = 113
        images = Images(np.zeros((count, 2, 2, 3), np.uint8), np.arange(count, dtype=np.int32),
                        np.zeros((9, 2, 2, 3), np.uint8), np.arange(9, dtype=np.int32), count, True)
        config = parse({"schedule": {"constant_epochs": 2, "decay": 0.5}, "optimizer": {"learning_rate": 1.0}})
        told = []
        for rank in range(3):
            shard = data.Shard(rank, 3, True, 5)
            pace = Pace(shard, count, measured_in=0)
            early = [pace.unequal, pace.steps(0), pace.steps(1), pace.before(3)]
            record = pace.follow([1.0, 2.0, 4.0])
            resumed = Pace(shard, count, measured_in=0)
            resumed.go_on([{"event": "epoch"}, {"event": record.KIND, "steps": record.steps}])
            rate = Rate(config, 3, pace.steps(0), 0)
            rate.follow(pace.steps(1))
            batches = [y.numpy().tolist() for _, y in data.training_batches(images, pace.shard(1), 1, range(1, 2))]
            rounds = pace.rounds(3)
            told.append({
                "early": early,
                "record": [record.epoch, record.steps, record.step_s],
                "steps": [pace.steps(epoch) for epoch in range(3)],
                "resumed": [resumed.steps(epoch) for epoch in range(3)],
                "before": [pace.before(epoch) for epoch in range(4)],
                "images": pace.images(1),
                "rates": [float(rate(pace.before(epoch) + step)) for epoch in range(4)
                          for step in (0, pace.steps(epoch) - 1)],
                "after": [rate.after(epoch, step) for epoch in range(4) for step in (0, pace.steps(epoch) - 1)],
                "batches": batches,
                "rounds": rounds,
                "weights": [pace.weight(number, len(rounds)) for number in range(len(rounds))],
            })
        answer(told)
        """
    )


def test_steps_are_equal_until_speeds_are_known_and_then_in_proportion(shares):
    for board, steps in zip(shares, (13, 7, 3), strict=True):
        assert board["early"] == [False, 8, 8, 24]
        assert board["record"] == [2, [13, 7, 3], [1.0, 2.0, 4.0]]
        assert board["steps"] == board["resumed"] == [8, steps, steps]
        assert board["before"] == [0, 8, 8 + steps, 8 + 2 * steps]
        assert (board["images"], [len(batch) for batch in board["batches"]]) == (5 * steps, [5] * steps)


def test_boards_share_out_the_images_of_an_epoch(shares):
    seen = [label for board in shares for batch in board["batches"] for label in batch]
    assert set(seen) == set(range(113)) and len(seen) == 115, "whole batches: two images are seen twice"


def test_the_rate_falls_by_the_epoch_on_every_board(shares):
    for board in shares:
        assert board["rates"] == pytest.approx([1, 1, 1, 1, 0.6065, 0.6065, 0.3679, 0.3679], abs=1e-4)
        assert board["after"] == pytest.approx(board["rates"], abs=1e-6)


def test_boards_average_equally_often_and_count_by_their_steps(shares):
    rounds = [board["rounds"] for board in shares]
    assert rounds == [[5, 9, 13], [3, 5, 7], [1, 2, 3]], "a mean board's period of 3 fits 3 times into 8 steps"
    made = [[5, 4, 4], [3, 2, 2], [1, 1, 1]]
    for number in range(3):
        together = sum(own[number] for own in made)
        for board, own in zip(shares, made, strict=True):
            assert board["weights"][number] == pytest.approx(3 * own[number] / together)
