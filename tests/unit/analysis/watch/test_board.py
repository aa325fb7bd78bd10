"""What is known of a board, from its records as they come."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest

from analysis.watch.board import Board
from tests.data.build_runs import build_run
from trainer.contract.events import Resume, Sample

SAMPLE = Sample(
    idle=False,
    memory_bytes=2_500_000_000,
    cpu_load=0.25,
    gpu_load=0.9,
    temperature_c={"CPU": 51.5, "GPU": 49.0},
    power_mw={"VDD_GPU_SOC": 9000, "VDD_CPU_CV": 2500},
    sent_bytes=None,
    received_bytes=None,
)


def test_power_and_heat_are_the_modules(tmp_path: Path) -> None:
    rails = {"VDD_GPU_SOC": 9000, "VDD_CPU_CV": 2500, "VIN_SYS_5V0": 4000, "VDDQ_VDD2_1V8AO": 900}
    made = board()
    made.take_sample(line_of(SAMPLE, power_mw=rails, temperature_c={"CPU": 51.5, "PMIC": 100.0}), 1.0)
    assert made.load is not None and (made.load.power_w, made.load.hottest_c) == (15.5, 51.5)
    made.take_sample(line_of(SAMPLE, power_mw={"VDD_GPU_SOC": 9000}, temperature_c={"PMIC": 100.0}), 2.0)
    assert (made.load.power_w, made.load.hottest_c) == (None, None), "a line that was cut has no sum"
    assert made.odd_lines == 0


def test_what_lowered_its_clocks_is_that_of_the_last_sample() -> None:
    made = board()
    made.take_sample(line_of(SAMPLE, over_current_events={"oc3": 2}), 1.0)
    assert made.throttling == {"over_current_events": {"oc3": 2}, "throttled_s": None}


def line_of(record: Any, **changes: Any) -> bytes:
    return json.dumps({"event": record.KIND, "time_s": 1.0, **dataclasses.asdict(record), **changes}).encode()


def lines_of_a_run(tmp_path: Path, workers: int = 2) -> list[bytes]:
    """A start, and three epochs of two windows of four steps; the first epoch's take three times as long."""
    run = build_run(tmp_path, workers=workers)
    return (run / "boards/board-1/events.jsonl").read_bytes().splitlines()


def board(lines: list[bytes] = [], name: str = "board-1") -> Board:  # noqa: B006
    made = Board(name, 3, 0.0)
    made.reached = True
    for line in lines:
        made.take_event(line, 10.0)
    return made


def test_it_is_starting_until_its_first_window_and_then_training(tmp_path: Path) -> None:
    lines = lines_of_a_run(tmp_path)
    assert board().state == board(lines[:1]).state == "starting"
    training = board(lines[:2])
    assert training.state == "training"
    assert training.epochs_done == pytest.approx(0.5)
    assert training.steps is not None
    assert (training.steps.epoch, training.steps.done) == (1, 4)
    assert training.steps.step_s == pytest.approx(1.2)
    assert training.steps.stall_share == pytest.approx(1 / 3)


def test_epochs_that_are_over_count_whole(tmp_path: Path) -> None:
    lines = lines_of_a_run(tmp_path)
    assert [board(lines[:count]).epochs_done for count in (3, 4, 5, 10)] == pytest.approx([1.0, 1.0, 1.5, 3.0])
    assert board(lines).accuracies == {1: 0.1, 2: 0.2, 3: 0.3}


def test_the_window_that_traces_is_no_usual_one(tmp_path: Path) -> None:
    assert board(lines_of_a_run(tmp_path)[:3]).compute_s == [pytest.approx(0.8)]


def test_a_run_that_goes_on_begins_again_with_its_epoch(tmp_path: Path) -> None:
    lines = lines_of_a_run(tmp_path)
    resumed = board([*lines[:4], line_of(Resume(epoch=1, startup_s=3.0))])
    assert (resumed.state, resumed.epochs_done, resumed.compute_s) == ("starting", 1.0, [])
    assert resumed.accuracies == {1: 0.1}
    assert resumed.progress.left_s() is None


def test_lines_that_are_no_records_are_counted_and_do_no_harm(tmp_path: Path) -> None:
    lines = lines_of_a_run(tmp_path)
    odd = [b'{"event": "win', b"\xff\xfe", b"[1]", b'{"event": {}}', lines[1].replace(b'"steps": 4', b'"steps": 0')]
    odd += [lines[1].replace(b'"steps": 4', b'"steps": "four"'), lines[3].replace(b'"epoch": 1', b'"epoch": null')]
    told, right = board([*lines[:2], *odd]), board(lines[:2])
    assert told.odd_lines == len(odd)
    assert (told.steps, told.epoch, told.compute_s) == (right.steps, right.epoch, right.compute_s)
    assert (told.accuracies, told.state) == ({}, "training")


def test_a_sample_is_summed_up() -> None:
    told = board()
    told.take_sample(line_of(SAMPLE), 5.0)
    assert told.load is not None
    assert dataclasses.asdict(told.load) == {
        "memory_bytes": 2.5e9,
        "cpu": 0.25,
        "gpu": 0.9,
        "hottest_c": 51.5,
        "power_w": 11.5,
    }
    assert told.sampled_at_s == 5.0


def test_what_a_board_has_no_sensor_for_is_null() -> None:
    told = board()
    told.take_sample(line_of(SAMPLE, gpu_load=None, memory_bytes=None, temperature_c={}, power_mw={}), 5.0)
    assert told.load is not None
    assert (told.load.gpu, told.load.memory_bytes, told.load.hottest_c, told.load.power_w) == (None, None, None, None)
    told.take_sample(line_of(SAMPLE, temperature_c={"CPU": "hot"}), 6.0)
    assert (told.odd_lines, told.load.hottest_c) == (1, None)


def test_the_heartbeat_tells_since_when_nothing_moved() -> None:
    told = board()
    told.take_heartbeat({"time_s": 1.0, "still_s": 40.0}, 100.0)
    told.take_heartbeat({"time_s": 1.0, "still_s": 40.0}, 110.0)  # the supervisor is silent, too
    assert told.moved_at_s == 60.0
    told.take_heartbeat({"time_s": 2.0, "still_s": 0.5}, 120.0)
    assert told.moved_at_s == 119.5


def live(**changes: Any) -> dict[str, Any]:
    """What who copies the records noted at 1000 s of Unix time, to look again 2 s later."""
    told = {"seen_s": 1000.0, "due_s": 1002.0, "following": True, "why": None, "emulated": True}
    return {**told, "heartbeat": None, "result": None, **changes}


def test_a_board_out_of_reach_reconnects_and_one_with_a_result_has_ended(tmp_path: Path) -> None:
    told = board(lines_of_a_run(tmp_path)[:2])
    told.take_live(live(seen_s=980.0, why="refused"), 40.0, 1000.0)
    assert (told.state, told.lost_at_s, told.lost_why) == ("reconnecting", 20.0, "refused")
    told.take_live(live(), 50.0, 1000.0)
    assert (told.state, told.moved_at_s, told.emulated) == ("training", 50.0, True)
    told.take_live(live(result={"status": "succeeded"}, following=False), 51.0, 1001.0)
    assert told.state == "ended"
    told.result = {"status": "failed"}
    assert told.state == "failed"


def test_a_board_that_nothing_has_come_of_for_long_is_out_of_reach_while_anybody_waits_for_it() -> None:
    told = board()
    told.take_live(live(), 0.0, 1011.0)
    assert (told.state, told.overdue_s) == ("starting", 9.0)
    told.take_live(live(), 2.0, 1013.0)
    assert (told.state, told.lost_at_s, told.lost_why) == ("reconnecting", -11.0, "no answer")
    told.take_live(live(following=False), 2.0, 1013.0)
    assert (told.state, told.overdue_s) == ("starting", None)


@pytest.mark.parametrize("odd", [{}, live(due_s="soon"), live(seen_s=None)], ids=["none", "words", "null"])
def test_a_note_that_is_none_changes_nothing(odd: dict[str, Any]) -> None:
    told = Board("board-1", 3, 0.0)
    told.take_live(odd, 1.0, 1000.0)
    assert (told.state, told.overdue_s, told.lost_at_s, told.emulated) == ("connecting", None, None, None)
