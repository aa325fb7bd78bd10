"""What is known of a run while it goes on, from the copies of its records."""

import json
import re
import shutil

import pytest
from rich.console import Console

from controller.rehearsal.arms import Runs, arm_of
from controller.rehearsal.screen import Lines, Plan, Step, render
from controller.study import Slot
from tests import PROJECT
from trainer.contract.config import parse

GOLDEN = next((PROJECT / "tests/data/rehearsal_of_schema1").glob("*-rehearsal-w2-s1"))


def slot(arm, workers):
    return Slot("rehearsal", arm, 1, workers, "rehearsal", {})


@pytest.fixture
def plan():
    config = parse({"epochs": 5})
    arms = [arm_of(slot("one_board", 1), config), arm_of(slot("keras", 2), config)]
    now_s = 1000.0
    return Plan(Step("Start", 10.0, "once"), arms, Step("Report", 5.0), Step("Remove", 5.0), began_s=now_s)


@pytest.fixture
def run(tmp_path):
    """A run's folder without its records, and the function that adds so many lines of the chief's."""
    events = (GOLDEN / "boards/board-1/events.jsonl").read_text().splitlines(keepends=True)
    folder = tmp_path / GOLDEN.name
    shutil.copytree(GOLDEN, folder, ignore=lambda where, names: {"events.jsonl", "manifest.json"})
    told = json.loads((folder / "run.json").read_text())
    (folder / "run.json").write_text(json.dumps({**told, "study": "rehearsal/keras/1"}))

    def add(wanted):
        with (folder / "boards/board-1/events.jsonl").open("a") as file:
            while events:
                line = events.pop(0)
                file.write(line)
                if wanted(json.loads(line)):
                    return

    return folder, add


def test_an_arm_says_what_happens_now(plan, run, tmp_path):
    arm, (folder, add) = plan.arms[1], run
    arm.began_s = 1000.0
    assert arm.now == "checking the boards"
    found = Runs(tmp_path / "none", plan.arms)
    found._folder = tmp_path
    found.look()
    assert arm.run == folder and plan.arms[0].run is None and arm.now == "starting TensorFlow"
    add(lambda record: record["event"] == "start")
    assert list(arm.look()) == [] and arm.now == "tracing the first step"
    add(lambda record: record["event"] == "window")
    assert list(arm.look()) == [] and arm.now == "epoch 1/5" and arm.done == pytest.approx(0.25)
    add(lambda record: record["event"] == "epoch" and record["epoch"] == 2)
    assert [record["epoch"] for record in arm.look()] == [1, 2] and arm.now == "epoch 3/5" and arm.done == 2.0
    add(lambda record: record["event"] == "end")
    assert len(list(arm.look())) == 3 and arm.now == "collecting the records" and arm.done == 5.0
    assert found.not_collected() == [folder]
    (folder / "manifest.json").write_text("{}")
    assert found.not_collected() == []


def test_a_second_try_begins_anew(plan, run):
    arm, (folder, add) = plan.arms[1], run
    arm.begin(folder)
    add(lambda record: record["event"] == "epoch")
    list(arm.look())
    assert arm.done == 1.0
    (folder / "boards/board-1/events.jsonl").unlink()
    arm.begin(folder)
    assert list(arm.look()) == [] and arm.done == 0.0


def test_the_time_left_follows_what_one_board_took(plan):
    one, keras = plan.arms
    before = plan.left_s(1000.0)
    one.made = [{"epoch_s": 40.0}, {"epoch_s": 20.0}, {"epoch_s": 20.0}]
    assert plan.left_s(1000.0) == pytest.approx(before + 5 * (1.0 + 3.0) * (20.0 - 6.0))
    one.ended_s = keras.ended_s = 1000.0
    assert plan.left_s(1000.0) == pytest.approx(20.0)


@pytest.mark.parametrize("width", [40, 80, 120])
def test_the_list_fits_the_terminal(plan, run, width):
    arm, (folder, add) = plan.arms[1], run
    plan.before.began_s, plan.before.ended_s = 1000.0, 1010.0
    arm.began_s = 1010.0
    arm.begin(folder)
    add(lambda record: record["event"] == "epoch" and record["epoch"] == 2)
    list(arm.look())
    console = Console(width=width, color_system=None, force_terminal=False)
    with console.capture() as capture:
        console.print(render(plan, 1100.0, width))
    lines = capture.get().splitlines()
    assert max(map(len, lines)) <= width
    shown = "\n".join(lines)
    assert "✓ Start" in shown and "▸ Two boards, as in the paper" in shown and "  Report" in shown
    assert "epoch 2: accuracy 0.206" in shown and "1:40 gone" in shown
    assert ("epoch 3/5, accuracy 0.21" in shown) == (width > 40)


def test_without_a_terminal_each_thing_is_a_line_once(plan, run):
    arm, (folder, add) = plan.arms[1], run
    console = Console(width=80, color_system=None, force_terminal=False)
    lines = Lines(console, plan)
    with console.capture() as capture:
        plan.before.began_s = 1000.0
        lines.refresh()
        plan.before.ended_s = arm.began_s = 1010.0
        arm.begin(folder)
        add(lambda record: record["event"] == "epoch")
        for record in arm.look():
            lines.epoch(arm, record)
        lines.refresh()
        lines.refresh()
        lines.stopping()
    told = [re.sub("^ *[0-9:]+  ", "", line) for line in capture.get().splitlines()]  # without the time
    assert [line.split(",")[0] for line in told][:1] == ["Start"]
    assert sum(line.startswith("Two boards, as in the paper, about") for line in told) == 1
    assert sum("epoch 1 of 5: accuracy 0.066" in line for line in told) == 1
    assert told[-1] == "Stopping"
