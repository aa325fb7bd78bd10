"""The cost model for any boards and links: a better link never costs time, and N boards are at most N times as fast."""

import dataclasses

from hypothesis import given
from hypothesis import strategies as st

from analysis.prediction.allreduce import AllReduce, Network
from analysis.prediction.costmodel import Constants, step
from analysis.prediction.measured import Measured
from trainer.contract.sections import Sync

SLACK = 1 + 1e-9
SECONDS = st.floats(1e-3, 10)
WORKERS = st.integers(2, 32)
LINKS = st.floats(1e6, 1e11)
BYTES = st.integers(1, 10**9)
OPTIONS = {
    "gradient_dtype": st.sampled_from(["float32", "float16"]),
    "bucket_bytes": st.sampled_from([0, 10**5]),
    "period": st.integers(1, 128),
    "overlap": st.booleans(),
}
KITS_OWN = st.builds(
    Sync, method=st.sampled_from(["allreduce", "local_sgd"]), delay_steps=st.sampled_from([0, 1]), **OPTIONS
)
SYNCS = st.builds(Sync, method=st.just("keras"), **OPTIONS) | KITS_OWN
CONSTANTS = st.builds(
    lambda latency, per_byte, stretch: Constants(
        AllReduce(latency, per_byte), 0.0, {"allreduce": stretch}, {}, 0.0, 0.0, ()
    ),
    st.floats(0, 0.01),
    st.floats(0, 1e-8),
    st.floats(0, 3),
)


def boards(step_s: float, gradient_bytes: int) -> Measured:
    return Measured(
        run_ids=("made up",),
        emulated=False,
        gradient_bytes=gradient_bytes,
        total_parameters=gradient_bytes // 4 + 1,
        shapes=None,
        board_batch=64,
        train_images=6400,
        epochs=2,
        sharding="sharded",
        step_s=(step_s,),
    )


@given(st.builds(AllReduce, st.floats(0, 1), st.floats(0, 1e-6)), BYTES, BYTES, WORKERS, LINKS)
def test_more_bytes_never_take_less_time(all_reduce, few, more, workers, link):
    few, more = sorted((few, more))
    network = Network(link)
    assert 0 <= all_reduce.seconds(few, workers, network) <= all_reduce.seconds(more, workers, network) * SLACK
    assert all_reduce.seconds(more, 1, network) == 0


@given(SECONDS, BYTES, CONSTANTS, SYNCS, WORKERS, LINKS, LINKS)
def test_a_faster_link_never_makes_a_step_longer(step_s, gradient_bytes, found, sync, workers, slow, fast):
    slow, fast = sorted((slow, fast))
    measured = boards(step_s, gradient_bytes)
    slower, faster = (step(measured, found, sync, workers, Network(link)).total_s for link in (slow, fast))
    assert faster <= slower * SLACK


@given(SECONDS, BYTES, BYTES, CONSTANTS, SYNCS, WORKERS, LINKS)
def test_a_larger_gradient_never_makes_a_step_shorter(step_s, few, more, found, sync, workers, link):
    few, more = sorted((few, more))
    if sync.bucket_bytes:  # as many messages: a bucket more may hide more
        sync = dataclasses.replace(sync, bucket_bytes=0)
    smaller, larger = (step(boards(step_s, size), found, sync, workers, Network(link)).total_s for size in (few, more))
    assert smaller <= larger * SLACK


@given(SECONDS, BYTES, CONSTANTS, SYNCS, WORKERS, LINKS)
def test_boards_are_never_more_times_as_fast_as_they_are_many(step_s, gradient_bytes, found, sync, workers, link):
    measured = boards(step_s, gradient_bytes)
    # each board makes a step of the same size: their number times as fast, if it took no longer than alone
    together = step(measured, found, sync, workers, Network(link))
    assert together.total_s * SLACK >= step(measured, found, None, 1, Network(link)).total_s == step_s


@given(SECONDS, BYTES, CONSTANTS, KITS_OWN, WORKERS, LINKS)
def test_a_gradient_that_travels_behind_a_step_never_makes_it_longer(
    step_s, gradient_bytes, found, sync, workers, link
):
    at_once, later = (dataclasses.replace(sync, bucket_bytes=0, delay_steps=steps) for steps in (0, 1))
    measured = boards(step_s, gradient_bytes)
    waiting, hidden = (step(measured, found, it, workers, Network(link)).total_s for it in (at_once, later))
    assert hidden <= waiting * SLACK
