"""Provenance of runs, from untrusted files."""

import math
import subprocess
from dataclasses import asdict

import pandas as pd
import pytest

from analysis import compare, load
from analysis.report.report import render
from analysis.runs import provenance
from controller.foretell import Expectation
from tests import PROJECT
from tests.data.build_runs import build_run
from trainer.contract.choice import FLOAT16, FLOAT32, TIMED, choose
from trainer.contract.layout import PREDICTION, write_json
from trainer.contract.records import EventLog

RUNS = {"plain": {}, "own": {"sync": {"method": "auto"}}}  # overrides by run
EVIL = [
    "",
    "[]",
    "{",
    "null",
    '{"findings": 3, "attempts": {}, "boards": [], "waived": "x", "epoch_s": "1"}',
    '{"epoch_s": true}',
    f'{{"epoch_s": 1{"0" * 400}}}',
]


def table(folder, **columns):
    return pd.DataFrame([{"run_id": "run", "folder": str(folder), "workers": 1, **columns}])


@pytest.mark.parametrize("text", EVIL)
@pytest.mark.parametrize("name", ["gates.json", "prediction.json", "manifest.json"])
def test_files_that_are_something_else_say_nothing(tmp_path, name, text):
    (tmp_path / name).write_text(text)
    runs = table(tmp_path, pass_s=1.0)
    assert provenance.gates(runs) == []
    assert provenance.unchecked(runs) == ["run"]
    assert provenance.waived(runs) == [] and provenance.power_modes(runs) == {}
    assert list(provenance.attempts(runs)) == list(provenance.throttled(runs)) == []
    for row in provenance.predictions(runs):
        assert row == ["run", "-", "-", "1.0", "-", "null"]


def test_a_prediction_is_beside_its_error(tmp_path):
    told = Expectation(11.0, 9.5, 12.75, total_s=90.0, energy_j=None, measured_in=["one run", "another"])
    write_json(tmp_path / PREDICTION, asdict(told))
    (row,) = provenance.predictions(table(tmp_path, pass_s=10.0))
    assert row == ["run", "11.0", "9.5 to 12.8", "10.0", "+10%", "one run, another"]


def test_a_run_that_was_not_timed_has_no_error(tmp_path):
    write_json(tmp_path / PREDICTION, {"epoch_s": 11})
    (row,) = provenance.predictions(table(tmp_path, pass_s=math.nan))
    assert row == ["run", "11.0", "-", "-", "-", "null"]


def test_why_an_energy_is_not_known_is_told_with_the_run(tmp_path):
    boards = [{"name": "a", "cost": {"refused": "no sample for 20 s"}}, {"name": "b", "cost": {"refused": None}}]
    write_json(tmp_path / "manifest.json", {"boards": [*boards, {"name": "c", "cost": 3}, {"name": "d"}]})
    assert list(provenance.unsampled(table(tmp_path))) == ["run: the energy of a is not known: no sample for 20 s"]


def test_what_auto_chose_is_told_with_its_reason(tmp_path):
    plain, own = (build_run(tmp_path, run_id=name, workers=2, override=override) for name, override in RUNS.items())
    choice = choose(1.0, {FLOAT32: 0.8, FLOAT16: 0.4, TIMED[2]: 0.01}, 0.95, 16)
    for board in ("boards/board-1", "boards/board-2"):
        EventLog(own / board / "events.jsonl").write(choice)
    runs = load([plain, own]).runs
    assert list(provenance.choices(runs)) == [["own", TIMED[2], choice.reason]]
    page = render(compare(load([plain, own])), tmp_path, drawn=False)
    assert "What auto chose" in page and TIMED[2] in page


def test_what_lowered_clocks_is_told_with_the_run(tmp_path):
    boards = [
        {"name": "a", "facts": {"over_current_events": {"oc3": 2}, "throttled_s": None}},
        {"name": "b", "facts": {}},
    ]
    write_json(tmp_path / "manifest.json", {"boards": [*boards, {"name": "c", "facts": None}, 3]})
    (told,) = provenance.throttled(table(tmp_path))
    assert told.startswith("run: a throttled its clocks 2 times (peak power 2)")


def test_findings_that_runs_share_are_one_row(tmp_path):
    finding = {"board": "a", "gate": "g", "severity": "warn", "found": "1", "wanted": "2", "remedy": "r"}
    for run in ("one", "two"):
        (tmp_path / run).mkdir()
        write_json(tmp_path / run / "gates.json", {"findings": [{**finding, "waived": False}]})
    runs = pd.concat([table(tmp_path / run).assign(run_id=run) for run in ("one", "two")])
    assert provenance.gates(runs) == [["a", "g", "warn", "1", "2", "r", "one, two"]]
    assert provenance.unchecked(runs) == []


def test_only_changes_of_code_make_a_checkout_dirty(tmp_path):
    def git(*arguments):
        own = ["-c", "user.name=x", "-c", "user.email=x"]
        subprocess.run(["git", "-C", tmp_path, *own, *arguments], check=True, capture_output=True)

    for name in ("trainer/a.py", "inventory/boards/hosts.yml", "requirements/board.txt", "docs/x.md"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("before")
    git("init")
    git("add", ".")
    git("commit", "-m", "x")
    (tmp_path / "inventory/boards/hosts.yml").write_text("boards")
    (tmp_path / "inventory/boards/more.yml").write_text("boards")
    (tmp_path / "docs/x.md").write_text("after")
    commit, changed = provenance.git_state(tmp_path)
    assert len(commit) == 40 and changed == []
    (tmp_path / "trainer/a.py").write_text("after")
    (tmp_path / "requirements/board.txt").rename(tmp_path / "requirements/other.txt")
    (tmp_path / "experiments/new").mkdir(parents=True)
    (tmp_path / "experiments/new/my own.yml").write_text("")
    names = ["experiments/new/my own.yml", "requirements/board.txt", "requirements/other.txt", "trainer/a.py"]
    assert provenance.git_state(tmp_path) == (commit, names)
    assert provenance.git_state(tmp_path / "nowhere") == (None, None)


def test_all_code_of_the_checkout_counts_as_code():
    folders = {path.parent.name for path in PROJECT.glob("*/__init__.py")} - {"tests"}
    assert folders <= set(provenance.CODE)
    assert all((PROJECT / name).exists() for name in provenance.CODE)
