"""A run that went on without a board: its manifest, its tables, and what it is compared in."""

import dataclasses
import json

import pytest

from analysis import compare, load
from analysis.runs.generations import generations
from analysis.runs.manifest import write_manifest
from tests.data.build_runs import build_run
from trainer.contract.events import NewGeneration, Resume
from trainer.contract.layout import write_json
from trainer.contract.records import read_records

LOST = "board-1"  # the chief
LEFT = ["board-2", "board-3"]
STOPPED_S, STARTUP_S = 12.0, 20.0


def went_on(tmp_path, lost=LOST, left=LEFT, chief_failed=False):
    """A run of three boards and four epochs, of which one is lost in the third; that begins anew after the second."""
    folder = build_run(tmp_path, workers=3, epochs=4, manifest=False)
    for board in ["board-1", "board-2", "board-3"]:
        path = folder / "boards" / board / "events.jsonl"
        records = [json.loads(line) for line in path.read_text().splitlines()]
        end = next(place for place, it in enumerate(records) if it["event"] == "epoch" and it["epoch"] == 2) + 1
        third = end + 3  # its windows and its record, which only the lost board and one other have written
        if board == lost:
            kept = records[:third]
        else:
            at_s = records[end]["time_s"]
            new = NewGeneration(2, left, 2, [lost] if lost else [], "network", "no word", STOPPED_S, 1.6)
            resume = Resume(epoch=2, startup_s=STARTUP_S)
            pause_s = records[end]["elapsed_s"] + STOPPED_S + STARTUP_S
            kept = [
                *records[: end + 1],
                {"event": "generation", "time_s": at_s + STOPPED_S, **dataclasses.asdict(new)},
                {"event": "resume", "time_s": at_s + STOPPED_S + STARTUP_S, **dataclasses.asdict(resume)},
                *({**it, "time_s": it["time_s"] + pause_s} for it in records[end:]),
            ]
        path.write_text("".join(json.dumps(it) + "\n" for it in kept))
        if board == lost or (chief_failed and board == left[0]):
            result = json.loads((folder / "boards" / board / "result.json").read_text())
            write_json(folder / "boards" / board / "result.json", {**result, "status": "failed", "cause": "lost"})
    write_manifest(folder)
    return folder


def test_the_manifest_says_which_generations_there_were_and_that_the_run_succeeded(tmp_path):
    manifest = json.loads((went_on(tmp_path) / "manifest.json").read_text())
    assert (manifest["status"], manifest["cause"]) == ("succeeded", None)
    first, second = manifest["generations"]
    assert first["boards"] == [LOST, *LEFT]
    assert (second["boards"], second["lost"], second["epoch"]) == (LEFT, [LOST], 2)
    assert second["stopped_s"] == pytest.approx(STOPPED_S + STARTUP_S) and second["discarded_s"] == 1.6
    assert [board["status"] for board in manifest["boards"]] == ["failed", "succeeded", "succeeded"]


def test_a_run_whose_last_chief_failed_has_failed(tmp_path):
    manifest = json.loads((went_on(tmp_path, chief_failed=True) / "manifest.json").read_text())
    assert manifest["status"] == "failed"


def test_a_run_that_lost_nobody_has_one_generation(tmp_path):
    manifest = json.loads((build_run(tmp_path, workers=2) / "manifest.json").read_text())
    assert [it["boards"] for it in manifest["generations"]] == [["board-1", "board-2"]]


def test_no_epoch_counts_twice(tmp_path):
    folder = went_on(tmp_path)
    records, problems = read_records(folder / "boards/board-2/events.jsonl")
    assert problems == []
    assert [it["epoch"] for it in records if it["event"] == "epoch"] == [1, 2, 3, 4]
    places = [(it["epoch"], it["first_step"]) for it in records if it["event"] == "window"]
    assert places == sorted(set(places))
    epochs = load([folder]).epochs
    assert epochs.groupby("board")["epoch"].apply(list).to_dict() == {
        LOST: [1, 2],
        **{board: [1, 2, 3, 4] for board in LEFT},
    }
    chiefs = epochs[epochs["rank"] == 0].set_index("epoch")["board"].to_dict()
    assert chiefs == {1: LOST, 2: LOST, 3: LEFT[0], 4: LEFT[0]}


def test_time_to_an_epoch_includes_the_time_without_training(tmp_path):
    undisturbed = load([build_run(tmp_path / "a", workers=2, epochs=4)]).epochs
    disturbed = load([went_on(tmp_path / "b")]).epochs
    last = [
        table[(table["epoch"] == 4) & (table["rank"] == 0)]["elapsed_s"].item() for table in (undisturbed, disturbed)
    ]
    assert last[1] == pytest.approx(last[0] + 1.6 + STOPPED_S + STARTUP_S, abs=0.1)


def test_such_a_run_is_compared_in_accuracy_and_whole_time_only_and_this_is_said(tmp_path):
    alone = build_run(tmp_path / "one", workers=1, epochs=4)
    comparison = compare(load([alone, went_on(tmp_path / "three")]))
    runs = comparison.runs.set_index("workers")
    assert runs.loc[3, ["step_s", "images_per_s", "pass_s"]].isna().all()
    assert runs.loc[3, ["total_s", "val_accuracy_final"]].notna().all()
    (told,) = [problem for problem in comparison.problems if "compared in its accuracy" in problem]
    assert "2 of 3 boards trained all the time" in told and "without board-1" in told
    assert not [problem for problem in comparison.problems if "recorded" in problem]


def test_a_run_in_which_only_a_trainer_died_is_compared_in_all(tmp_path):
    folder = went_on(tmp_path, lost=None, left=["board-1", "board-2", "board-3"])
    comparison = compare(load([folder]))
    assert comparison.runs["step_s"].notna().all() and comparison.runs["total_s"].notna().all()
    assert any("include the time without training" in problem for problem in comparison.problems)


@pytest.mark.parametrize("odd", [{"boards": ["stranger"]}, {"boards": []}, {"number": None}, {"boards": None}])
def test_records_that_are_of_no_generation_of_these_boards_are_passed_over(odd):
    record = {
        "event": "generation",
        "time_s": 1.0,
        **dataclasses.asdict(NewGeneration(2, ["a"], 1, [], "peer", "why", 1.0, 0.0)),
        **odd,
    }
    assert len(generations(["a", "b"], {"a": [record]})) == 1
