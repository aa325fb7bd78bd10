"""Tables for other programs: types survive, null stays null, and nothing goes over a network."""

import json
import os
import subprocess
import sys

import pandas as pd
import pytest

from analysis import load, write_manifest
from analysis.__main__ import main
from analysis.publish.export import tables
from tests import PROJECT
from tests.data.build_runs import build_run
from trainer.contract.events import Sample
from trainer.contract.layout import write_json
from trainer.contract.records import EventLog

NAMES = ["runs", "boards", "epochs", "windows", "telemetry"]


def sample(**values):
    fixed = {
        "idle": False,
        "memory_bytes": 1,
        "cpu_load": 0.5,
        "gpu_load": None,
        "sent_bytes": 2**53 + 1,
        "received_bytes": None,
    }
    return Sample(**{**fixed, "temperature_c": {}, "power_mw": {}, **values})


@pytest.fixture
def runs(tmp_path):
    """One board with sensors; two without, of which one lacks records and facts."""
    one, two = build_run(tmp_path / "runs", "one", epochs=2), build_run(tmp_path / "runs", "two", workers=2, epochs=2)
    log = EventLog(one / "boards/board-1/telemetry.jsonl")
    log.write(sample(temperature_c={"CPU": 50.0}, power_mw={"VDD_IN": 7000}))
    log.write(sample(temperature_c={"CPU": 51.0, "GPU": 40.5}))
    log.close()
    for name in ("result.json", "events.jsonl"):
        (two / "boards/board-2" / name).unlink()
    write_manifest(one)
    write_manifest(two)
    return [one, two]


def expected(runs):
    return tables(load(runs), [])


def read_csv(folder):
    """As who has only the files would read them: with the types beside them."""
    described = json.loads((folder / "datapackage.json").read_text())["resources"]
    assert [resource["name"] for resource in described] == NAMES
    return {
        resource["name"]: pd.read_csv(
            folder / resource["path"],
            dtype={field["name"]: field["extDtype"] for field in resource["schema"]["fields"]},
        )
        for resource in described
    }


def read_parquet(folder):
    return {name: pd.read_parquet(folder / f"{name}.parquet", dtype_backend="numpy_nullable") for name in NAMES}


@pytest.mark.parametrize(("to", "read"), [("csv", read_csv), ("parquet", read_parquet)])
def test_tables_come_back_as_they_were(runs, tmp_path, capsys, to, read):
    out = tmp_path / "new" / "out"
    assert main(["export", *map(str, runs), "--to", to, "--out", str(out)]) == 0
    assert str(out / f"epochs.{to}") in capsys.readouterr().out
    for name, table in expected(runs).items():
        pd.testing.assert_frame_equal(read(out)[name], table, check_exact=True)


def test_types_are_those_of_the_records_whatever_was_measured(runs):
    made = expected(runs)
    assert made["epochs"]["sent_bytes"].dtype == "Int64"
    assert made["epochs"]["waiting_s"].dtype == "Float64"  # all of one board are 0.0
    assert made["epochs"]["begins"].dtype == "boolean"
    assert made["boards"]["synthetic"].dtype == "boolean"  # null on the board that left nothing
    assert made["boards"]["facts.memory_bytes"].dtype == "Int64"
    assert made["boards"]["facts.jetpack"].dtype == "string"  # null on every board
    assert made["boards"]["cost.energy_j"].dtype == "Float64"  # the same
    assert made["runs"]["config.data.train_images"].dtype == "Int64"  # null in every run
    assert made["runs"]["config.sync.outer_learning_rate"].dtype == "Float64"
    assert not any(table[name].dtype == object for table in made.values() for name in table)


def test_where_a_run_lay_is_not_told(runs):
    assert "folder" not in expected(runs)["runs"]


def test_what_was_not_measured_is_null_and_never_zero(runs):
    made = expected(runs)
    boards = made["boards"].set_index(["run_id", "board"])
    assert boards.loc[("two", "board-2"), ["status", "steps_per_epoch", "facts.cores"]].isna().all()
    assert made["telemetry"]["gpu_load"].isna().all()
    assert made["epochs"].loc[made["epochs"]["run_id"] == "two", "waiting_s"].isna().all()


def test_samples_have_a_column_per_sensor(runs):
    telemetry = expected(runs)["telemetry"]
    assert telemetry["run_id"].tolist() == ["one", "one"]
    assert telemetry["temperature_c.CPU"].tolist() == [50.0, 51.0]
    assert telemetry["temperature_c.GPU"].isna().tolist() == [True, False]
    assert telemetry["power_mw.VDD_IN"].dtype == "Int64"
    assert telemetry["sent_bytes"].tolist() == [2**53 + 1] * 2  # more than a float can hold


def test_samples_from_before_a_field_came_have_null_in_it(tmp_path):
    folder = build_run(tmp_path)
    fields = ("memory_bytes", "cpu_load", "gpu_load", "sent_bytes", "received_bytes")
    old = {
        "event": "sample",
        "time_s": 1.0,
        "idle": False,
        **dict.fromkeys(fields),
        "temperature_c": {},
        "power_mw": {},
    }
    new = {**old, "time_s": 2.0, "clocks_pinned": True, "over_current_events": {"oc3": 2}, "throttled_s": None}
    (folder / "boards/board-1/telemetry.jsonl").write_text(f"{json.dumps(old)}\n{json.dumps(new)}\n")
    telemetry = expected([folder])["telemetry"]
    assert telemetry["clocks_pinned"].isna().tolist() == [True, False]
    assert telemetry["over_current_events.oc3"].dtype == "Int64"
    assert telemetry["over_current_events.oc3"].isna().tolist() == [True, False]
    assert not {"over_current_events", "throttled_s"} & set(telemetry.columns)


def test_without_samples_the_table_is_empty(tmp_path):
    telemetry = expected([build_run(tmp_path)])["telemetry"]
    assert telemetry.empty
    assert {"run_id", "time_s", "memory_bytes"} <= set(telemetry.columns)


def test_a_list_is_json_text(runs):
    manifest = json.loads((runs[0] / "manifest.json").read_text())
    manifest["boards"][0]["cost"]["energy_by_epoch_j"] = [1.5, None]
    write_json(runs[0] / "manifest.json", manifest)
    assert json.loads(expected(runs)["boards"]["cost.energy_by_epoch_j"][0]) == [1.5, None]


def test_what_is_wrong_with_the_runs_is_told(runs, tmp_path, capsys):
    with (runs[0] / "boards/board-1/telemetry.jsonl").open("a") as file:
        file.write("half a li")
    assert main(["export", *map(str, runs), "--to", "csv", "--out", str(tmp_path / "out")]) == 0
    err = capsys.readouterr().err
    assert "analysis: one: board-1/telemetry.jsonl, line 3: not a record" in err
    assert "analysis: two: events.jsonl of board-2 cannot be read" in err


def test_what_is_wrong_with_windows_is_told_too(runs, tmp_path, capsys):
    events = runs[0] / "boards/board-1/events.jsonl"
    window = next(line for line in events.read_text().splitlines() if json.loads(line)["event"] == "window")
    with events.open("a") as file:
        file.write(f"{window}\n")
    assert main(["export", *map(str, runs), "--to", "csv", "--out", str(tmp_path / "out")]) == 0
    assert "analysis: one: board-1 recorded 1 windows more than once" in capsys.readouterr().err


def test_a_text_is_never_a_formula_and_a_number_stays_one(runs, tmp_path):
    result = runs[0] / "boards/board-1/result.json"
    facts = {"module": "=HYPERLINK(A1)", "interface": "@SUM(A1)", "jetpack": "\t=1", "tensorflow": "+1", "python": "-1"}
    written = json.loads(result.read_text())
    write_json(result, {**written, "facts": {**written["facts"], **facts, "link_rate_bit_per_s": -1.5}})
    assert main(["export", *map(str, runs), "--to", "csv", "--out", str(tmp_path / "out")]) == 0
    cells = pd.read_csv(tmp_path / "out/boards.csv").iloc[0]
    assert {name: cells[f"facts.{name}"] for name in facts} == {name: f"'{text}" for name, text in facts.items()}
    assert cells["facts.link_rate_bit_per_s"] == -1.5


def test_no_run_is_an_error_with_a_remedy(tmp_path, capsys):
    assert main(["export", str(tmp_path), "--to", "csv", "--out", str(tmp_path / "out")]) == 2
    assert "no run found: give run folders" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(("to", "needs"), [("parquet", "pyarrow"), ("mlflow", "mlflow")])
def test_a_missing_package_is_named_with_the_command_that_installs_it(runs, tmp_path, monkeypatch, capsys, to, needs):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None if name == needs else pytest.fail(name))
    assert main(["export", *map(str, runs), "--to", to, "--out", str(tmp_path / "out")]) == 2
    err = capsys.readouterr().err
    assert f"needs {needs}, which is not installed" in err
    assert "uv pip install --python .venv/bin/python -r requirements/extras.txt" in err


# in a process of its own: MLflow never reports its use from within pytest, so nothing would be shown there
_WATCHED = """
import json, socket, sys
from pathlib import Path

asked = []
def refuse(*arguments, **_):
    asked.append(str(arguments[-1]))
    raise OSError("no network")
for name in ("connect", "connect_ex", "sendto"):
    setattr(socket.socket, name, refuse)
socket.create_connection = socket.getaddrinfo = refuse

from analysis.__main__ import main
runs, out = sys.argv[1:-1], sys.argv[-1]
codes = [main(["export", *runs, "--to", "mlflow", "--out", out]) for _ in range(2)]
config = Path(runs[0], "run.json")
config.write_text(config.read_text().replace('"seed": 1', '"seed": 7'))
codes.append(main(["export", *runs, "--to", "mlflow", "--out", out]))

import threading
for thread in threading.enumerate():
    if thread is not threading.main_thread():
        thread.join(5)
from mlflow import MlflowClient
from mlflow.entities import ViewType
client = MlflowClient(tracking_uri=Path(out).as_uri())
(experiment,) = [it.experiment_id for it in client.search_experiments() if it.name != "Default"]
print(json.dumps({
    "codes": codes,
    "asked": asked,
    "runs": {
        run.info.run_name: {
            "status": run.info.status,
            "ended_ms": run.info.end_time,
            "params": run.data.params,
            "tags": run.data.tags,
            "metrics": {
                name: [(it.step, it.timestamp, it.value) for it in client.get_metric_history(run.info.run_id, name)]
                for name in run.data.metrics
            },
        }
        for run in client.search_runs([experiment])
    },
    "replaced": [run.info.run_name for run in client.search_runs([experiment], run_view_type=ViewType.DELETED_ONLY)],
    "count": len(client.search_runs([experiment])),
}))
"""


@pytest.fixture(scope="module")
def mlflow(tmp_path_factory):
    """Two runs that were exported three times, the first of them changed before the third."""
    folder = tmp_path_factory.mktemp("mlflow")
    runs = [build_run(folder / "runs", "one", epochs=2), build_run(folder / "runs", "two", failed={0: "out of memory"})]
    ci = {"CI", "PYTEST_CURRENT_TEST", "GITHUB_ACTIONS", "GITLAB_CI", "JENKINS_URL", "BUILDKITE"}
    silencers = {"DO_NOT_TRACK", "MLFLOW_DISABLE_TELEMETRY", "MLFLOW_ALLOW_FILE_STORE"}
    kept = {name: value for name, value in os.environ.items() if name not in ci | silencers}
    done = subprocess.run(
        [sys.executable, "-c", _WATCHED, *map(str, runs), str(folder / "store")],
        cwd=PROJECT,
        env=kept,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1]) | {"records": load(runs).epochs}


@pytest.mark.slow
def test_mlflow_asks_nothing_of_a_network(mlflow):
    assert mlflow["codes"] == [0, 0, 0]
    assert mlflow["asked"] == []


@pytest.mark.slow
def test_mlflow_has_each_run_once_as_it_was_last(mlflow):
    assert mlflow["count"] == 2
    assert mlflow["replaced"] == ["one"]  # the other one was left alone
    assert mlflow["runs"]["one"]["params"]["seed"] == "7"
    assert len(mlflow["runs"]["one"]["metrics"]["loss"]) == 2


@pytest.mark.slow
def test_mlflow_has_the_configuration_and_what_the_run_was(mlflow):
    one, two = mlflow["runs"]["one"], mlflow["runs"]["two"]
    assert one["params"]["config.batch_size"] == "64"
    assert one["params"]["config.sync.method"] == "keras"
    assert one["params"]["config.data.train_images"] == "null"
    assert (one["status"], two["status"]) == ("FINISHED", "FAILED")
    assert one["ended_ms"] == 1_735_689_700_000
    assert one["tags"]["run_id"] == "one"
    assert one["tags"]["status"] == "succeeded"
    assert one["tags"]["git_commit"] == "c" * 40
    assert one["tags"]["rehearsal"] == "true"
    assert two["tags"]["cause"] == "board-1 failed: out of memory"
    assert "cause" not in one["tags"]


@pytest.mark.slow
def test_mlflow_has_the_chiefs_epochs_at_their_times(mlflow):
    records = mlflow["records"]
    loss = mlflow["runs"]["one"]["metrics"]["loss"]
    own = records[records["run_id"] == "one"]
    assert [(step, value) for step, _, value in loss] == [(1, 4.0), (2, 3.0)]
    assert [at for _, at, _ in loss] == [round(1000 * time_s) for time_s in own["time_s"]]
