"""Heartbeats: what a supervisor concludes from what it hears, and from silence; strangers change neither."""

import json
import os
import socket
import threading
import time

import pytest

from trainer.contract.causes import Cause
from trainer.contract.cluster import Cluster
from trainer.supervise import peers as module
from trainer.supervise.peers import FAILED, INTERRUPTED, RUNNING, SUCCEEDED, Peers

KEY = bytes(range(32))


def free_port():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


@pytest.fixture
def addresses():
    return [f"127.0.0.1:{free_port() - 1}" for _ in range(2)]


def peers(addresses, rank, key=KEY, silence_s=0.4):
    return Peers(Cluster(addresses, rank), ["a", "b"], key, silence_s)


class Tap:
    """A socket whose datagrams are kept, and sent only while it is `open`."""

    def __init__(self, inner):
        self._inner, self.sent, self.open = inner, [], True

    def __getattr__(self, name):
        return getattr(self._inner, name)

    def sendto(self, datagram, address):
        self.sent.append(datagram)
        if self.open:
            self._inner.sendto(datagram, address)


def tapped(one):
    one._socket = Tap(one._socket)
    return one._socket


def send(datagrams, address):
    """Send them to a board, as anybody can."""
    host, _, port = address.rpartition(":")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger:
        for datagram in datagrams:
            stranger.sendto(datagram, (host, int(port) + 1))


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
    """Nor an earlier start of this one: each has a key of its own."""
    a, b = peers(addresses, 0), peers(addresses, 1, key=KEY[::-1])
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


@pytest.mark.parametrize("key", [b"", KEY[:-1], KEY + b"x"], ids=["none", "short", "long"])
def test_without_a_whole_key_there_are_no_heartbeats(addresses, key):
    with pytest.raises(ValueError, match=f"has {len(key)} bytes instead of 32"):
        peers(addresses, 0, key=key)


def test_a_cause_of_any_length_is_told_as_far_as_it_fits(addresses):
    a, b = peers(addresses, 0), peers(addresses, 1)
    b.farewell(FAILED, "ü" * 5000)
    told = until_told(a).sentence
    assert told.startswith("stopped, because b failed: üüü") and 500 < len(told) < 600


def test_a_message_is_heard_once_and_an_older_one_never(addresses):
    a, b = peers(addresses, 0), peers(addresses, 1)
    tap = tapped(b)
    for _ in range(3):
        b._send(RUNNING, None, [0])
    assert [a._opened(datagram) is not None for datagram in [*tap.sent[1:], *tap.sent]] == [True, True, *[False] * 3]


def test_a_restarted_supervisor_is_heard_and_its_earlier_start_no_more(addresses):
    a, b = peers(addresses, 0), peers(addresses, 1)
    before = tapped(b)
    for _ in range(50):
        b._send(RUNNING, None, [0])
    assert a._opened(before.sent[40])
    b._socket.close()
    again = peers(addresses, 1)
    after = tapped(again)
    again._send(RUNNING, None, [0])
    assert a._opened(after.sent[0]) and not a._opened(before.sent[49])


def forgeries(addresses):
    """Whatever a stranger may send to `a` as if it were `b`, who is dead: by what it is."""
    a, b, other = peers(addresses, 0), peers(addresses, 1), None
    own, heard = tapped(a), tapped(b)
    own.open = heard.open = False
    for one in (a, b):
        one._send(RUNNING, None, list(one._addresses))
        one._socket.close()
    other = peers(addresses, 1, key=KEY[::-1])
    unkeyed = tapped(other)
    unkeyed.open = False
    for state in (RUNNING, SUCCEEDED, FAILED, INTERRUPTED):
        other._send(state, "forged", [0])
    other._socket.close()
    (mine,), (genuine,) = own.sent, heard.sent
    word = {"run_id": "run", "rank": 1, "state": "running", "cause": None}
    return genuine, {
        "with another key": unkeyed.sent,
        "of itself": [mine],
        "heard before": [genuine],
        "changed": [genuine[:n] + bytes([genuine[n] ^ 1]) + genuine[n + 1 :] for n in range(len(genuine))],
        "cut": [genuine[:n] for n in range(len(genuine))],
        "with more": [genuine + b"x", genuine + bytes(2000)],
        "of the version before": [json.dumps({**word, "state": state}).encode() for state in (RUNNING, FAILED)],
        "nested": [b"[" * 2048, b"[" * 60_000],
        "random": [os.urandom(n) for n in range(1500)],
        "empty": [b""],
    }


KINDS = ["with another key", "of itself", "heard before", "changed", "cut", "with more", "of the version before"]
KINDS += ["nested", "random", "empty"]


@pytest.mark.parametrize("kind", KINDS)
def test_forged_heartbeats_neither_end_a_board_nor_keep_a_dead_one_alive(addresses, kind):
    genuine, forged = forgeries(addresses)
    assert sorted(forged) == sorted(KINDS)
    a = peers(addresses, 0)
    send([genuine], addresses[0])
    began = time.monotonic()
    cause = None
    while cause is None:
        assert time.monotonic() - began < 5
        send(forged[kind], addresses[0])
        cause = a.exchange()
    assert cause.kind == "network" and "no word from b" in cause.sentence
    assert time.monotonic() - began < 2


def test_a_flood_takes_a_bounded_time_of_each_look(addresses):
    a = peers(addresses, 0)

    class Flood(Tap):
        received = 0

        def recv(self, size):
            self.received += 1
            return os.urandom(size)

    a._socket = Flood(a._socket)
    assert a.exchange() is None
    assert a._socket.received == module._MOST


def test_the_others_go_on_without_a_board_that_can_be_done_without(addresses, capsys):
    one = Peers(Cluster(addresses, 0), ["a", "b"], KEY, 0.2, spare=[1])
    one.begun = True
    other = peers(addresses, 1)
    other.exchange()
    assert one.exchange() is None
    other.farewell(FAILED, "its worker was killed")
    assert one.exchange() is None and "b failed: its worker was killed; the others go on" in capsys.readouterr().err
    assert one.exchange() is None


def test_silence_of_such_a_board_is_no_cause_either(addresses, capsys):
    one = Peers(Cluster(addresses, 0), ["a", "b"], KEY, 0.2, spare=[1])
    one.begun = True
    other = peers(addresses, 1)
    other.exchange()
    one.exchange()
    time.sleep(0.3)
    assert one.exchange() is None and "no word from b" in capsys.readouterr().err


def test_before_training_has_begun_no_board_can_be_done_without(addresses):
    one, other = Peers(Cluster(addresses, 0), ["a", "b"], KEY, 0.2, spare=[1]), peers(addresses, 1)
    other.farewell(FAILED, "its worker was killed")
    assert one.exchange() == Cause("peer", "stopped, because b failed: its worker was killed")
