"""What is shown of a run: while it goes on, when it has failed, when it is over."""

from __future__ import annotations

import io
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from rich.console import Console

from analysis import write_manifest
from analysis.watch.board import Board
from analysis.watch.view import Moment, render, sparkline
from controller.cli import main
from controller.watch import newest
from tests import PROJECT
from tests.data.build_runs import build_run
from tests.unit.analysis.watch.test_board import SAMPLE, line_of, lines_of_a_run
from trainer.contract.events import NewGeneration
from trainer.contract.run import load_run

GOLDEN = PROJECT / "tests/data/rehearsal_of_schema1"


def text(moment: Moment) -> str:
    console = Console(file=io.StringIO(), record=True, width=100)
    console.print(render(moment))
    shown = console.export_text()
    assert max(map(len, shown.splitlines())) <= 100
    return shown


@pytest.fixture
def moment(tmp_path: Path) -> Moment:
    """The middle of the second of three epochs; the second board has no sensors."""
    run = build_run(tmp_path / "runs", workers=2)
    boards = [Board(name, 3, 100.0) for name in ("board-1", "board-2")]
    for board in boards:
        board.reached = board.emulated = True
        for line in lines_of_a_run(tmp_path / board.name)[:5]:
            board.take_event(line, 100.0)
    boards[0].take_sample(line_of(SAMPLE), 100.0)
    return Moment(load_run(run / "run.json"), boards, 101.0)


def test_a_run_that_goes_on(moment: Moment) -> None:
    title, what, progress, accuracy, *rest = text(moment).splitlines()
    assert title == moment.run.run_id
    assert what == "test, 2 boards, keras; emulated boards, synthetic images"
    # two epochs like the first one, of 8 steps of 1.2 s and 0.5 s of validation; less 4 steps of 0.4 s
    assert re.fullmatch(r"epoch 2/3, step 4/8 ━{20} +50% 19 s left", progress), progress
    assert accuracy == "validation accuracy ▁ 0.100 after epoch 1"
    cells = [line.split() for line in rest if "board-" in line]
    assert cells == [
        ["board-1", "training", "2/3", "4/8", "400", "33", "25", "90", "51.5", "11.5", "2.5"],
        ["board-2", "training", "2/3", "4/8", "400", "33", *5 * "-"],
    ]
    assert "!" not in text(moment)


def test_before_the_first_record_nothing_is_made_up(moment: Moment) -> None:
    boards = [Board(name, 3, 100.0) for name in ("board-1", "board-2")]
    boards[0].reached, boards[0].emulated = True, False
    shown = text(Moment(moment.run, boards, 101.0))
    assert "epoch -/3, step -" in shown and "left" not in shown
    assert "validation accuracy -" in shown
    assert "emulated" not in shown and "synthetic" not in shown
    assert ["board-1", "starting", "-/3", *8 * "-"] in [line.split() for line in shown.splitlines()]


def test_warnings_are_below(moment: Moment) -> None:
    moment.boards[1].lose("timed out", 90.0)
    shown = text(moment)
    assert "! board-2 has been unreachable for 11 s: timed out" in shown
    assert "reconnecting" in shown


def test_what_a_board_says_moves_no_terminal(moment: Moment) -> None:
    moment.boards[1].result = {"status": "failed", "cause": "\x1b[2Jgone\x07"}
    assert "board-2 failed: ?[2Jgone?" in text(moment)


def test_boards_that_have_ended_are_to_be_collected(moment: Moment) -> None:
    moment.boards[1].result = {"status": "failed", "cause": "out of memory"}
    shown = text(moment)
    assert "board-2 failed: out of memory" in shown and "collect.yml" not in shown
    moment.boards[0].result = {"status": "succeeded", "cause": None}
    assert f"playbooks/collect.yml -e run_id={moment.run.run_id}" in " ".join(text(moment).split())


def test_a_run_that_is_over_shows_its_end_and_exits_with_its_outcome(capsys: pytest.CaptureFixture[str]) -> None:
    (folder,) = GOLDEN.glob("*-rehearsal-w2-s1")
    lines = (folder / "boards/board-2/events.jsonl").read_text().splitlines()
    window = [record for record in map(json.loads, lines) if record["event"] == "window"][-1]
    step_ms = round(1000 * window["elapsed_s"] / window["steps"])
    assert main(["watch", str(folder)]) == 0
    shown = capsys.readouterr().out
    assert "rehearsal, 2 boards, keras; emulated boards, synthetic images" in shown
    assert "epoch 5/5, step 20/20" in shown and "left" not in shown
    assert re.search(r"validation accuracy \S{5} 0\.\d{3} after epoch 5", shown)
    assert re.search(rf"board-2 +ended +5/5 +20/20 +{step_ms} +\d\d +\d+ +- +- +- +\d\.\d", shown)
    assert re.search(r"The run has succeeded after \d min\.", shown)
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f]", shown)


def test_a_run_that_failed_says_why_and_exits_with_1(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = build_run(tmp_path, workers=2, failed={1: "out of memory"})
    assert main(["watch", str(folder), "--once"]) == 1
    shown = capsys.readouterr().out
    assert re.search(r"board-1 +ended", shown) and re.search(r"board-2 +failed", shown)
    assert "The run has failed after" in shown and "board-2 failed: out of memory" in shown


def test_a_run_that_was_stopped_is_none_that_succeeded(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = build_run(tmp_path, failed={0: "stopped"})
    write_manifest(folder, interrupted=True)
    assert main(["watch", str(folder)]) == 1
    assert "The run was interrupted" in capsys.readouterr().out


def test_without_a_run_the_newest_is_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    for age, name in enumerate(("b-new", "a-old")):
        os.utime(build_run(tmp_path / "runs", name), (1e9 - age, 1e9 - age))
    (tmp_path / "runs/bench").mkdir()
    assert newest(Path("runs")).name == "b-new"
    assert main(["watch"]) == 0
    assert capsys.readouterr().out.startswith("b-new\n")
    assert main(["watch", "a-old"]) == 0
    assert capsys.readouterr().out.startswith("a-old\n")
    assert main(["watch", "c-none"]) == 2
    assert "c-none is not a run: give a run's folder, or its name in runs/" in capsys.readouterr().err


def test_no_run_at_all_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["watch"]) == 2
    assert "there is no run in runs" in capsys.readouterr().err


@pytest.mark.slow
def test_ctrl_c_leaves_quietly(tmp_path: Path) -> None:
    folder = build_run(tmp_path, manifest=False)
    command = [sys.executable, "-m", "controller", "watch", str(folder), "--every", "0"]
    with subprocess.Popen(command, cwd=PROJECT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        frame = ""
        while "board-1 " not in frame:
            assert process.stdout is not None
            frame += process.stdout.readline()
        time.sleep(0.2)
        process.send_signal(signal.SIGINT)
        _, told = process.communicate(timeout=60)
    assert (process.returncode, told) == (130, "")
    assert re.search(r"board-1 +ended", frame)


def test_a_sparkline_goes_from_the_lowest_to_the_highest() -> None:
    assert sparkline([0.1, 0.4, 0.8]) == "▁▄█"
    assert sparkline([0.5, 0.5]) == "▁▁"


def test_a_run_that_lost_a_board_says_who_goes_on_and_since_when(moment: Moment) -> None:
    record = NewGeneration(2, ["board-2"], 1, ["board-1"], "network", "no word from board-1", 10.0, 1.0)
    moment.boards[1].result = {"status": "failed", "cause": "of the trainer before"}
    moment.boards[1].take_event(line_of(record), 101.0)
    assert moment.boards[1].state == "starting", "the trainer that failed has a successor"
    assert "generation 2: board-2, from epoch 1" in text(moment)
    moment.boards[1].take_event(line_of(record, boards=[]), 101.0)  # of a board that tells nonsense
    text(moment)
