"""Names of arms in words."""

import pytest

from analysis.comparison.words import in_words


@pytest.mark.parametrize(
    "workers, label, told",
    [
        (1, "none", "1 board"),
        (2, "keras", "2 boards, plain Keras, all images on each"),
        (2, "keras, sharded", "2 boards, plain Keras, images shared out"),
        (4, "local_sgd, sharded, period=4", "4 boards, local SGD, images shared out, averaged every 4 steps"),
        (2, "local_sgd, sharded, scale_rate=linear, scale_warm_up_epochs=1", None),
        (2, "powersgd, unheard_of=3", "2 boards, PowerSGD, unheard_of=3, all images on each"),
        (1, "none, momentum=0.9", "1 board, momentum=0.9"),
    ],
)
def test_an_arm_is_named_by_what_it_does(workers, label, told):
    told = told or "2 boards, local SGD, images shared out, learning rate times boards"
    assert in_words(workers, label) == told
