"""What engine pytorch does not have is refused by name, with what to write instead."""

import pytest

from trainer.contract.config import parse

OUTER = {"method": "local_sgd", "outer_momentum": 0.5}


@pytest.mark.parametrize(
    ("strategy", "override", "says"),
    [
        (
            "c10d",
            {"steps_per_call": 5},
            "steps_per_call is 5, but engine pytorch makes a step in a call: set .* to null",
        ),
        ("c10d", {"sync": {"method": "allreduce", "bucket_bytes": 9}}, "bucket_bytes is 9, .*ddp has.*: set .* to 0"),
        ("ddp", {"sync": OUTER}, "sync.outer_momentum is 0.5, .*c10d has.*: set sync.outer_momentum to 0.0"),
        (
            "ddp",
            {"sync": {"method": "local_sgd", "warm_up_period": 2}},
            "warm_up_period is 2, .*c10d has.*: set .* to 1",
        ),
        ("c10d", {"model": {"xla": "autoclustering"}}, "model.xla is autoclustering, .*: set model.xla to jit_compile"),
        (
            "rpc",
            {"deterministic": True, "sync": {"method": "asynchronous"}},
            "deterministic is true, .*: set .* to false",
        ),
        (
            "rpc",
            {"model": {"precision": "mixed_float16"}, "sync": {"method": "asynchronous"}},
            "model.precision is mixed_float16, .*: set model.precision to mixed_bfloat16",
        ),
        (
            "ddp",
            {"model": {"precision": "mixed_float16"}, "sync": {"method": "powersgd"}},
            "PowerSGD's hook would keep .*: set model.precision to mixed_bfloat16",
        ),
        (
            "ddp",
            {"data": {"sharding": "proportional"}, "sync": {"method": "local_sgd"}},
            "data.sharding is proportional, .* count all boards alike .*: set data.sharding to sharded",
        ),
        (
            "c10d",
            {"sync": {"method": "allreduce", "strict_implementation": True}},
            "sync.strict_implementation is true, .*: set sync.strict_implementation to false",
        ),
        (
            "c10d",
            {"data": {"sharding": "measured"}, "sync": {"method": "local_sgd"}},
            "data.sharding is measured, which engine pytorch does not have: set data.sharding to proportional",
        ),
    ],
)
def test_a_field_that_would_do_nothing_is_refused(strategy, override, says):
    override = {"sync": {"method": "allreduce"}, **override}
    config = parse({"engine": "pytorch", "strategy": strategy, **override})
    with pytest.raises(AssertionError, match=says):
        assert not config.problems_with(2), "; ".join(config.problems_with(2))


def test_what_it_has_is_taken():
    sync = {"method": "allreduce", "bucket_bytes": 10**6, "accumulate_steps": 2}
    model = {"xla": "jit_compile", "precision": "mixed_float16"}
    assert parse({"engine": "pytorch", "sync": sync, "model": model}).problems_with(2) == []


def test_a_board_alone_takes_what_several_have():
    """The baseline of an experiment is the same experiment with workers=1."""
    sync = {"method": "allreduce", "bucket_bytes": 10**6}
    assert parse({"engine": "pytorch", "sync": sync}).problems_with(1) == []
