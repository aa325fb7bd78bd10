"""What is new in files that grow, that are cut, that begin anew, that move."""

from __future__ import annotations

import json
import time
from contextlib import contextmanager
from pathlib import Path

import pytest
from test_watch_board import SAMPLE, line_of, lines_of_a_run

from analysis.watch.board import Board
from analysis.watch.tail import LocalFolder, Reader, Tail, collected
from controller.watch import follow
from controller.watch.follow import Follower


def reader() -> Reader:
    return Reader(Board("board-1", 3, time.monotonic()))


def test_a_line_that_is_cut_is_kept_for_the_next_read(tmp_path: Path) -> None:
    file, tail, folder = tmp_path / "events.jsonl", Tail("events.jsonl"), LocalFolder(tmp_path)
    assert tail.lines(folder) == []
    file.write_bytes(b"one\ntw")
    assert tail.lines(folder) == [b"one"]
    assert tail.lines(folder) == []
    file.write_bytes(b"one\ntwo\nthree\n")
    assert tail.lines(folder) == [b"two", b"three"]
    assert tail.offset == file.stat().st_size


def test_a_character_may_be_cut(tmp_path: Path) -> None:
    content = '"Jülich"\n'.encode()
    (tmp_path / "events.jsonl").write_bytes(content[:3])
    tail, folder = Tail("events.jsonl"), LocalFolder(tmp_path)
    assert tail.lines(folder) == []
    (tmp_path / "events.jsonl").write_bytes(content)
    assert tail.lines(folder) == ['"Jülich"'.encode()]


def test_records_that_begin_anew_replace_those_before(tmp_path: Path) -> None:
    lines, known = lines_of_a_run(tmp_path), reader()
    events = tmp_path / "events.jsonl"
    events.write_bytes(b"\n".join(lines) + b"\n")
    known.look(LocalFolder(tmp_path))
    assert known.board.epoch == 3
    events.write_bytes(b"\n".join(lines[:4]) + b"\n")
    known.look(LocalFolder(tmp_path))
    assert (known.board.epoch, known.board.accuracies) == (1, {1: 0.1})
    assert known.board.odd_lines == 0


def test_a_record_is_read_once_when_the_run_moves_to_the_controller(tmp_path: Path) -> None:
    lines, known = lines_of_a_run(tmp_path), reader()
    on_board, on_controller = tmp_path / "board", tmp_path / "controller"
    for folder, content in ((on_board, b"\n".join(lines[:4])), (on_controller, b"\n".join(lines) + b"\n")):
        folder.mkdir()
        (folder / "events.jsonl").write_bytes(content)
    known.look(LocalFolder(on_board))
    known.look(LocalFolder(on_controller))
    # after the start, and the window that traces: five windows
    assert (known.board.epoch, len(known.board.compute_s), known.board.odd_lines) == (3, 5, 0)


def test_a_result_that_was_seen_stays_while_the_folder_moves(tmp_path: Path) -> None:
    known = reader()
    (tmp_path / "result.json").write_text(json.dumps({"status": "succeeded"}))
    known.look(LocalFolder(tmp_path))
    known.look(LocalFolder(tmp_path / "nowhere"))
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
    (tmp_path / "lost.json").write_text(json.dumps({"status": "failed", "cause": "the board cannot be reached"}))
    assert collected(Board("board-1", 3, 0.0), tmp_path).state == "failed"


class Disk(LocalFolder):
    """A board's folder, here."""

    emulated = True

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.path = path

    def exists(self) -> bool:
        return self.path.is_dir()


def test_a_folder_that_is_gone_from_the_board_is_read_on_the_controller(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(follow, "POLL_S", 0.01)
    lines = lines_of_a_run(tmp_path)
    on_board, here = tmp_path / "board", tmp_path / "here"
    here.mkdir()
    on_board.mkdir()
    (on_board / "events.jsonl").write_bytes(b"\n".join(lines[:2]) + b"\n")

    @contextmanager
    def connect():
        yield Disk(on_board)

    follower = Follower(Board("board-1", 3, time.monotonic()), here, connect)
    follower.start()
    try:
        wait_for(lambda: follower.board.steps)
        (here / "events.jsonl").write_bytes(b"\n".join(lines) + b"\n")
        (on_board / "events.jsonl").unlink()
        on_board.rmdir()
        wait_for(lambda: follower.board.epoch == 3)
        assert (follower.board.emulated, len(follower.board.compute_s)) == (True, 5)
    finally:
        follower.stop()
        follower.join(5)


def wait_for(true) -> None:
    deadline = time.monotonic() + 5
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.01)
