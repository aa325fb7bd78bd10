"""Alerts of a live view: sentences with the board and the value."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Sequence

from analysis.runs import throttling
from analysis.watch.board import Board
from trainer.contract.reading import is_number

# Jetson AGX Orin's software lowers clocks at 99 C and switches off at 104.5 C: the trip points cpu-sw-throttle and
# cpu-sw-shutdown of the module P3701-0000 in NVIDIA's "arm64: tegra: Add thermal support for Tegra234" (linux-tegra,
# 24 January 2023). Not every kernel has a device that reports it, so these alerts warn when it is near or likely:
# sensors and trip points are at different places on the chip.
HOT_C = 95.0
_WARM_C = 85.0
_SLOWED = 1.2  # ratio to the board's earlier steps
_SLOWER = 1.15  # ratio to the other boards' steps
_KNOWN = 3  # windows needed for a board's usual step time
SILENT_S = 30.0
DRIFT_S = 0.1


def alerts(boards: Sequence[Board], now_s: float | None) -> list[str]:
    """A sentence for each problem; `now_s` is the monotonic time, or null for a run that has ended."""
    found: list[str] = []
    for board in boards:
        if now_s is not None:
            found += _silence(board, now_s)
            found += _heat(board)
        found += throttling.sentences(board.name, board.throttling)
        found += _slower(board, [other for other in boards if other is not board])
        found += _clock(board)
        if board.odd_lines:
            found.append(f"{board.name}: {board.odd_lines} lines of its records cannot be read")
    return found


def _silence(board: Board, now_s: float) -> Iterator[str]:
    if board.result is not None:
        return
    if board.lost_at_s is not None:
        yield f"{board.name} has been unreachable for {now_s - board.lost_at_s:.0f} s: {board.lost_why}"
    elif board.state == "training":  # the first step takes long: it is traced
        if now_s - board.moved_at_s > SILENT_S:
            yield f"{board.name} has made no step and no record for {now_s - board.moved_at_s:.0f} s"
        if now_s - board.sampled_at_s > SILENT_S:
            yield f"{board.name} has sent no telemetry for {now_s - board.sampled_at_s:.0f} s"


def _heat(board: Board) -> Iterator[str]:
    celsius = board.load.hottest_c if board.load else None
    if celsius is None:
        return
    if celsius > HOT_C:
        yield f"{board.name} is at {celsius:.1f} C: an Orin throttles at 99 C"
    *before, last = board.compute_s or [0.0]
    if celsius > _WARM_C and len(before) >= _KNOWN and last > _SLOWED * statistics.median(before):
        slower = last / statistics.median(before) - 1
        yield f"{board.name} computes {slower:.0%} longer per step than before, at {celsius:.1f} C: it may be throttled"


def _slower(board: Board, others: Sequence[Board]) -> Iterator[str]:
    of_others = [other.recent_compute_s for other in others if len(other.compute_s) >= _KNOWN]
    if len(board.compute_s) < _KNOWN or not of_others:
        return
    own, usual = board.recent_compute_s, statistics.median(it for it in of_others if it is not None)
    if own is not None and usual > 0 and own > _SLOWER * usual:
        yield f"{board.name} computes {1000 * own:.0f} ms per step, the others {1000 * usual:.0f} ms: they wait for it"


def _clock(board: Board) -> Iterator[str]:
    """The latest measurement in clock.json, which has one or several by moment."""
    measured = board.clock or {}
    for each in (measured, *measured.values()):
        offset_s = each.get("offset_s") if isinstance(each, dict) else None
        if is_number(offset_s) and abs(offset_s) > DRIFT_S:
            yield f"{board.name}'s clock is {offset_s:+.3f} s off the controller's: boards' times are not comparable"
            return
