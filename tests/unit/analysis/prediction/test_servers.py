"""Bounds of training with parameter servers, and what was measured beside them."""

import json
import math

import pytest

from analysis.prediction.servers import bounds, exchanged, sent_bytes
from trainer.contract.config import parse
from trainer.contract.events import Epoch
from trainer.contract.run import Run

MODEL, COMPUTE_S, LINK = 11_724_176, 0.119, 1e9  # the paper's


def speedup(workers, dedicated):
    found = bounds(COMPUTE_S, MODEL, workers, dedicated, LINK)
    return [(workers - dedicated) * COMPUTE_S / seconds for seconds in (found.slowest_s, found.fastest_s)]


def test_the_papers_boards_with_servers():
    assert speedup(3, 1) == pytest.approx([0.75, 1.19], abs=0.005)
    assert speedup(2, 0) == pytest.approx([1.09, 2.0], abs=0.005)


def test_the_busiest_link_is_the_servers_or_every_boards():
    assert bounds(COMPUTE_S, MODEL, 3, 1, LINK).busiest_bytes == 2 * MODEL
    assert bounds(COMPUTE_S, MODEL, 4, 2, LINK).busiest_bytes == MODEL
    assert bounds(COMPUTE_S, MODEL, 2, 0, LINK).busiest_bytes == MODEL
    assert bounds(COMPUTE_S, MODEL, 4, 0, LINK).busiest_bytes == pytest.approx(1.5 * MODEL)


def test_one_board_moves_nothing_and_no_bound_beats_the_busiest_link():
    alone = bounds(COMPUTE_S, MODEL, 1, 0, LINK)
    assert (alone.slowest_s, alone.fastest_s, alone.busiest_bytes) == (COMPUTE_S, COMPUTE_S, 0)
    many = bounds(COMPUTE_S, MODEL, 9, 1, LINK)
    assert many.slowest_s == many.fastest_s == pytest.approx(8 * 8 * MODEL / 0.941e9)


def test_what_boards_send_follows_from_what_each_server_holds():
    assert sent_bytes([60, 40], 2, 0) == [40 + 60, 60 + 40]
    assert sent_bytes([50, 30, 20], 3, 0) == [50 + 100, 70 + 60, 80 + 40]
    assert sent_bytes([70, 30], 4, 2) == [100, 100, 140, 60]


def busiest(folder, **sent):
    """By what each board sent in each epoch of 10 steps; nothing: it left no records."""
    config = parse({"strategy": "parameter_server", "sync": {"method": "asynchronous"}})
    run = Run("r", "train", "x", len(sent), 1, list(sent), config, {}, "", None, None)
    for board, epochs in sent.items():
        if epochs:
            (folder / "boards" / board).mkdir(parents=True)
            whole = {**dict.fromkeys(Epoch.__annotations__, 1), "event": "epoch", "time_s": 1.0, "steps": 10}
            lines = [json.dumps({**whole, "epoch": n, "sent_bytes": it}) for n, it in enumerate(epochs, 1)]
            (folder / "boards" / board / "events.jsonl").write_text("\n".join([*lines, ""]))
    return exchanged(run, folder)[0]


def test_the_busiest_board_is_known_where_every_board_counted(tmp_path):
    assert busiest(tmp_path / "all", a=[999, 100, 300], b=[999, 500, 300]) == 2 * 800 / 40
    assert math.isnan(busiest(tmp_path / "one", a=[9, 500], b=[9, None]))
    assert math.isnan(busiest(tmp_path / "other", a=[9, None], b=[9, 500]))
    assert math.isnan(busiest(tmp_path / "lost", a=[9, 500], b=None)), "a worker that was lost with its board"
    assert math.isnan(busiest(tmp_path / "first", a=[9], b=[9]))
