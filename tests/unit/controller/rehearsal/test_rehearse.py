"""`make rehearse` from its first line to its last, with a stand-in for Ansible."""

import os
import signal
import subprocess
import sys
import time

import pytest

from tests import PROJECT

pytestmark = pytest.mark.slow

# plays as Ansible does, in no time; `hangs`: in a playbook or an arm, until Ctrl-C
ANSIBLE = """#!{python}
import json, os, sys, time
from pathlib import Path

play = Path(next(word for word in sys.argv if word.startswith("playbooks/"))).stem
print("output of", play, flush=True)

def at(place):
    with open("played", "a") as played:
        played.write(place + "\\n")
    if os.environ.get("FAILING") == place:
        sys.exit("it cannot be done")
    if os.environ.get("HANGING") == place:
        try:
            time.sleep(60)
        except KeyboardInterrupt:
            sys.exit(99)

at(play)
if play == "lab_up":
    Path(".lab").mkdir(exist_ok=True)
if play == "lab_down" and Path(".lab").exists():
    Path(".lab").rmdir()
if play == "run_study":
    from controller.presets import configuration
    from controller.study import rounds, slots, states
    from analysis.runs.manifest import write_manifest
    from tests.data.build_runs import build_run
    here, runs = Path.cwd(), Path("runs")
    planned = slots("rehearsal", here, ["a", "b"], 1)
    found = states(planned, runs, here, rounds(planned, runs, here))
    for number, slot in enumerate(state.slot for state in found if not state.succeeded):
        request = dict(experiment=slot.experiment, override=slot.override)
        config = configuration(request, here, [], slot.workers)
        name = time.strftime("%Y%m%dT%H%M%SZ") + f"-{{slot.arm}}-w{{slot.workers}}-s1"
        step_s = dict(one_board=0.4, keras=1.2, shared=1.2, fast=0.2)[slot.arm]
        folder = build_run(runs, name, workers=slot.workers, step_s=step_s, epochs=config["epochs"], override=config,
                           accuracy=[0.3, 0.7], manifest=False)
        run = json.loads((folder / "run.json").read_text())
        (folder / "run.json").write_text(json.dumps({{**run, "study": slot.name}}))
        at(slot.arm)
        time.sleep(0.4)
        write_manifest(folder)
    (runs / "rehearsal.html").write_text("")
"""


@pytest.fixture
def project(tmp_path):
    for folder in ("experiments", "studies"):
        (tmp_path / folder).symlink_to(PROJECT / folder)
    program = tmp_path / ".venv/bin/ansible-playbook"
    program.parent.mkdir(parents=True)
    program.write_text(ANSIBLE.format(python=sys.executable))
    program.chmod(0o755)
    return tmp_path


def start(project, **variables):
    environment = {**os.environ, "PYTHONPATH": str(PROJECT), "COLUMNS": "100", **variables}
    command = [sys.executable, "-m", "controller.rehearsal"]
    pipe = subprocess.PIPE
    return subprocess.Popen(command, cwd=project, env=environment, stdout=pipe, stderr=subprocess.STDOUT, text=True)


def played(project):
    path = project / "played"
    return path.read_text().split() if path.exists() else []


def test_it_tells_what_happens_and_ends_with_a_table(project):
    child = start(project)
    out, _ = child.communicate(timeout=100)
    assert child.returncode == 0, out
    assert played(project) == ["lab_up", "run_study", "one_board", "keras", "shared", "fast", "lab_down"]
    lines = out.splitlines()
    titles = ["One board", "Two boards, as in the paper", "Two boards, images shared out", "Two boards, the fast way"]
    begins = [next(number for number, line in enumerate(lines) if f"  {title}, about" in line) for title in titles]
    assert begins == sorted(begins) and "output of" not in out, "Ansible's own words go to the log"
    assert sum("epoch 2 of" in line and "accuracy 0.700" in line for line in lines) == 4
    rows = {title: line for title in titles for line in lines if line.startswith(title) and "about" not in line}
    ratios = [float(rows[title].removeprefix(title).split()[2]) for title in titles]
    assert ratios == pytest.approx([1.0, 2.8, 2.8, 0.55], abs=0.03), "validation takes all of them as long"
    assert "times as fast as one board" in " ".join(out.split()) and lines[-1] == "The report: runs/rehearsal.html"
    assert "output of run_study" in (project / "runs/rehearsal.log").read_text()


@pytest.mark.parametrize("place", ["lab_up", "keras", "lab_down"])
def test_after_ctrl_c_nothing_is_left(project, place):
    child = start(project, HANGING=place if place != "lab_down" else "fast")
    while place not in played(project) and (place != "lab_down" or "fast" not in played(project)):
        assert child.poll() is None, child.stdout.read()
        time.sleep(0.05)
    child.send_signal(signal.SIGINT)
    if place == "lab_down":
        child.send_signal(signal.SIGINT)  # who is impatient
        child.send_signal(signal.SIGTERM)
    out, _ = child.communicate(timeout=60)
    assert child.returncode == 130, out
    assert played(project)[-1] == "lab_down" and not (project / ".lab").exists()
    assert "Stopped, and the boards are removed" in " ".join(out.split())
    left = [path.parent for path in (project / "runs").glob("*/run.json")]
    assert all((folder / "manifest.json").exists() for folder in left), "a run that was not collected is of no use"


def test_a_second_call_goes_on_and_a_third_begins_anew(project):
    child = start(project, HANGING="shared")
    while "shared" not in played(project):
        time.sleep(0.05)
    child.send_signal(signal.SIGINT)
    child.communicate(timeout=60)
    out, _ = start(project).communicate(timeout=100)
    assert "The report" in out and played(project).count("one_board") == 1
    start(project).communicate(timeout=100)
    assert played(project).count("one_board") == 2


def test_a_failure_is_shown_with_the_log_and_the_boards_go(project):
    child = start(project, FAILING="keras")
    out, _ = child.communicate(timeout=60)
    assert child.returncode == 1 and "it cannot be done" in out and "rehearsal.log" in out
    assert played(project)[-1] == "lab_down" and not (project / ".lab").exists()


@pytest.mark.parametrize(("variables", "code"), [({}, 0), ({"FAILING": "keras"}, 1), ({"HANGING": "keras"}, 130)])
def test_boards_are_kept_for_who_wants_them(project, variables, code):
    child = start(project, KEEP_LAB="1", **variables)
    if code == 130:
        while "keras" not in played(project):
            time.sleep(0.05)
        child.send_signal(signal.SIGINT)
    out, _ = child.communicate(timeout=100)
    assert child.returncode == code and out.splitlines()[-1] == "The boards are left up: 'make lab-down' removes them."
    assert "removed" not in out.lower() and "lab_down" not in played(project) and (project / ".lab").exists()
