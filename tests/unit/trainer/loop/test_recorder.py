"""An epoch that other boards began: its record has all of it, and no step is there twice."""

import pytest

from trainer.contract.checkpoints import START, Place
from trainer.contract.config import parse
from trainer.contract.events import Checkpoint
from trainer.contract.records import EventLog, read_records
from trainer.loop.pace import Pace
from trainer.loop.rate import Rate
from trainer.loop.recorder import Recorder, spent_s
from trainer.loop.shard import Shard
from trainer.loop.step_times import StepTimes

IMAGES, BATCH = 1000, 8


class Timer:
    def read(self):
        return StepTimes(0.0, 0.0, 0.0, 0)


def recorder(folder, workers, begins, records):
    pace = Pace(Shard(0, workers, True, BATCH), IMAGES, None)
    log = EventLog(folder / "events.jsonl")
    made = Recorder(log, None, pace, 10, Rate(parse({}), workers, pace.steps(0)), Timer())
    made.go_on(records, begins)
    return made, pace, log


def until(made, steps, last, keep=False):
    for step in range(steps + 1, last + 1):
        made.end_step(step, lambda: (1.0, 0.5), cut=keep and step == last)


@pytest.mark.parametrize("workers", [3, 2, 4])
def test_an_epoch_goes_on_with_as_many_boards_or_with_others(tmp_path, workers):
    made, pace, log = recorder(tmp_path, 3, START, [])
    assert pace.steps(0) == 42
    made.begin_epoch(0)
    until(made, 0, 13, keep=True)
    place = pace.place(START, 0, 13)
    assert place == Place(0, 13 * 3 * BATCH)
    log.write(Checkpoint(*place, train_s=made.epoch_train_s, stall_s=0.0, size_bytes=1))
    before = read_records(tmp_path / "events.jsonl")[0]
    assert [(it["first_step"], it["steps"]) for it in before if it["event"] == "window"] == [(0, 10), (10, 3)]
    assert before[-1]["train_s"] == pytest.approx(sum(it["elapsed_s"] for it in before if it["event"] == "window"))

    made, pace, _ = recorder(tmp_path, workers, place, before)
    left = -(-(IMAGES - place.images) // workers)  # images of this board
    steps = -(-left // BATCH)
    assert pace.begun(place) == pace.steps(0) - steps
    made.begin_epoch(0)
    until(made, pace.begun(place), pace.steps(0))
    epoch = made.end_epoch(1.0, 0.5, 1.0, 0.5)
    assert (epoch.steps, epoch.images) == (13 + steps, 13 * BATCH + left)
    windows = [it for it in read_records(tmp_path / "events.jsonl")[0] if it["event"] == "window"]
    assert sum(it["steps"] for it in windows) == epoch.steps and sum(it["images"] for it in windows) == epoch.images
    ends = [it["first_step"] + it["steps"] for it in windows]
    begins = [it["first_step"] for it in windows]
    assert all(begin >= end for begin, end in zip(begins[1:], ends, strict=False)), "no two have the same place"
    assert epoch.train_s == pytest.approx(sum(it["elapsed_s"] for it in windows)) == made.train_s
    assert epoch.epoch_s >= epoch.train_s and made.epochs_completed == 1
    assert pace.place(place, 0, pace.begun(place)) == place, "it is where it was"
    assert pace.place(place, 1, 2) == Place(1, 2 * workers * BATCH)

    made.begin_epoch(1)
    until(made, 0, pace.steps(1))
    second = made.end_epoch(1.0, 0.5, 1.0, 0.5)
    assert (second.epoch, second.steps) == (2, pace.steps(1)), "the next one begins at its beginning"


def test_time_before_a_checkpoint_within_an_epoch_counts_for_the_run():
    window = {"event": "window", "epoch": 3, "elapsed_s": 4.0}
    records = [
        {"event": "start", "startup_s": 1.0},
        {**window, "epoch": 2},
        {"event": "epoch", "epoch_s": 10.0},
        window,
    ]
    assert spent_s(records) == 15.0
