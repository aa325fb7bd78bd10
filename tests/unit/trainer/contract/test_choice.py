"""Which method `auto` takes, from measured times."""

import pytest

from trainer.contract.choice import LONGEST_PERIOD, choose


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
    choice = choose(1.0, all_reduce_s, all_reduce_s / 2, 0.95)
    assert (choice.method, choice.gradient_dtype, choice.period) == (method, dtype, period)
    assert choice.expected_efficiency >= 0.95
    assert "least lossy" in choice.reason


@pytest.mark.parametrize(("float32_s", "dtype"), [(1.0, "float32"), (2.0, "float16")])
def test_what_just_reaches_the_efficiency_is_taken(float32_s, dtype):
    choice = choose(1.0, float32_s, float32_s / 2, 0.5)
    assert (choice.method, choice.gradient_dtype, choice.expected_efficiency) == ("allreduce", dtype, 0.5)
    name = f"allreduce in {dtype}"
    assert choice.reason == (
        f"a step computes for 1000 ms, the gradient travels for {1000 * float32_s:.0f} ms in float32 and "
        f"{500 * float32_s:.0f} ms in float16: {name} is the least lossy method that reaches 50%, with 50% expected"
    )


@pytest.mark.parametrize("period", [2, 4, 8, 16, 32, 64, 128])
def test_every_power_of_two_up_to_the_longest_period_is_tried(period):
    choice = choose(1.0, 2.0 * period, 1.0 * period, 0.5)
    assert (choice.method, choice.period) == ("local_sgd", period)


def test_what_cannot_be_reached_is_said():
    choice = choose(0.01, 60.0, 30.0, 0.95)
    assert choice.period == LONGEST_PERIOD == 128
    assert choice.expected_efficiency < 0.95
    assert "does not reach 95%" in choice.reason
