"""Methods of synchronising, as two real processes with real collectives between them."""

import json
import os
import socket
import subprocess

import numpy as np
import pytest

from tests import PROJECT
from trainer.contract.choice import TIMED

pytestmark = pytest.mark.tensorflow


def free_ports() -> list[int]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(2)]
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


@pytest.fixture(scope="module")
def boards(tmp_path_factory):
    """What each of two boards has after every scenario: final weights, and records."""
    folder = tmp_path_factory.mktemp("sync")
    addresses = [f"127.0.0.1:{port}" for port in free_ports()]
    files = [folder / f"{rank}.npz" for rank in range(2)]
    boards = [
        subprocess.Popen(
            [PROJECT / ".board-venv/bin/python", "tests/contract/two_boards.py", str(rank), *addresses, files[rank]],
            cwd=PROJECT,
            env={**os.environ, "PYTHONPATH": str(PROJECT), "TF_CPP_MIN_LOG_LEVEL": "2"},
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]
    try:
        for board in boards:
            _, errors = board.communicate(timeout=500)
            assert board.returncode == 0, errors[-3000:]
    finally:
        for board in boards:
            board.kill()
    return [dict(np.load(path)) for path in files]


@pytest.fixture(scope="module")
def weights(boards):
    return [{method: values for method, values in board.items() if method != "records"} for board in boards]


@pytest.fixture(scope="module")
def records(boards):
    return [json.loads(str(board["records"])) for board in boards]


def test_boards_end_with_the_same_weights(weights):
    first, second = weights
    for method in first:
        np.testing.assert_allclose(first[method], second[method], atol=2e-6, err_msg=method)
    for method in ("local_sgd", "local_sgd, outer", "local_sgd, rest"):  # they take over the last average
        np.testing.assert_array_equal(first[method], second[method], err_msg=method)


def test_a_board_that_takes_longer_makes_fewer_steps_and_as_many_averages(records):
    for board, steps in zip(records, (30, 10), strict=True):
        found = board["local_sgd, measured"]["records"]
        assert [(it["epoch"], it["steps"]) for it in found if it["event"] == "pace"] == [(2, [30, 10])]
        begun = [it["step"] for it in found if it["event"] == "average"]
        assert begun == [4, 8, 12, 16, 20, *(20 + steps * part // 5 for part in range(1, 11))]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("allreduce, host", "allreduce"),
        ("allreduce, whole steps", "allreduce"),
        ("allreduce, five a call", "allreduce"),
        ("accumulated, five a call", "accumulated"),
        ("local_sgd, host", "local_sgd, in line"),
        ("local_sgd, whole steps", "local_sgd, in line"),
        ("local_sgd, five a call", "local_sgd, in line"),
    ],
)
def test_how_steps_are_made_and_timed_changes_no_weights(weights, records, one, other):
    assert difference(weights, one, other) < 1e-6
    assert payload(records, one) == payload(records, other)


@pytest.mark.parametrize(("method", "within"), [("powersgd, overflow", 1e-5), ("powersgd, overflow in float16", 2e-3)])
def test_powersgd_goes_on_after_an_overflow(weights, method, within):
    assert difference(weights, "allreduce, overflow", "allreduce") > 1e-3, "steps were skipped"
    assert np.isfinite(weights[0][method]).all()
    assert difference(weights, method, "allreduce, overflow") < within


def test_without_times_of_steps_nothing_is_made_up(records):
    for method in ("allreduce, whole steps", "local_sgd, whole steps"):
        split = records[0][method]["split"]
        assert [split.pop("payload_bytes") > 0, *split.values()] == [True, None, None, None]
    for average in records[0]["local_sgd, whole steps"]["records"]:
        assert average["travel_s"] is None is average["waiting_s"] and average["stall_s"] > 0


def difference(weights, method, other):
    return np.abs(weights[0][method] - weights[0][other]).max()


def test_something_was_learned(weights):
    assert difference(weights, "one board", "float16, large gradient") > 1e-2


def test_allreduce_on_two_boards_is_one_board_with_twice_the_batch(weights):
    assert difference(weights, "allreduce", "one board") < 1e-5


def test_buckets_change_nothing(weights):
    assert difference(weights, "buckets", "allreduce") < 1e-6


@pytest.mark.parametrize("method", ["proportional", "local_sgd, proportional"])
def test_a_board_with_larger_batches_counts_more(weights, method):
    assert difference(weights, method, "one board") < 1e-5


def test_powersgd_of_full_rank_is_allreduce(weights):
    assert difference(weights, "powersgd, full rank", "allreduce") < 1e-5


def test_powersgd_of_low_rank_is_not(weights):
    assert 1e-4 < difference(weights, "powersgd", "allreduce") < 5e-2
    assert difference(weights, "powersgd, warm", "allreduce") < 1e-5


def test_accumulated_batches_make_fewer_and_larger_steps(weights, records):
    assert difference(weights, "accumulated", "allreduce") > 1e-3
    # 20 batches, 3 at a time: 6 steps, and one of the last two batches
    assert payload(records, "accumulated") / payload(records, "allreduce") == pytest.approx(7 / 20)


@pytest.mark.parametrize(
    ("method", "by_hand"),
    [
        ("delayed", "delayed by hand"),
        ("delayed, accumulated", "delayed by hand, accumulated"),
        ("delayed, powersgd", "delayed by hand"),
        ("delayed, powersgd, warm", "delayed by hand"),
        ("delayed, local_sgd, warm", "delayed by hand"),
        ("delayed, then local_sgd", "delayed by hand, then not"),
    ],
)
def test_a_delayed_gradient_is_applied_when_the_next_one_is_computed(weights, method, by_hand):
    assert difference(weights, method, by_hand) < 1e-5
    assert difference(weights, method, "allreduce") > 1e-4


def test_a_delayed_gradient_travels_while_the_next_one_is_computed(records):
    split = records[0]["delayed"]["split"]
    assert split["overlapped_s"] > split["communication_s"]
    assert payload(records, "delayed") == payload(records, "allreduce") == 2 * payload(records, "delayed, whole steps")
    assert payload(records, "delayed, accumulated") == payload(records, "accumulated")
    assert records[0]["delayed, whole steps"]["split"]["overlapped_s"] is None


def test_local_sgd_that_averages_every_step_is_allreduce(weights):
    assert difference(weights, "local_sgd, period 1", "allreduce") < 1e-5


def test_a_warm_up_that_lasts_is_allreduce(weights):
    assert difference(weights, "local_sgd, warm", "allreduce") < 1e-5


def test_local_sgd_is_near_allreduce_and_not_the_same(weights):
    assert 1e-5 < difference(weights, "local_sgd", "allreduce") < 5e-2


@pytest.mark.parametrize(("method", "within"), [("float16", 2e-3), ("bfloat16", 1e-2)])
def test_short_numbers_lose_little(weights, method, within):
    assert 0 < difference(weights, method, "allreduce") < within


def test_a_large_gradient_stays_finite_in_float16(weights):
    assert np.isfinite(weights[0]["float16, large gradient"]).all()


def payload(records, method):
    return records[0][method]["split"]["payload_bytes"]


def test_what_is_handed_to_collectives_is_counted(records):
    parameters = records[0]["allreduce"]["split"]["payload_bytes"] / 4 / 20
    assert parameters == 3 * 3 * 3 * 8 + 8 + 2 * 2 * 8 * 5 + 5
    assert payload(records, "buckets") == payload(records, "allreduce") == 2 * payload(records, "float16")
    # 20 steps: an average every 4; every 7, and one at the end
    assert payload(records, "local_sgd, in line") == 5 * 4 * parameters
    assert payload(records, "local_sgd") == 5 * 2 * parameters
    assert payload(records, "local_sgd, rest") == 3 * 4 * parameters
    assert payload(records, "one board") == 0


def test_time_is_split(records):
    timed = {method: record for method, record in records[0].items() if "whole steps" not in method}
    for method, record in timed.items():
        split = record["split"]
        assert split["communication_s"] >= 0, method
        assert (split["waiting_s"] is None) == (method == "buckets")  # what overlaps cannot be told apart
    assert records[0]["allreduce"]["split"]["communication_s"] > 0
    assert records[0]["buckets"]["split"]["communication_s"] > 0
    assert (
        records[0]["local_sgd, in line"]["split"]["overlapped_s"]
        == 0
        < records[0]["local_sgd"]["split"]["overlapped_s"]
    )


def test_every_average_records_how_far_the_boards_were_apart(records):
    averages = records[0]["local_sgd, in line"]["records"]
    assert [record["step"] for record in averages] == [4, 8, 12, 16, 20]
    assert [record["step"] for record in records[0]["local_sgd, rest"]["records"]] == [7, 14, 20]
    # the warm-up's averages end with its last step, from which the others are counted
    often = records[0]["local_sgd, often at first"]
    assert [record["step"] for record in often["records"]] == [1, 3, 5, 7, 13, 19, 20]
    assert often["split"]["payload_bytes"] == 7 * records[0]["local_sgd"]["split"]["payload_bytes"] / 5
    assert all(record["distance"] > 0 and record["moved"] > 0 for record in averages)
    # two boards are equally far from their mean
    others = records[1]["local_sgd, in line"]["records"]
    assert [record["distance"] for record in averages] == pytest.approx([record["distance"] for record in others])


def test_an_outer_momentum_moves_further(weights):
    assert difference(weights, "local_sgd, outer", "local_sgd, in line") > 1e-3


def test_auto_takes_the_least_lossy_method_that_is_efficient_enough(records):
    for board in records:
        (undemanding,) = board["auto, undemanding"]["records"]
        assert (undemanding["method"], undemanding["gradient_dtype"]) == ("allreduce", "float32")
        demanding = board["auto"]["records"][0]
        assert demanding["method"] == "local_sgd"
        assert demanding["period"] == 8, "the longest that it may choose"
        assert all(demanding["extra_s"][name] > 0 and name in demanding["reason"] for name in TIMED)
    # both boards decide from the same numbers
    assert records[0]["auto"]["records"][0] == records[1]["auto"]["records"][0]
