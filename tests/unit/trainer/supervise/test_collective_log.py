"""Which collective ran, from lines as TensorFlow 2.12.1 writes them."""

import pytest

from trainer.contract.collectives import other_than_asked
from trainer.supervise.collective_log import Excerpt, collective_used

RING = (
    "2026-11-21 10:35:15.1 I tensorflow/core/common_runtime/collective_param_resolver_local.cc:102] "
    "AssignCollectiveType RingReduce\n"
)


@pytest.mark.parametrize(
    ("log", "used"),
    [
        (RING * 3 + RING.replace("RingReduce", "HierarchicalTreeBroadcast"), "RingReduce"),
        (RING.replace("Ring", "Nccl"), "NcclReduce"),
        (RING + RING.replace("Ring", "Nccl"), "NcclReduce, RingReduce"),
        ("communication_hint=nccl\n", None),  # what was asked for
    ],
)
def test_the_log_tells_which_collective_ran(tmp_path, log, used):
    (tmp_path / "trainer.log").write_text(log)
    assert collective_used(tmp_path / "trainer.log") == used


def test_without_a_log_nothing_is_known(tmp_path):
    assert collective_used(tmp_path / "trainer.log") is None


@pytest.mark.parametrize(
    ("asked", "used", "says"),
    [
        ("nccl", "RingReduce", "asked for NCCL, RingReduce ran"),
        ("ring", "NcclReduce", "asked for the ring, NcclReduce ran"),
        ("nccl", "NcclReduce", None),
        ("nccl", "NcclReduce, RingReduce", None),
        ("auto", "RingReduce", None),
        ("nccl", None, None),
        (None, "RingReduce", None),
    ],
)
def test_what_ran_in_place_of_what_was_asked_for_is_said(asked, used, says):
    assert other_than_asked(asked, used) == says


def test_of_repeated_lines_about_collectives_the_first_are_kept():
    instance = RING.replace("AssignCollectiveType RingReduce", "CompleteInstanceLocal /job:worker instance_key: 7")
    broadcast = RING.replace("RingReduce", "HierarchicalTreeBroadcast")
    excerpt = Excerpt()
    lines = [broadcast] * 5000 + [RING, instance, "Epoch 1\n", "AssignCollectiveType by somebody else\n"] * 5000
    kept = [line for line in lines if excerpt.keeps(line.encode())]
    assert [kept.count(line) for line in (broadcast, RING, instance)] == [100, 100, 100]
    assert kept.count("Epoch 1\n") == 5000 and len(kept) == 300 + 2 * 5000
