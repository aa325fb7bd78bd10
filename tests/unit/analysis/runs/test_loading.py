"""Loading: what cannot be read is reported, and the rest is used."""

import json
import math
from importlib import import_module

import pytest

from analysis import AnalysisError, load
from tests.data.build_runs import build_run
from trainer.contract.events import Epoch, fields_of
from trainer.contract.run import load_run


def test_tables_are_tidy_and_carry_the_records_own_names(tmp_path):
    folder = build_run(tmp_path, workers=2, epochs=3, override={"batch_size": 32})
    loaded = load([folder])
    assert loaded.problems == []
    assert len(loaded.runs) == 1
    assert loaded.runs["config.batch_size"].item() == 32
    assert loaded.runs["config.sync.method"].item() == "keras"
    assert loaded.runs["assets.dataset.sha256"].item() == "d" * 64
    assert loaded.boards["board"].tolist() == ["board-1", "board-2"]
    assert loaded.boards["facts.tensorflow"].tolist() == ["2.12.1"] * 2
    assert len(loaded.epochs) == 2 * 3
    assert len(loaded.windows) == 2 * 3 * 2
    assert {"run_id", "board", "rank", *fields_of(Epoch)} <= set(loaded.epochs.columns)


def test_what_is_no_run_is_skipped_silently(tmp_path):
    build_run(tmp_path)
    (tmp_path / "bench-sync.json").write_text("{}")
    (tmp_path / "report.html").write_text("<p>")
    (tmp_path / "report").mkdir()
    build_run(tmp_path, "probe", task="probe")
    loaded = load(tmp_path.iterdir())
    assert len(loaded.runs) == 1
    assert loaded.problems == []


def test_a_path_that_does_not_exist_is_an_error(tmp_path):
    with pytest.raises(AnalysisError, match="nowhere does not exist: give run folders"):
        load([tmp_path / "nowhere"])


def test_a_broken_run_json_is_reported_and_the_other_run_used(tmp_path):
    build_run(tmp_path, "good")
    (build_run(tmp_path, "bad") / "run.json").write_text("{")
    loaded = load(tmp_path.iterdir())
    assert loaded.runs["run_id"].tolist() == ["good"]
    assert set(loaded.epochs["run_id"]) == {"good"}
    assert len(loaded.problems) == 1
    assert loaded.problems[0].startswith("bad: skipped:")


def test_a_run_json_whose_boards_are_not_its_workers_is_reported(tmp_path):
    folder = build_run(tmp_path, "odd")
    run = json.loads((folder / "run.json").read_text())
    (folder / "run.json").write_text(json.dumps({**run, "workers": 2}))
    loaded = load([folder])
    assert loaded.runs.empty
    assert "workers is 2, but boards lists 1" in loaded.problems[0]


def test_a_run_given_twice_counts_once(tmp_path):
    folder = build_run(tmp_path, "one")
    copy = tmp_path / "copy"
    copy.symlink_to(folder)
    loaded = load([folder, folder, copy])
    assert len(loaded.runs) == 1
    assert len(loaded.epochs) == 3
    assert len(loaded.problems) == 1
    assert "run one was already given" in loaded.problems[0]


def test_a_torn_last_line_is_reported_and_the_other_lines_used(tmp_path):
    folder = build_run(tmp_path, "run", epochs=2)
    events = folder / "boards/board-1/events.jsonl"
    lines = events.read_text().splitlines()[:-1]  # without the end
    events.write_text("\n".join([*lines[:-1], lines[-1][:40]]))
    loaded = load([folder])
    assert loaded.epochs["epoch"].tolist() == [1]
    assert len(loaded.windows) == 4
    assert len(loaded.problems) == 2
    assert "run: board-1/events.jsonl, line 7: not a record" in loaded.problems[0]
    assert loaded.problems[1] == "run: board-1 recorded 1 of 2 epochs"


def test_an_unknown_kind_of_event_is_reported_and_passed_over(tmp_path):
    folder = build_run(tmp_path, "run")
    events = folder / "boards/board-1/events.jsonl"
    events.write_text('{"event": "comet", "time_s": 1.0}\n' + events.read_text())
    loaded = load([folder])
    assert len(loaded.epochs) == 3
    assert len(loaded.problems) == 1
    assert "line 1: not a record" in loaded.problems[0]
    assert "comet" in loaded.problems[0]


def test_a_missing_result_is_reported_and_its_facts_are_null(tmp_path):
    folder = build_run(tmp_path, "run", workers=2)
    (folder / "boards/board-2/result.json").unlink()
    loaded = load([folder])
    assert loaded.problems == ["run: result.json of board-2 is missing"]
    assert loaded.boards["status"].tolist()[0] == "succeeded"
    assert loaded.boards["status"].isna().tolist() == [False, True]
    assert loaded.boards["facts.tensorflow"].isna().tolist() == [False, True]


@pytest.mark.parametrize("content", ["{", "[]", '{"status": "succeeded"}'])
def test_a_result_that_is_none_is_reported(tmp_path, content):
    folder = build_run(tmp_path, "run")
    (folder / "boards/board-1/result.json").write_text(content)
    loaded = load([folder])
    assert len(loaded.problems) == 1
    assert loaded.problems[0].startswith("run: result.json of board-1 ")


def test_a_board_of_which_nothing_was_collected_is_reported_once(tmp_path):
    folder = build_run(tmp_path, "run", workers=2, manifest=False)
    board = folder / "boards/board-2"
    for path in board.iterdir():
        path.unlink()
    board.rmdir()
    loaded = load([folder])
    assert loaded.problems == [
        "run: nothing was collected from board-2",
        "run: manifest.json is missing; the boards' files are used instead",
    ]
    assert loaded.runs["status"].item() == "failed"
    assert loaded.runs["cause"].item() == "board-2 left no result"


def test_a_run_without_manifest_is_told_from_what_its_boards_left(tmp_path):
    with_manifest = load([build_run(tmp_path / "a", "run", workers=2)]).runs
    without = load([build_run(tmp_path / "b", "run", workers=2, manifest=False)]).runs
    same = ["status", "cause", "rehearsal", "synthetic", "started_s", "ended_s"]
    assert without[same].to_dict("list") == with_manifest[same].to_dict("list")


def test_a_manifest_of_another_schema_is_not_used(tmp_path):
    folder = build_run(tmp_path, "run")
    manifest = json.loads((folder / "manifest.json").read_text())
    (folder / "manifest.json").write_text(json.dumps({**manifest, "schema": 99, "status": "failed"}))
    loaded = load([folder])
    assert loaded.runs["status"].item() == "succeeded"
    assert "has schema 99, but this version reads 1" in loaded.problems[0]


def test_half_a_run_is_reported(tmp_path):
    folder = build_run(tmp_path, "run", epochs=2, override={"epochs": 5})
    assert load([folder]).problems == ["run: board-1 recorded 2 of 5 epochs"]


def test_a_loss_that_is_no_number_is_reported_and_stays_nan(tmp_path):
    folder = build_run(tmp_path, "run", loss=(4.0, math.nan, math.nan))
    loaded = load([folder])
    assert loaded.problems == ["run: the loss of board-1 is not a finite number from epoch 2 on"]
    assert loaded.epochs["loss"].isna().tolist() == [False, True, True]
    assert loaded.epochs["val_accuracy"].notna().all()


def test_text_in_place_of_a_number_is_reported(tmp_path):
    folder = build_run(tmp_path, "run")
    events = folder / "boards/board-1/events.jsonl"
    records = [json.loads(line) for line in events.read_text().splitlines()]
    next(it for it in records if it["event"] == "epoch")["train_s"] = "long"
    events.write_text("\n".join(map(json.dumps, records)))
    loaded = load([folder])
    assert loaded.problems == [
        "run: board-1/events.jsonl, line 4: train_s of epoch has a value of another kind, and is not used"
    ]
    assert loaded.epochs["train_s"].isna().tolist() == [True, False, False]


def test_a_record_that_does_not_say_its_epoch_is_reported(tmp_path):
    folder = build_run(tmp_path, "run")
    events = folder / "boards/board-1/events.jsonl"
    events.write_text(events.read_text().replace('"epoch": 2', '"epoch": null'))
    loaded = load([folder])
    assert loaded.epochs["epoch"].tolist() == [1, 3]
    assert "run: board-1/events.jsonl, line 7: epoch is not a whole number" in loaded.problems


def test_of_epochs_recorded_twice_the_latest_is_used(tmp_path):
    folder = build_run(tmp_path, "run", loss=(4.0, 3.0, 2.0))
    again = build_run(tmp_path / "again", "run", loss=(3.9, 2.9, 1.9))
    part = "boards/board-1/events.jsonl"
    (folder / part).write_text((folder / part).read_text() + (again / part).read_text())
    loaded = load([folder])
    assert loaded.epochs["loss"].tolist() == [3.9, 2.9, 1.9]
    problems = [
        "run: board-1 has 2 start records in one events.jsonl",
        "run: board-1 recorded 3 epochs more than once; the latest is used",
    ]
    assert loaded.problems == problems
    assert loaded.windows["loss"].tolist() == [3.9, 3.9, 2.9, 2.9, 1.9, 1.9]
    assert loaded.problems == [*problems, "run: board-1 recorded 6 windows more than once; the latest is used"]


def test_windows_are_read_when_they_are_asked_for(tmp_path):
    events = [build_run(tmp_path, run_id) / "boards/board-1/events.jsonl" for run_id in ("a", "b")]
    loaded = load(tmp_path.iterdir())
    for path in events:
        path.write_text(path.read_text().replace('"elapsed_s": 1.6', '"elapsed_s": 7.5'))
    assert set(loaded.windows_of(["b"])["run_id"]) == {"b"}
    assert set(loaded.windows["run_id"]) == {"a", "b"}
    assert loaded.windows["elapsed_s"].max() == 7.5


@pytest.mark.parametrize("form", [json.dumps, lambda record: json.dumps(record, separators=(",", ":"))])
def test_what_is_passed_over_unread_is_whole_windows_only(tmp_path, form):
    path = build_run(tmp_path, "run", epochs=2) / "boards/board-1/events.jsonl"
    records = [json.loads(line) for line in path.read_text().splitlines()]
    lines = [form(record) for record in records]
    lines[1] = lines[1][:-9]  # a window that was cut
    path.write_text("\n".join([*lines[:4], "{", "", *lines[4:]]))  # no newline at the end
    loaded = load([path.parents[2]])
    assert loaded.epochs["epoch"].tolist() == [1, 2]
    assert [problem.partition(": ")[2] for problem in loaded.problems] == [
        f"board-1/events.jsonl, line {number}: not a record" for number in (2, 5, 6)
    ]
    assert len(loaded.windows) == 3


def test_an_empty_file_of_events_is_half_a_run(tmp_path):
    path = build_run(tmp_path, "run") / "boards/board-1/events.jsonl"
    path.write_text("")
    assert load([path.parents[2]]).problems == ["run: board-1 recorded 0 of 3 epochs"]


def test_what_a_board_cost_is_in_its_row(tmp_path):
    folder = build_run(tmp_path, "run", workers=2)
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["boards"][0]["cost"].update(energy_j=100.0, mean_power_mw=20_000.0, temperature_max_c=51.5)
    del manifest["boards"][1]["cost"]  # by an earlier version
    (folder / "manifest.json").write_text(json.dumps(manifest))
    first, second = load([folder]).boards.to_dict("records")
    assert [first[f"cost.{name}"] for name in ("energy_j", "mean_power_mw", "temperature_max_c")] == [
        100.0,
        20_000.0,
        51.5,
    ]
    assert math.isnan(second["cost.energy_j"])


def test_the_repeat_of_a_study_is_the_same_for_all_its_arms(tmp_path, monkeypatch):
    folders = [build_run(tmp_path, run_id) for run_id in ("a", "b", "c")]
    labels = dict(zip(folders, ["paper/one board/2", "paper/two boards/2", None], strict=True))

    def with_study(path):
        run = load_run(path)
        object.__setattr__(run, "study", labels[path.parent])
        return run

    monkeypatch.setattr(import_module("analysis.runs.loading"), "load_run", with_study)
    runs = load(folders).runs
    assert runs["repeat"].tolist()[:2] == ["paper/2", "paper/2"]
    assert runs["repeat"].isna().tolist() == [False, False, True]
