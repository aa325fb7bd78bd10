"""What is measured, on figures that can be worked out by hand (see build_runs: 8 steps of 64)."""

import json
import math

import pandas as pd
import pytest

from analysis import PAPER, load, measure, steady
from analysis.comparison.metrics import reached, target_of
from tests.data.build_runs import BATCH, PARAMETERS, build_run
from trainer.contract.events import Resume
from trainer.contract.records import EventLog


def measured(folder):
    loaded = load([folder])
    return measure(loaded.runs, loaded.boards, loaded.epochs, loaded.windows).iloc[0]


def rewrite(folder, board, change):
    events = folder / "boards" / board / "events.jsonl"
    records = [json.loads(line) for line in events.read_text().splitlines()]
    for record in records:
        change(record)
    events.write_text("\n".join(map(json.dumps, records)))


def test_the_first_epoch_does_not_count(tmp_path):
    run = measured(build_run(tmp_path, step_s=0.4))  # the first epoch's steps take 1.2 s
    assert run["step_s"] == pytest.approx(0.4)
    assert run["pass_s"] == pytest.approx(8 * 0.4 + 0.5)
    assert run["images_per_s"] == pytest.approx(BATCH / 0.4)


def test_of_a_run_of_one_epoch_the_first_window_does_not_count(tmp_path):
    folder = build_run(tmp_path, epochs=1, step_s=0.4)

    def first_window_is_slow(record):
        if record["event"] == "window" and record["first_step"] == 0:
            record["elapsed_s"] *= 5

    rewrite(folder, "board-1", first_window_is_slow)
    run = measured(folder)
    assert run["step_s"] == pytest.approx(3 * 0.4)
    assert run["images_per_s"] == pytest.approx(BATCH / 1.2)
    assert run["pass_s"] == pytest.approx(8 * 1.2), "the steady steps of an epoch"


def test_of_a_run_resumed_after_its_first_epoch_no_attempts_first_window_counts(tmp_path):
    folder = build_run(tmp_path, epochs=2, step_s=0.4)
    log = EventLog(folder / "boards/board-1/events.jsonl")
    log.write(Resume(epoch=1, startup_s=3.0))
    log.close()
    run = measured(folder)
    assert run["step_s"] == pytest.approx((3 * 0.4 + 0.4) / 2)  # as many steps of each epoch
    assert run["pass_s"] == pytest.approx(8 * run["step_s"])


def test_steps_stand_in_for_a_pass_only_where_no_run_has_a_steady_epoch(tmp_path):
    resumed = build_run(tmp_path, "resumed", epochs=2)
    log = EventLog(resumed / "boards/board-1/events.jsonl")
    log.write(Resume(epoch=1, startup_s=3.0))
    log.close()
    loaded = load([resumed, build_run(tmp_path, "whole", epochs=2)])
    table = measure(loaded.runs, loaded.boards, loaded.epochs, loaded.windows).set_index("run_id")
    assert math.isnan(table.loc["resumed", "pass_s"]) and table.loc["whole", "pass_s"] == pytest.approx(8 * 0.4 + 0.5)


def test_a_run_of_one_window_has_nothing_steady(tmp_path):
    folder = build_run(tmp_path, epochs=1)
    events = folder / "boards/board-1/events.jsonl"
    lines = [line for line in events.read_text().splitlines() if '"first_step": 4' not in line]
    events.write_text("\n".join(lines))
    run = measured(folder)
    assert run[["step_s", "pass_s", "images_per_s", "sent_bytes_per_step"]].isna().all()
    assert run["val_accuracy_first"] == 0.1


def test_images_add_up_over_boards_and_times_do_not(tmp_path):
    run = measured(build_run(tmp_path, workers=2, step_s=0.5))
    assert run["images_per_s"] == pytest.approx(2 * BATCH / 0.5)
    assert run["step_s"] == pytest.approx(0.5)
    assert run["pass_s"] == pytest.approx(8 * 0.5 + 0.5)
    assert run["sent_bytes_per_step"] == pytest.approx(4 * PARAMETERS)


def test_throughput_is_null_where_a_board_left_no_records(tmp_path):
    folder = build_run(tmp_path, workers=2)
    (folder / "boards/board-2/events.jsonl").unlink()
    run = measured(folder)
    assert math.isnan(run["images_per_s"])
    assert run["step_s"] == pytest.approx(0.4)


def test_bytes_that_were_not_counted_in_every_epoch_are_null(tmp_path):
    folder = build_run(tmp_path, workers=2)

    def uncounted(record):
        if record["event"] == "epoch" and record["epoch"] == 3:
            record["sent_bytes"] = None

    rewrite(folder, "board-2", uncounted)
    run = measured(folder)
    assert math.isnan(run["sent_bytes_per_step"])
    assert run["step_s"] == pytest.approx(0.4)


def test_accuracy_and_loss_are_those_the_chief_saw(tmp_path):
    folder = build_run(tmp_path, workers=2, accuracy=(0.1, 0.2, 0.3), loss=(4.0, 3.0, 2.0))

    def other(record):
        if record["event"] == "epoch":
            record.update(val_accuracy=0.9, loss=0.1)

    rewrite(folder, "board-2", other)
    run = measured(folder)
    assert run["val_accuracy_first"] == 0.1
    assert run["val_accuracy_final"] == 0.3
    assert run["loss_final"] == 2.0


def test_an_earlier_epoch_does_not_stand_in_for_the_final_one(tmp_path):
    run = measured(build_run(tmp_path, epochs=2, override={"epochs": 3}))
    assert run["val_accuracy_first"] == 0.1
    assert math.isnan(run["val_accuracy_final"])


def test_the_time_of_the_steps_is_split(tmp_path):
    folder = build_run(tmp_path, workers=2, step_s=0.6)  # a third communicates
    run = measured(folder)
    assert (run["compute_share"], run["communication_share"]) == (pytest.approx(2 / 3), pytest.approx(1 / 3))
    assert math.isnan(run["waiting_share"])  # within communication

    def measured_waiting(record):
        if record["event"] == "epoch":
            record["waiting_s"] = 0.1 * record["train_s"]

    for board in ("board-1", "board-2"):
        rewrite(folder, board, measured_waiting)
    run = measured(folder)
    assert run["waiting_share"] == pytest.approx(0.1)
    assert run["stall_share"] == pytest.approx(1 / 3 + 0.1)
    assert run["compute_share"] == pytest.approx(2 / 3 - 0.1)


FIRST, LATER = 3 * 8 * 0.4 + 0.5, 8 * 0.4 + 0.5  # seconds of epochs, after 5 s to start


def test_the_whole_time_is_from_the_start_of_the_slowest_board_to_its_last_epoch(tmp_path):
    folder = build_run(tmp_path / "a", workers=2, step_s=0.4)
    assert measured(folder)["total_s"] == pytest.approx(5 + FIRST + 2 * LATER)

    def took_longer_to_start(record):
        if record["event"] == "start":
            record["startup_s"] += 7

    rewrite(folder, "board-2", took_longer_to_start)
    run = measured(folder)
    assert (run["startup_s"], run["total_s"]) == (pytest.approx(12), pytest.approx(12 + FIRST + 2 * LATER))
    assert math.isnan(measured(build_run(tmp_path / "b", epochs=2, override={"epochs": 3}))["total_s"])


def test_a_resumed_run_took_its_attempts_and_not_the_time_between_them(tmp_path):
    folder = build_run(tmp_path, step_s=0.4)
    events = folder / "boards/board-1/events.jsonl"
    lines = [json.loads(line) for line in events.read_text().splitlines()]
    place = next(index for index, line in enumerate(lines) if line["event"] == "epoch") + 1
    later = [{**line, "time_s": line["time_s"] + 1000 + 4} for line in lines[place:]]
    resume = {"event": "resume", "time_s": lines[place - 1]["time_s"] + 1000 + 4, "epoch": 1, "startup_s": 4.0}
    events.write_text("".join(f"{json.dumps(line)}\n" for line in [*lines[:place], resume, *later]))
    assert measured(folder)["total_s"] == pytest.approx(5 + FIRST + 4 + 2 * LATER)


@pytest.mark.parametrize("step_s", [3600, -3600])
def test_a_clock_that_was_set_meanwhile_tells_no_time(tmp_path, step_s):
    folder = build_run(tmp_path, step_s=0.4)

    def stepped(record):
        if record["event"] == "epoch" and record["epoch"] > 1:
            record["time_s"] += step_s

    rewrite(folder, "board-1", stepped)
    assert math.isnan(measured(folder)["total_s"])


def until(parent, target):
    return reached(load(parent.iterdir()).epochs, target)


def test_time_to_accuracy_is_from_the_start_until_it_is_first_reached(tmp_path):
    build_run(tmp_path, "a", step_s=0.4, accuracy=(0.1, 0.3, 0.2))
    build_run(tmp_path, "b", step_s=0.4, accuracy=(0.1, math.nan, 0.3))
    build_run(tmp_path, "never", step_s=0.4, accuracy=(0.1, 0.1, 0.1))
    found = until(tmp_path, 0.3)
    assert found["elapsed_s"].to_dict() == {
        "a": pytest.approx(5 + FIRST + LATER),
        "b": pytest.approx(5 + FIRST + 2 * LATER),
    }
    assert until(tmp_path, math.nan).empty


def test_a_board_without_records_leaves_the_time_to_accuracy_unknown(tmp_path):
    folder = build_run(tmp_path, workers=2, accuracy=(0.1, 0.3, 0.3))
    (folder / "boards/board-2/events.jsonl").unlink()
    assert until(tmp_path, 0.3)["elapsed_s"].isna().tolist() == [True]


def test_the_target_is_what_one_board_reaches_less_a_point():
    assert target_of(pd.Series([0.4, 0.5])) == pytest.approx(0.44)
    assert all(math.isnan(target_of(pd.Series(finals))) for finals in ([0.4, math.nan], [0.005], [math.inf]))


def test_what_a_run_cost_is_that_of_all_its_boards(tmp_path):
    folder = build_run(tmp_path, workers=2)
    manifest = json.loads((folder / "manifest.json").read_text())

    def run_that_cost(*boards):
        for board, cost in zip(manifest["boards"], boards, strict=True):
            board["cost"] = dict(zip(("energy_j", "mean_power_mw", "temperature_max_c"), cost, strict=True))
        (folder / "manifest.json").write_text(json.dumps(manifest))
        return measured(folder)

    run = run_that_cost((100.0, 20_000.0, 51.0), (110.0, 22_000.0, 49.0))
    assert (run["energy_j"], run["mean_power_w"], run["temperature_max_c"]) == (210.0, 42.0, 51.0)
    assert run["energy_j_per_pass"] == pytest.approx(210 / 3)
    run = run_that_cost((100.0, 20_000.0, 51.0), (None, None, 49.0))
    assert run[["energy_j", "energy_j_per_pass", "mean_power_w"]].isna().all()
    assert run["temperature_max_c"] == 51.0


def test_steady_sums_are_by_run_and_board(tmp_path):
    for seed in (1, 2):
        build_run(tmp_path, workers=2, seed=seed, epochs=seed + 1)
    loaded = load(tmp_path.iterdir())
    table = steady(loaded.epochs, loaded.windows)
    assert table["rank"].tolist() == [0, 1, 0, 1]
    assert table["steps"].tolist() == [8, 8, 16, 16]
    assert table["images"].tolist() == [512, 512, 1024, 1024]


def test_the_papers_numbers_follow_from_what_it_prints():
    one, two = PAPER.arms()
    assert PAPER.steps_per_epoch == 782
    assert round(PAPER.epoch_ratio, 2) == 3.03
    assert round(PAPER.communication_ratio, 2) == 2.03
    assert (round(one["step_s"], 3), round(two["step_s"], 3)) == (0.119, 0.361)
    assert (round(one["images_per_s"]), round(two["images_per_s"])) == (537, 354)
    assert [round(it, 2) for it in (two["pass_ratio"], two["images_ratio"], 1 / two["pass_ratio"])] == [
        3.03,
        0.66,
        0.33,
    ]
