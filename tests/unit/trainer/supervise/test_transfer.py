"""A checkpoint for a board that comes back: whole and unchanged, or none; strangers get nothing and give nothing."""

import os
import socket
import threading

import pytest

from trainer.contract.checkpoints import Place
from trainer.supervise import transfer
from trainer.supervise.transfer import fetch, serve

KEY = os.urandom(32)
CONTENT = os.urandom(300_000)
PLACE = Place(4, 80)


@pytest.fixture
def served(tmp_path):
    """Serve a checkpoint; call the result for what was left over."""
    path = tmp_path / "epoch-00004.npz"
    path.write_bytes(CONTENT)
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{found.getsockname()[1]}"
    left = []
    thread = threading.Thread(target=lambda: left.append(serve(address, path, PLACE, KEY, {1, 2}, 5.0)))
    thread.start()

    def ended():
        thread.join(20)
        return left[0]

    yield address, ended
    thread.join(20)


def test_each_board_gets_the_whole_checkpoint(served, tmp_path):
    address, ended = served
    for rank in (1, 2):
        path = tmp_path / f"{rank}/epoch-00004.npz"
        fetch(address, path, rank, PLACE, KEY, 5.0)
        assert path.read_bytes() == CONTENT
    assert ended() == set()


@pytest.mark.parametrize(
    ("rank", "place", "key"),
    [(1, PLACE, os.urandom(32)), (3, PLACE, KEY), (1, Place(5), KEY), (1, Place(4), KEY)],
    ids=["no key", "a stranger", "another", "one of the same epoch"],
)
def test_who_has_no_key_or_asks_for_something_else_gets_nothing(served, tmp_path, rank, place, key):
    address, ended = served
    with pytest.raises(OSError):
        fetch(address, tmp_path / "got/epoch-00004.npz", rank, place, key, 0.3)
    assert list(tmp_path.glob("got/*")) == []
    fetch(address, tmp_path / "own/epoch-00004.npz", 2, PLACE, KEY, 5.0)
    assert ended() == {1}, "the boards are served nevertheless"


def test_a_checkpoint_that_was_changed_on_its_way_is_not_taken(served, tmp_path, monkeypatch):
    address, _ = served
    exactly = transfer._exactly

    def changed(connection, count):
        content = exactly(connection, count)
        return bytes([content[0] ^ 1]) + content[1:] if count == transfer._PIECE else content

    monkeypatch.setattr(transfer, "_exactly", changed)
    with pytest.raises(OSError, match="changed on its way"):
        fetch(address, tmp_path / "got/epoch-00004.npz", 1, PLACE, KEY, 2.0)  # again and again
    assert list(tmp_path.glob("got/*")) == []
