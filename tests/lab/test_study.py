"""A study in the lab: killed in the middle, started again, complete, and no run twice."""

import html
import json
import os
import signal
import subprocess
import time
from collections import Counter
from pathlib import Path

import pytest
import yaml
from conftest import ANSIBLE, PROJECT, Lab, training_lab
from test_run import SHORT

from analysis import compare, load

pytestmark = [pytest.mark.lab, pytest.mark.tensorflow, pytest.mark.thorough]

lab = training_lab(12)

LOCAL = {**SHORT, "data": {**SHORT["data"], "sharding": "sharded"}, "sync": {"method": "local_sgd", "period": 2}}
ARMS = {
    "one_board": {"workers": 1, "override": SHORT},
    "keras": {"workers": 2, "override": SHORT},
    "local": {"workers": 2, "override": LOCAL},
}


@pytest.mark.timeout(2400)
@pytest.mark.parametrize("arms, repeats", [(2, 1), (3, 3)], ids=["short", "3 arms x 3 repeats"])
def test_a_study_goes_on_where_it_was_killed(lab: Lab, tmp_path: Path, arms: int, repeats: int) -> None:
    study, runs = tmp_path / "small.yml", tmp_path / "runs"
    chosen = dict(list(ARMS.items())[:arms])
    study.write_text(yaml.safe_dump({"experiment": "rehearsal", "repeats": repeats, "order_seed": 1, "arms": chosen}))
    runs.mkdir()
    measure = repeats > 1
    variables = json.dumps({"study": str(study), "study_runs_dir": str(runs), "study_measure": measure})
    command = [str(ANSIBLE / "ansible-playbook"), "-i", str(lab.inventory), "playbooks/run_study.yml", "-e", variables]
    wanted = {f"small/{arm}/{repeat}": 1 for arm in chosen for repeat in range(1, repeats + 1)}

    first = subprocess.Popen(command, cwd=PROJECT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 1200
    middle = 1 + len(wanted) // 2
    while len(list(runs.glob("*-rehearsal-w*/boards/*/events.jsonl"))) < middle:  # in the middle of a run
        assert time.monotonic() < deadline and first.poll() is None
        time.sleep(0.2)
    os.kill(first.pid, signal.SIGKILL)
    first.wait()
    time.sleep(5)  # the playbook of the run notices

    again = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, timeout=1500)
    assert again.returncode == 0, again.stdout + again.stderr
    made = Counter(json.loads(path.read_text())["study"] for path in runs.glob("*-rehearsal-w*/run.json"))
    assert made == wanted, again.stdout
    assert all(json.loads((path / "manifest.json").read_text())["status"] == "succeeded" for path in runs.glob("*-w*"))
    assert "collecting it now" in again.stdout and (" left" in again.stdout) == measure
    report = html.unescape((runs / "small.html").read_text())
    answer, _, _ = compare(load(runs.glob("*-rehearsal-w*"))).verdict.partition(": ")
    assert report.index(answer) < report.index("<table"), "it opens with the verdict"

    third = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, timeout=100)
    assert f"{len(wanted)} of {len(wanted)} runs done" in third.stdout, "finished runs are not repeated"
