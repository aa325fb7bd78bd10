"""Which way `auto` takes, from measured times."""

import pytest

from trainer.contract.choice import LONGEST_PERIOD, choose


@pytest.mark.parametrize(
    ("all_reduce_s", "way", "dtype", "period"),
    [
        (0.01, "allreduce", "float32", None),
        (0.08, "allreduce", "float16", None),
        (0.8, "local_sgd", "float16", 8),
        (3.0, "local_sgd", "float16", 32),
    ],
)
def test_the_slower_the_link_the_less_is_sent(all_reduce_s, way, dtype, period):
    choice = choose(1.0, all_reduce_s, all_reduce_s / 2, 0.95)
    assert (choice.way, choice.gradient_dtype, choice.period) == (way, dtype, period)
    assert choice.expected_efficiency >= 0.95
    assert "least lossy" in choice.reason


def test_what_cannot_be_reached_is_said():
    choice = choose(0.01, 60.0, 30.0, 0.95)
    assert choice.period == LONGEST_PERIOD
    assert choice.expected_efficiency < 0.95
    assert "does not reach 95%" in choice.reason
