"""What the version before left: tests/data/schema1 has a bundle of it, and what its provisioning left on a board."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from analysis import load
from analysis.__main__ import main
from analysis.comparison.compare import compare
from analysis.publish.bundle import ABOUT, SUMS, TOP
from analysis.publish.verify import verify
from analysis.runs.errors import AnalysisError
from analysis.runs.manifest import checksums
from analysis.runs.unpacking import unpack
from controller import resume
from controller.study import Slot, states
from trainer.contract.config import ConfigError
from trainer.contract.layout import write_json

PROJECT = Path(__file__).parents[2]
BUNDLE = PROJECT / "tests/data/schema1/evidence.tar.gz"
COMMIT = "bf7e712a4fef72c98abed1fe416200d2811f85ba"  # which made all of it
ONE, BROKEN = "20261127T161222Z-rehearsal-w1-s1", "20261127T161944Z-rehearsal-w2-s1"


@pytest.fixture
def root(tmp_path):
    """The bundle unpacked."""
    unpack(BUNDLE, tmp_path)
    return tmp_path / TOP


def packed(root):
    """The folder as a bundle with the checksums that it should have."""
    (root / SUMS).unlink()
    (root / SUMS).write_text("".join(f"{sum_}  {name}\n" for name, sum_ in checksums(root).items()))
    path = root.parent / "it's.tar.gz"
    subprocess.run(["tar", "-czf", path, "-C", root.parent, TOP], check=True)
    return path


def test_its_bundle_is_checked_as_far_as_that_can_be_and_the_version_for_the_rest_is_named(capsys):
    assert main(["verify", str(BUNDLE)]) == 1
    out = capsys.readouterr().out
    assert out.startswith(
        f"{BUNDLE} is valid as far as this version can check: its 34 files are unchanged since packing, "
        "and its 2 runs match their boards' records.\nNot checked: comparison.json and report.html, which "
        "an earlier version of the kit"
    )
    assert f"git worktree add ../kit-bf7e712 {COMMIT} && cd ../kit-bf7e712 && make setup && " in out
    assert f".venv/bin/python -m analysis verify {BUNDLE}\n" in out
    assert "is not valid" not in out


def test_a_changed_record_in_its_bundle_is_found(root, capsys):
    events = root / f"runs/{ONE}/boards/board-1/events.jsonl"
    events.write_text(events.read_text().replace('"images": 128', '"images": 129'))
    path = packed(root)
    assert main(["verify", str(path)]) == 1
    out = capsys.readouterr().out
    assert f"{path} is not valid:" in out and "boards/board-1/events.jsonl is not the file that manifest.json" in out
    assert "\nNot checked: comparison.json" in out and "verify '" in out  # a path that a shell takes as one


def test_what_a_bundle_says_of_its_commit_becomes_no_command(root):
    about = json.loads((root / ABOUT).read_text())
    about["environment"]["git_commit"] = "HEAD; rm -r ~"
    write_json(root / ABOUT, about)
    found = verify(packed(root))
    assert not found.findings and "rm -r" not in "".join([*found.unchecked, *found.notes])
    assert found.unchecked[0].endswith("bundle.json does not say which commit it is.")


def test_its_runs_are_read_and_compared(root):
    loaded = load([root / "runs" / ONE, root / "runs" / BROKEN])
    assert loaded.runs["config.sync.method"].tolist() == ["keras", "local_sgd"]
    compared = compare(loaded)
    assert compared.arms["run_ids"].tolist() == [[ONE]] and compared.arms["stall_share"].tolist() == [0]
    assert [(run["run_id"], run["status"]) for run in compared.to_dict()["excluded"]] == [(BROKEN, "failed")]


def test_a_run_that_broke_off_is_not_resumed_and_stays_as_it_was(root, tmp_path):
    before = checksums(root)
    request = {"resume": BROKEN, "runs_dir": root / "runs", "project": tmp_path, "board_home": "/opt/kit"}
    request |= {"boards": ["board-1", "board-2"], "addresses": ["10.0.0.1", "10.0.0.2"], "port": 12345, "check": True}
    with pytest.raises(ConfigError) as caught:
        resume.plan({**request, "ssh_addresses": request["addresses"]})
    (problem,) = caught.value.problems
    assert problem.startswith(f"{BROKEN} was started with the previous version of the kit, commit {COMMIT}, whose")
    assert checksums(root) == before


def test_a_study_that_was_begun_before_is_refused_by_the_names_of_its_runs(root):
    run = json.loads((root / f"runs/{ONE}/run.json").read_text())
    write_json(root / f"runs/{ONE}/run.json", {**run, "study": "own/one/1"})
    override = {name: value for name, value in run["config"].items() if name != "sync"}
    override["model"] = {
        **override["model"],
        "xla": "none",
    }  # a study of that time says false, and is told what to write
    planned = [Slot("own", "one", 1, 1, "rehearsal", {**override, "sync": {"timeout_s": 600.0}})]
    (state,) = states(planned, root / "runs", PROJECT)
    assert state.succeeded and state.succeeded.name == ONE  # with the default of before it is the run of its slot
    del planned[0].override["sync"]
    with pytest.raises(AnalysisError, match=f"{ONE} is a run of own/one/1, but with another sync: move its folder"):
        states(planned, root / "runs", PROJECT)


@pytest.mark.parametrize(
    ("package", "module"),
    [("trainer/supervise", "trainer.supervise.supervisor"), ("trainer", "trainer.supervisor")],
    ids=["now", "before"],
)
def test_a_run_is_stopped_by_the_supervisor_that_was_shipped_with_it(tmp_path, package, module):
    (tmp_path / package).mkdir(parents=True)
    for folder in {"trainer", package}:
        (tmp_path / folder / "__init__.py").touch()
    (tmp_path / package / "supervisor.py").write_text("import sys; print(__spec__.name, *sys.argv[1:])")
    tasks = yaml.safe_load((PROJECT / "roles/train/tasks/stop.yml").read_text())
    (argv,) = (task["ansible.builtin.command"]["argv"] for task in tasks if task["name"] == "stop | Stop the run")
    command = [*argv[:3], sys.executable, "--config", "/runs/r1/run.json", *argv[6:]]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout.split() == [module, "--config", "/runs/r1/run.json", "--stop"]
