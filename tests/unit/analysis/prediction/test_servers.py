"""Bounds of training with parameter servers, and what was measured beside them."""

import pytest

from analysis.prediction.servers import bounds, sent_bytes

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
