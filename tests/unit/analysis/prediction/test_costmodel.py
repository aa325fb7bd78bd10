"""The arithmetic of training on several boards, and how near it is to measurements."""

import dataclasses
import math

import pytest

from analysis.prediction.allreduce import GOODPUT, AllReduce, Network, Point, fit, wire_bytes
from analysis.prediction.costmodel import (
    Constants,
    break_even_link,
    break_even_period,
    chosen,
    constants,
    expected_maximum,
    step,
)
from analysis.prediction.measured import Measured, Timed
from analysis.prediction.mobilenet import backbone, elements, head
from benchmarks.docs.figures import DOCS
from benchmarks.docs.scaling import bench, load, validation
from trainer.contract.lowrank import low_rank_elements
from trainer.contract.methods import KERAS_METRICS
from trainer.contract.sections import Sync

LINK = 1e9
NETWORK = Network(LINK)
MODEL = Measured(
    run_ids=("made up",),
    emulated=True,
    gradient_bytes=10_000_000,
    total_parameters=2_600_000,
    shapes=None,
    board_batch=64,
    train_images=6400,
    epochs=2,
    sharding="sharded",
    step_s=(0.1,),
)
FREE = Constants(AllReduce(0.0, 0.0), 0.0, {}, {}, 0.0, 0.0, ())
FLOAT32 = Sync(method="allreduce", gradient_dtype="float32")
LOCAL = Sync(method="local_sgd", period=16)


def wire_s(payload_bytes, workers=2, link=LINK):
    return 8 * wire_bytes(payload_bytes, workers) / (GOODPUT * link)


def test_a_ring_sends_twice_the_payload_at_most_and_ever_more_messages():
    ring = AllReduce(latency_s=0.001, per_byte_s=0.0)
    assert ring.seconds(1e6, 1, NETWORK) == 0
    assert ring.seconds(1e6, 2, NETWORK) == pytest.approx(0.002 + wire_s(1e6))
    assert ring.seconds(1e6, 1000, NETWORK) == pytest.approx(1.998 + 2 * 0.999 * wire_s(1e6))


def test_a_ring_in_order_needs_an_uplink_for_one_flow_and_a_scattered_one_for_all():
    free = AllReduce(0.0, 0.0)
    one_switch = free.seconds(1e6, 32, NETWORK)
    several = Network(LINK, switch_ports=8, uplink_bit_per_s=LINK)
    assert free.seconds(1e6, 32, several) == one_switch
    assert free.seconds(1e6, 32, dataclasses.replace(several, scattered=True)) == pytest.approx(8 * one_switch)
    assert free.seconds(1e6, 8, dataclasses.replace(several, scattered=True)) == free.seconds(1e6, 8, NETWORK)


def test_two_levels_send_the_same_bytes_in_fewer_messages():
    levels = Network(LINK, switch_ports=8, uplink_bit_per_s=8 * LINK, hierarchical=True)
    assert AllReduce(0.0, 0.0).seconds(1e6, 64, levels) == pytest.approx(AllReduce(0.0, 0.0).seconds(1e6, 64, NETWORK))
    latency = AllReduce(0.001, 0.0)
    assert latency.seconds(0, 64, NETWORK) == pytest.approx(0.126)
    assert latency.seconds(0, 64, levels) == pytest.approx(0.028)
    slow = dataclasses.replace(levels, uplink_bit_per_s=LINK)
    assert AllReduce(0.0, 0.0).seconds(1e6, 64, slow) == pytest.approx(wire_s(1e6, 8) + 8 * wire_s(1e6 / 8, 8))


def test_constants_are_found_again_from_the_times_that_follow_from_them():
    true = AllReduce(0.0007, 2e-9)
    points = [
        Point(size, true.seconds(size, workers, Network(link)), workers, link)
        for size, workers, link in ((7e4, 2, 1e9), (6e6, 2, 1e9), (1.2e7, 4, 2e8))
    ]
    found = fit(points)
    assert found.latency_s == pytest.approx(true.latency_s)
    assert found.per_byte_s == pytest.approx(true.per_byte_s)


def test_one_size_tells_no_latency_and_a_burst_no_time_per_byte():
    alone = fit([Point(1.2e7, wire_s(1.2e7) + 0.05, 2, LINK)])
    assert (alone.latency_s, alone.per_byte_s) == (0, pytest.approx(0.05 / 1.2e7))
    burst = fit([Point(1e5, 0.002, 2, 1e8), Point(1.2e7, wire_s(1.2e7, link=1e8), 2, 1e8)])
    assert burst.latency_s == pytest.approx(0.001, rel=0.01)


def test_the_model_is_counted_as_the_boards_count_it():
    shapes = [*backbone(), *head(classes=100, dense_units=512)]
    assert elements(shapes) == 2_931_044  # trainable_parameters of a start record
    assert 2 * sum(low_rank_elements(shapes, 4)) == 295_936  # payload_bytes of a trial's powersgd, in float16


def test_the_slowest_of_many_is_later_the_more_there_are():
    exact = {2: 1 / math.sqrt(math.pi), 3: 3 / (2 * math.sqrt(math.pi)), 100: 2.5076}
    assert expected_maximum(1) == pytest.approx(0, abs=1e-9)
    for count, value in exact.items():
        assert expected_maximum(count) == pytest.approx(value, rel=0.05)


def test_one_board_exchanges_nothing_and_a_float16_gradient_takes_half_the_time():
    assert step(MODEL, FREE, FLOAT32, 1, NETWORK).total_s == 0.1
    whole = step(MODEL, FREE, FLOAT32, 2, NETWORK)
    assert whole.communication_s == pytest.approx(wire_s(10_000_000))
    half = step(MODEL, FREE, Sync(method="allreduce"), 2, NETWORK)
    assert half.communication_s == pytest.approx(whole.communication_s / 2)
    every = step(MODEL, FREE, dataclasses.replace(FLOAT32, accumulate_steps=4), 2, NETWORK)
    assert every.communication_s == pytest.approx(whole.communication_s / 4)


def test_buckets_hide_behind_the_backward_pass_and_never_their_last_one():
    slow = step(MODEL, FREE, dataclasses.replace(FLOAT32, bucket_bytes=1_000_000), 2, NETWORK)
    assert slow.communication_s == pytest.approx(wire_s(10_000_000) - 2 / 3 * 0.1 * 0.9)
    fast = step(MODEL, FREE, dataclasses.replace(FLOAT32, bucket_bytes=1_000_000), 2, Network(1e10))
    assert fast.communication_s == pytest.approx(wire_s(10_000_000, link=1e10) / 10)


@pytest.mark.parametrize(
    ("sync", "in_a_row"),
    [
        (Sync(), 7),
        (Sync(metrics="epoch"), 1),
        (FLOAT32, 2),
        (dataclasses.replace(FLOAT32, step_times=False), 1),
        (Sync(method="powersgd"), 3),
    ],
)
def test_every_collective_of_a_step_costs_the_latency_of_a_ring(sync, in_a_row):
    late = dataclasses.replace(FREE, all_reduce=AllReduce(0.001, 0.0))
    shaped = dataclasses.replace(MODEL, shapes=((1000, 1000), (1000,)))
    on_time = step(shaped, FREE, sync, 64, NETWORK).communication_s
    assert step(shaped, late, sync, 64, NETWORK).communication_s - on_time == pytest.approx(in_a_row * 2 * 63 * 0.001)


@pytest.mark.parametrize("timed", [0, 4 * KERAS_METRICS])
def test_steps_of_fit_are_found_again_whether_or_not_the_small_collectives_were_timed(timed):
    """Older versions timed the gradient's alone; the others were a part of the step's rest."""
    alone, small_s = wire_s(10_000_000) + 0.002, KERAS_METRICS * 2 * 0.001
    of_ring = [Point(size, wire_s(size) + 0.002, 2, LINK) for size in (1e5, 1e7)]
    told_s = 1.1 * alone + (small_s if timed else 0.0)
    step_s = 0.11 + 1.1 * alone + small_s + 0.02
    it = Timed(Sync(), 2, LINK, step_s, communication_s=told_s, payload_bytes=10_000_000 + timed)
    measured = dataclasses.replace(MODEL, together_step_s=(0.11, 0.11), points=tuple(of_ring), timed=(it,))
    found = constants(measured)
    assert found.overhead_s["keras"] == pytest.approx(0.02, rel=0.01)
    assert step(measured, found, Sync(), 2, NETWORK).total_s == pytest.approx(step_s, rel=0.01)


def test_the_slowest_board_decides_and_a_period_evens_out_what_varies():
    boards = dataclasses.replace(MODEL, step_s=(0.1, 0.12))
    varied = dataclasses.replace(FREE, spread_s=0.01)
    together = step(boards, varied, FLOAT32, 2, NETWORK)
    assert together.compute_s == pytest.approx(0.11)
    assert together.waiting_s == pytest.approx(0.01 + 0.01 * expected_maximum(2))
    in_line = dataclasses.replace(LOCAL, overlap=False)
    assert step(boards, varied, in_line, 2, NETWORK).waiting_s == pytest.approx(0.01 + 0.01 * expected_maximum(2) / 4)
    assert step(boards, varied, LOCAL, 2, NETWORK).waiting_s == pytest.approx(0.01)


def test_an_average_is_hidden_until_it_takes_longer_than_a_period():
    assert step(MODEL, FREE, LOCAL, 2, NETWORK).total_s == pytest.approx(0.1)
    link = 8 * 2 * 2_600_000 / (GOODPUT * 2.0)  # two seconds an average, of which 1.6 pass while steps compute
    assert step(MODEL, FREE, LOCAL, 2, Network(link)).communication_s == pytest.approx(0.4 / 16)
    in_line = dataclasses.replace(LOCAL, overlap=False)
    assert step(MODEL, FREE, in_line, 2, Network(link)).communication_s == pytest.approx(2.0 / 16)


def test_powersgd_on_a_model_of_unknown_shapes_is_not_known():
    assert math.isnan(step(MODEL, FREE, Sync(method="powersgd"), 2, NETWORK).total_s)


def test_boards_are_even_at_the_break_even_link():
    link = break_even_link(MODEL, FREE, FLOAT32, 2, NETWORK)
    assert link == pytest.approx(8 * 10_000_000 / (GOODPUT * 0.1), rel=1e-4)
    assert step(MODEL, FREE, FLOAT32, 2, Network(link)).total_s == pytest.approx(2 * 0.1, rel=1e-4)
    stuck = dataclasses.replace(FREE, overhead_s={"allreduce": 0.2})
    assert break_even_link(MODEL, stuck, FLOAT32, 2, NETWORK) is None


def test_the_break_even_period_is_the_shortest_that_reaches_the_efficiency():
    found = dataclasses.replace(FREE, average_cpu_s=0.05)
    period = break_even_period(MODEL, found, LOCAL, 2, NETWORK, 0.95)
    efficient = [
        0.1 / step(MODEL, found, dataclasses.replace(LOCAL, period=it), 2, NETWORK).total_s
        for it in (period - 1, period)
    ]
    assert efficient[0] < 0.95 <= efficient[1]


def test_what_auto_would_choose_is_less_lossy_on_a_faster_link():
    assert chosen(MODEL, FREE, 2, NETWORK, Sync()).method == "local_sgd"
    assert chosen(MODEL, FREE, 2, Network(1e11), Sync()).gradient_dtype == "float32"


def test_what_was_not_measured_is_said():
    missing = constants(MODEL).missing
    assert any(sentence.startswith("an all-reduce (") for sentence in missing)
    assert any("the cost of keras" in sentence for sentence in missing)
    assert constants(bench(load(DOCS), "1 Gbit/s")).missing == ()


ACCUMULATED = dataclasses.replace(FLOAT32, accumulate_steps=4)
BUCKETS = dataclasses.replace(FLOAT32, bucket_bytes=1_000_000)


@pytest.mark.parametrize(
    ("sync", "tells", "of_an_all_reduce"),
    [
        (Sync(), True, True),
        (Sync(bytes_per_pack=1_000_000), False, False),
        (FLOAT32, True, True),
        (BUCKETS, False, False),
        (ACCUMULATED, False, False),
        (Sync(method="powersgd"), True, False),
        (LOCAL, False, False),
        (Sync(method="auto"), False, False),
    ],
)
def test_one_exchange_a_step_that_nothing_hides_tells_what_a_method_costs(sync, tells, of_an_all_reduce):
    timed = Timed(sync, 2, LINK, step_s=0.2, communication_s=0.05, waiting_s=0.01)
    found = constants(dataclasses.replace(MODEL, shapes=((1000, 1000), (1000,)), timed=(timed,)))
    assert (sync.method in found.overhead_s) == tells
    assert any(it.startswith("an all-reduce (") for it in found.missing) != of_an_all_reduce


def test_steps_that_were_timed_follow_from_their_own_constants():
    at = wire_s(10_000_000) + 0.02
    timed = Timed(Sync(), 2, LINK, step_s=0.11 + at, communication_s=at)
    measured = dataclasses.replace(MODEL, together_step_s=(0.11, 0.11), timed=(timed,))
    assert step(measured, constants(measured), Sync(), 2, NETWORK).total_s == pytest.approx(timed.step_s)


def test_each_link_predicts_the_other_within_nine_percent():
    table = validation(load(DOCS))
    assert len(table) == 12
    assert table["step_error"].abs().max() < 0.09
    assert table["speedup_error"].abs().max() < 0.07


def test_what_fit_stretches_an_all_reduce_by_grows_with_its_bytes():
    at = wire_s(10_000_000)
    timed = Timed(Sync(), 2, LINK, step_s=0.13 + 1.5 * at, communication_s=1.5 * at)
    measured = dataclasses.replace(MODEL, points=(Point(10_000_000, at, 2, LINK),), timed=(timed,))
    found = constants(measured)
    assert (found.stretch["keras"], found.overhead_s["keras"]) == (pytest.approx(1.5), pytest.approx(0.03))
    slower = step(measured, found, Sync(), 2, Network(LINK / 10))
    assert slower.total_s == pytest.approx(0.13 + 15 * at)
