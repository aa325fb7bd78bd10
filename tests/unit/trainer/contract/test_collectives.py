"""Which collective ran, by either engine's log."""

import pytest

from trainer.contract.collectives import announced, collectives_in, other_than_asked


def test_the_log_of_either_engine_names_its_collective():
    assert collectives_in(f"begin\n{announced('gloo')}\nend") == "gloo"
    assert collectives_in("x AssignCollectiveType RingReduce\n") == "RingReduce"
    assert collectives_in(f"somebody said {announced('gloo')}\n") is None


@pytest.mark.parametrize(
    ("asked", "used", "told"),
    [
        ("nccl", "nccl", None),
        ("nccl", "NcclReduce", None),
        ("nccl", "gloo", "asked for NCCL, gloo ran"),
        ("ring", "gloo", None),
        ("ring", "RingReduce, NcclReduce", None),
        ("ring", "nccl", "asked for the ring, nccl ran"),
        ("auto", "gloo", None),
        ("nccl", None, None),
    ],
)
def test_another_one_than_was_asked_for_is_told(asked, used, told):
    assert other_than_asked(asked, used) == told
