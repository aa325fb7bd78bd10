"""Which method `auto` takes, from measured times."""

import math

import pytest

from trainer.contract.choice import FLOAT16, FLOAT32, TIMED, choose
from trainer.contract.sections import sync_of

BUCKETS, LOW_RANK = TIMED[2:]


def extra(float32_s, buckets_s=math.nan, low_rank_s=math.nan):
    return {FLOAT32: float32_s, FLOAT16: float32_s / 2, BUCKETS: buckets_s, LOW_RANK: low_rank_s}


def test_what_is_timed_is_in_the_order_of_loss_and_can_be_configured():
    timed = [sync_of(name) for name in TIMED]
    assert [(it.method, it.gradient_dtype, it.bucket_bytes > 0) for it in timed] == [
        ("allreduce", "float32", False),
        ("allreduce", "float16", False),
        ("allreduce", "float16", True),
        ("powersgd", "float16", False),
    ]


@pytest.mark.parametrize(
    ("all_reduce_s", "method", "dtype", "period"),
    [
        (0.01, "allreduce", "float32", None),
        (0.08, "allreduce", "float16", None),
        (0.8, "local_sgd", "float16", 8),
        (3.0, "local_sgd", "float16", 32),
    ],
)
def test_the_slower_the_link_the_less_is_sent(all_reduce_s, method, dtype, period):
    choice = choose(1.0, extra(all_reduce_s), 0.95, 128)
    assert (choice.method, choice.gradient_dtype, choice.period) == (method, dtype, period)
    assert choice.expected_efficiency >= 0.95
    assert "least lossy" in choice.reason


@pytest.mark.parametrize(
    ("buckets_s", "low_rank_s", "chosen"),
    [
        (0.04, 0.01, BUCKETS),
        (0.06, 0.05, LOW_RANK),
        (0.06, 0.06, "local_sgd, float16, period 8"),
        (math.nan, math.nan, "local_sgd, float16, period 8"),
    ],
)
def test_buckets_come_before_a_low_rank_and_that_before_rare_averages(buckets_s, low_rank_s, chosen):
    choice = choose(1.0, extra(0.8, buckets_s, low_rank_s), 0.95, 128)
    assert choice.chosen == chosen and f"{chosen} is the least lossy" in choice.reason
    assert (choice.method, choice.gradient_dtype) == (sync_of(chosen).method, "float16")


@pytest.mark.parametrize(("float32_s", "name"), [(1.0, FLOAT32), (2.0, FLOAT16)])
def test_what_just_reaches_the_efficiency_is_taken(float32_s, name):
    choice = choose(1.0, extra(float32_s), 0.5, 128)
    assert (choice.chosen, choice.expected_efficiency) == (name, 0.5)
    assert choice.reason == (
        f"a step computes for 1000 ms, and synchronising adds {1000 * float32_s:.0f} ms with {FLOAT32}, "
        f"{500 * float32_s:.0f} ms with {FLOAT16}: {name} is the least lossy method that reaches 50%, with 50% expected"
    )


@pytest.mark.parametrize("period", [2, 4, 8, 16, 32, 64, 128])
def test_every_power_of_two_up_to_the_longest_period_is_tried(period):
    choice = choose(1.0, extra(2.0 * period), 0.5, 128)
    assert (choice.method, choice.period) == ("local_sgd", period)


@pytest.mark.parametrize(("longest", "period"), [(128, 64), (64, 64), (48, 48), (4, 4)])
def test_no_period_is_longer_than_the_longest_that_was_asked_for(longest, period):
    assert choose(1.0, extra(2.0 * 64), 0.5, longest).period == period


@pytest.mark.parametrize(("low_rank_s", "period"), [(math.nan, 128), (0.1, None)])
def test_where_nothing_reaches_the_efficiency_the_most_efficient_is_taken(low_rank_s, period):
    choice = choose(0.01, extra(60.0, low_rank_s=low_rank_s), 0.95, 128)
    assert choice.period == period
    assert choice.expected_efficiency < 0.95
    assert "does not reach 95%" in choice.reason
