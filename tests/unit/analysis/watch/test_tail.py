"""What is new in files that grow, that are cut, that start again, that move."""

from __future__ import annotations

import json
import time
from pathlib import Path

from analysis.watch.board import Board
from analysis.watch.tail import Reader, Tail, collected
from tests.unit.analysis.watch.test_board import SAMPLE, line_of, lines_of_a_run
from trainer.contract.results import Result


def reader(folder: Path) -> Reader:
    return Reader(Board("board-1", 3, time.monotonic()), folder)


def test_a_line_that_is_cut_is_kept_for_the_next_read(tmp_path: Path) -> None:
    file = tmp_path / "events.jsonl"
    tail = Tail(file)
    assert tail.lines() == ([], False)
    file.write_bytes(b"one\ntw")
    assert tail.lines() == ([b"one"], False)
    assert tail.lines() == ([], False)
    file.write_bytes(b"one\ntwo\nthree\n")
    assert tail.lines() == ([b"two", b"three"], False)
    file.write_bytes(b"another\n")
    assert tail.lines() == ([b"another"], True)


def test_a_character_may_be_cut(tmp_path: Path) -> None:
    content = '"Jülich"\n'.encode()
    file = tmp_path / "events.jsonl"
    file.write_bytes(content[:3])
    tail = Tail(file)
    assert tail.lines() == ([], False)
    file.write_bytes(content)
    assert tail.lines() == (['"Jülich"'.encode()], False)


def test_records_that_begin_anew_replace_those_before(tmp_path: Path) -> None:
    lines, known = lines_of_a_run(tmp_path), reader(tmp_path)
    events = tmp_path / "events.jsonl"
    events.write_bytes(b"\n".join(lines) + b"\n")
    known.look()
    assert known.board.epoch == 3
    events.write_bytes(b"\n".join(lines[:4]) + b"\n")
    known.look()
    assert (known.board.epoch, known.board.accuracies) == (1, {1: 0.1})
    assert known.board.odd_lines == 0


def test_a_result_that_was_seen_stays_while_the_note_of_it_is_gone(tmp_path: Path) -> None:
    known, live = reader(tmp_path), tmp_path / "live.json"
    noted = {"seen_s": 1.0, "due_s": 1.0, "following": False, "result": {"status": "succeeded"}}
    live.write_text(json.dumps(noted))
    known.look()
    live.unlink()
    known.look()
    assert known.board.state == "ended"


def test_a_torn_last_line_of_a_collected_run_is_counted(tmp_path: Path) -> None:
    run = lines_of_a_run(tmp_path)
    (tmp_path / "events.jsonl").write_bytes(b"\n".join(run[:3]) + b'\n{"event": "win')
    (tmp_path / "telemetry.jsonl").write_bytes(line_of(SAMPLE) + b"\n" + line_of(SAMPLE)[:40])
    (tmp_path / "clock.json").write_text('{"start": {"offset_s": 0.5}}')
    board = collected(Board("board-1", 3, 0.0), tmp_path)
    assert board.odd_lines == 2
    assert board.load is not None
    assert board.clock == {"start": {"offset_s": 0.5}}


def test_a_board_that_could_leave_no_result_has_what_the_controller_knows(tmp_path: Path) -> None:
    lost = Result("failed", "the board cannot be reached", None, 1.0, 2.0, 0, {})
    (tmp_path / "lost.json").write_text(json.dumps(vars(lost)))
    assert collected(Board("board-1", 3, 0.0), tmp_path).state == "failed"
