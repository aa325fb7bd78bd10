"""Heartbeats: what a supervisor concludes from what it hears, and from silence."""

import socket
import threading
import time

import pytest

from trainer.contract.cluster import Cluster
from trainer.supervise.peers import FAILED, INTERRUPTED, SUCCEEDED, Peers


def free_port():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


@pytest.fixture
def addresses():
    return [f"127.0.0.1:{free_port() - 1}" for _ in range(2)]


def peers(addresses, rank, run_id="run", silence_s=0.4):
    return Peers(Cluster(addresses, rank), ["a", "b"], run_id, silence_s)


def until_told(one, limit_s=5.0):
    deadline = time.monotonic() + limit_s
    while time.monotonic() < deadline:
        cause = one.exchange()
        if cause:
            return cause
        time.sleep(0.02)
    return None


@pytest.mark.parametrize(("state", "kind"), [(FAILED, "peer"), (INTERRUPTED, "interrupted")])
def test_the_last_word_of_another_board_is_heard(addresses, state, kind):
    a, b = peers(addresses, 0), peers(addresses, 1)
    b.farewell(state, "the disk is full")
    cause = until_told(a)
    assert cause.kind == kind and cause.sentence.endswith("the disk is full") and "because b " in cause.sentence


def test_a_board_that_falls_silent_is_cut_off_and_named(addresses):
    a, b = peers(addresses, 0), peers(addresses, 1)
    b.exchange()
    cause = until_told(a)
    assert cause.kind == "network" and "the network between a and b is down" in cause.sentence


def test_a_board_that_was_never_heard_may_be_behind_a_firewall(addresses):
    assert until_told(peers(addresses, 0), 1.0) is None


def test_a_board_that_succeeded_may_be_silent(addresses):
    a, b = peers(addresses, 0), peers(addresses, 1)
    b.exchange()
    b.farewell(SUCCEEDED, None)
    assert until_told(a, 1.0) is None


def test_another_run_is_not_listened_to(addresses):
    a, b = peers(addresses, 0), peers(addresses, 1, run_id="other")
    b.farewell(FAILED, "its own business")
    assert until_told(a, 0.5) is None


def test_boards_that_begin_one_after_the_other_go_on_together(addresses):
    a, went_on = peers(addresses, 0), []

    def early():
        a.meet(5.0)
        went_on.append(time.monotonic())

    waiting = threading.Thread(target=early)
    waiting.start()
    time.sleep(0.5)
    assert not went_on
    peers(addresses, 1).meet(5.0)
    went_on.append(time.monotonic())
    waiting.join()
    assert max(went_on) - min(went_on) < 0.3


def test_a_board_that_nobody_joins_goes_on_after_a_while(addresses):
    began = time.monotonic()
    assert peers(addresses, 0).meet(0.3) is None
    assert 0.3 <= time.monotonic() - began < 1


def test_a_board_does_not_begin_what_another_one_ended(addresses):
    a, b = peers(addresses, 0), peers(addresses, 1)
    b.farewell(FAILED, "no room")
    assert a.meet(5.0).kind == "peer"


def test_nothing_listens_wider_than_the_training_address(addresses):
    one = peers(addresses, 0)
    assert one._socket.getsockname()[0] == "127.0.0.1"
