"""A host as the witness: it names one board for each generation, whoever asks again and whatever is lost."""

import os
import socket
import threading
import time

import pytest

from trainer.supervise.witness import Host, answer, serve

KEY = os.urandom(32)


@pytest.fixture
def address(tmp_path):
    """Of a witness that answers for longer than a test lasts."""
    listener = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    listener.bind(("127.0.0.1", 0))
    threading.Thread(target=serve, args=(tmp_path, KEY, listener, 60.0), daemon=True).start()
    return f"127.0.0.1:{listener.getsockname()[1]}"


def told(host, number, limit_s=10.0):
    """What it says about a generation, once it says something."""
    end = time.monotonic() + limit_s
    while time.monotonic() < end:
        named = host.named(number, True, time.monotonic())
        if named is not None:
            return named
        time.sleep(0.01)
    return None


def test_the_first_board_that_asks_is_named_for_a_generation_and_no_other(address):
    first, second = Host(1, address, KEY), Host(0, address, KEY)
    assert told(first, 2) == 1
    assert told(second, 2) == 1 and told(second, 3) == 0
    assert told(Host(1, address, KEY), 3) == 0, "also after a restart"


def test_a_board_that_does_not_ask_is_not_named(address):
    host = Host(1, address, KEY)
    assert host.named(2, False, time.monotonic()) is None
    time.sleep(0.1)
    assert host.named(2, False, time.monotonic()) is None
    assert told(Host(0, address, KEY), 2) == 0


def test_who_has_no_key_gets_no_answer_and_is_not_believed(tmp_path):
    assert answer(tmp_path, KEY, b"") is None and answer(tmp_path, KEY, os.urandom(54)) is None
    stranger = Host(0, "127.0.0.1:9", os.urandom(32))
    sent = []
    stranger._socket = type("Socket", (), {"sendto": lambda _, *to: sent.append(to), "recv": _nothing})()
    stranger.named(2, True, 100.0)
    assert answer(tmp_path, KEY, sent[0][0]) is None and list(tmp_path.iterdir()) == []
    right = Host(0, "127.0.0.1:9", KEY)
    right._socket = stranger._socket
    right.named(2, True, 100.0)
    assert answer(tmp_path, KEY, sent[1][0][:-1]) is None
    assert answer(tmp_path, KEY, sent[1][0]) is not None
    replies = [sent[1][0], answer(tmp_path, os.urandom(32), sent[1][0]) or b"", os.urandom(54)]
    right._socket = type("Socket", (), {"sendto": lambda *_: None, "recv": lambda *_: _next(replies)})()
    assert right.named(2, False, 101.0) is None, "a question is no answer"


def test_an_answer_to_another_start_is_not_believed(tmp_path):
    sent = []
    earlier, later = Host(0, "127.0.0.1:9", KEY), Host(0, "127.0.0.1:9", KEY)
    earlier._socket = type("Socket", (), {"sendto": lambda _, *to: sent.append(to), "recv": _nothing})()
    earlier.named(2, True, 100.0)
    replies = [answer(tmp_path, KEY, sent[0][0])]
    later._socket = type("Socket", (), {"sendto": lambda *_: None, "recv": lambda *_: _next(replies)})()
    assert later.named(2, False, 100.0) is None


def _nothing(*_):
    raise BlockingIOError


def _next(replies):
    if not replies:
        raise BlockingIOError
    return replies.pop(0)
