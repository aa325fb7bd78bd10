"""Run folders of the version before are read; its names in what a user writes get an error that says what to write."""

import dataclasses
import json

import pytest

from analysis import compare, load
from analysis.runs.errors import AnalysisError
from controller.study import slots
from tests import PROJECT
from tests.data.build_runs import build_run
from trainer.contract.config import ConfigError, parse
from trainer.contract.events import Trial
from trainer.contract.records import parse_record
from trainer.contract.run import load_run

REHEARSAL = sorted((PROJECT / "tests/data/rehearsal_of_schema1").iterdir())


def test_the_committed_runs_are_of_schema_1_and_are_read():
    assert {json.loads((folder / "run.json").read_text())["schema"] for folder in REHEARSAL} == {1}
    assert [load_run(folder / "run.json").config.sync.method for folder in REHEARSAL] == ["keras", "keras", "local_sgd"]
    loaded = load(REHEARSAL)
    assert compare(loaded).arms["sync"].tolist() == ["none", "keras", "local_sgd"]
    assert not [problem for problem in loaded.problems if "manifest" in problem or "events" in problem]


def test_every_record_of_the_committed_runs_is_read():
    averages = 0
    for path in REHEARSAL[-1].glob("boards/*/events.jsonl"):
        for line in path.read_text().splitlines():
            record = parse_record(line)
            averages += record["event"] == "average" and record["stall_s"] >= 0 and "stood_s" not in record
    assert averages > 0


def test_what_auto_chose_is_read():
    old = {"event": "choice", "time_s": 1.0, "way": "local_sgd", "gradient_dtype": "float16", "period": 4}
    numbers = ("wanted_efficiency", "expected_efficiency", "compute_s", "float32_all_reduce_s", "float16_all_reduce_s")
    record = parse_record(json.dumps({**old, **dict.fromkeys(numbers, 0.5), "reason": "a test's"}))
    assert record["method"] == "local_sgd" and "way" not in record


@pytest.mark.parametrize(("old", "now"), [("no exchange", "no_sync"), ("keras", "keras")])
def test_what_a_trial_timed_is_read(old, now):
    numbers = {field.name: 1 for field in dataclasses.fields(Trial)}
    assert parse_record(json.dumps({"event": "trial", "time_s": 1.0, **numbers, "sync": old}))["sync"] == now


def test_old_names_are_those_of_old_runs_alone(tmp_path):
    path = build_run(tmp_path, workers=2) / "run.json"
    raw = json.loads(path.read_text())
    raw["config"]["sync"]["way"] = raw["config"]["sync"].pop("method")
    path.write_text(json.dumps({**raw, "schema": 2}))
    with pytest.raises(ConfigError, match=r"sync\.way is now sync\.method"):
        load_run(path)
    path.write_text(json.dumps({**raw, "schema": 1}))
    assert load_run(path).config.sync.method == "keras"


@pytest.mark.parametrize(("value", "written"), [("local_sgd", "local_sgd"), (None, "null"), ([1], "[1]")])
def test_an_old_name_in_what_a_user_writes_is_an_error_that_says_what_to_write(value, written):
    with pytest.raises(ConfigError) as error:
        parse({"epochs": 0, "sync": {"way": value}})
    assert error.value.problems == [
        f"sync.way is now sync.method: write sync: {{method: {written}}}",
        "epochs is 0; give 1 or more",
    ]


@pytest.mark.parametrize(
    ("value", "written", "meant"),
    [
        (True, "true", "autoclustering"),
        (False, "false", "none"),
        ("yes", "yes", "autoclustering"),
        ("No", "No", "none"),
    ],
)
def test_a_truth_value_for_xla_is_an_error_that_says_what_to_write(value, written, meant):
    with pytest.raises(ConfigError) as error:
        parse({"model": {"xla": value}})
    assert error.value.problems == [
        f"model.xla is {written}; it now names how to compile: write model: {{xla: {meant}}}"
    ]


@pytest.mark.parametrize("schema", [1, 2])
@pytest.mark.parametrize(("old", "now"), [(True, "autoclustering"), (False, "none"), ("jit_compile", "jit_compile")])
def test_runs_with_a_truth_value_for_xla_are_read(tmp_path, schema, old, now):
    folder = build_run(tmp_path, workers=2)
    raw = json.loads((folder / "run.json").read_text())
    raw["config"]["model"]["xla"] = old
    (folder / "run.json").write_text(json.dumps({**raw, "schema": schema}))
    assert load_run(folder / "run.json").config.model.xla == now
    start = (folder / "boards/board-1/events.jsonl").read_text().splitlines()[0]
    assert parse_record(json.dumps({**json.loads(start), "xla": old}))["xla"] == now


@pytest.mark.parametrize(("value", "strategy"), [("plain", "none"), ("mwms", "multi_worker_mirrored")])
def test_the_strategy_of_one_board_has_a_field_of_its_own(value, strategy):
    with pytest.raises(ConfigError) as error:
        parse({"sync": {"one_board": value}})
    assert error.value.problems == [
        f"sync.one_board is now strategy: write strategy: {strategy}, and leave sync.one_board out"
    ]


@pytest.mark.parametrize("schema", [1, 2])
@pytest.mark.parametrize(
    ("old", "workers", "now"),
    [("plain", 1, "none"), ("mwms", 1, "multi_worker_mirrored"), ("plain", 2, "multi_worker_mirrored")],
)
def test_runs_with_a_strategy_of_one_board_are_read(tmp_path, schema, old, workers, now):
    path = build_run(tmp_path, workers=workers) / "run.json"
    raw = json.loads(path.read_text())
    del raw["config"]["strategy"]
    raw["config"]["sync"]["one_board"] = old
    path.write_text(json.dumps({**raw, "schema": schema}))
    assert load_run(path).config.strategy_on(workers) == now


def test_other_keys_are_unknown_as_before():
    for raw in ({"way": "keras"}, {"data": {"way": "keras"}}, {"sync": {"stood_s": 1}}):
        with pytest.raises(ConfigError, match="unknown key "):
            parse(raw)


def test_a_study_with_an_old_name_is_refused_with_the_new_one(tmp_path):
    for name in ("experiments", "studies"):
        (tmp_path / name).mkdir()
    (tmp_path / "experiments/paper.yml").write_text("{}\n")
    arms = "arms:\n  one: {workers: 1}\n  fast: {workers: 2, override: {sync: {way: local_sgd}}}\n"
    (tmp_path / "studies/old.yml").write_text(f"repeats: 1\norder_seed: 1\n{arms}")
    with pytest.raises(
        AnalysisError, match=r"arms\.fast: sync.way is now sync.method: write sync: \{method: local_sgd\}"
    ):
        slots("old", tmp_path, ["board-1", "board-2"])
