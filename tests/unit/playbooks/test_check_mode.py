"""A playbook in check mode, on a board that is this machine: nothing changes, here or there."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests import PROJECT
from tests.unit.actions import snapshot

GOLDEN = PROJECT / "tests/data/rehearsal_of_schema1/20261121T185346Z-rehearsal-w1-s1"


@pytest.fixture
def lost_run(tmp_path):
    """A run that ended on its board, and whose controller lost it: runs/ and board/ in the folder."""
    here, there = tmp_path / "runs" / GOLDEN.name, tmp_path / "board/runs" / GOLDEN.name
    here.mkdir(parents=True)
    shutil.copy(GOLDEN / "run.json", here)
    (here / "lost.json").write_text('{"board": "board-1"}')
    shutil.copytree(GOLDEN / "boards/board-1", there)
    shutil.copy(GOLDEN / "run.json", there)
    return tmp_path


def collect(folder, *arguments):
    inventory = {"boards": {"hosts": {"board-1": {"ansible_connection": "local"}}}}
    (folder / "hosts.yml").write_text(json.dumps(inventory))
    given = {"run_id": GOLDEN.name, "run_config_runs_dir": str(folder / "runs"), "kit_home": str(folder / "board")}
    command = [Path(sys.executable).with_name("ansible-playbook"), "-i", folder / "hosts.yml", "playbooks/collect.yml"]
    done = subprocess.run(
        [*command, "-e", json.dumps(given), *arguments],
        cwd=PROJECT,
        env={**os.environ, "ANSIBLE_CONFIG": str(PROJECT / "ansible.cfg"), "ANSIBLE_NOCOLOR": "1"},
        capture_output=True,
        text=True,
        timeout=120,
    )
    return done.returncode, done.stdout + done.stderr


@pytest.mark.slow
def test_collect_changes_nothing_in_check_mode_and_collects_without_it(lost_run):
    (lost_run / "hosts.yml").touch()
    before = snapshot(lost_run)
    code, output = collect(lost_run, "--check")
    assert code == 0 and "changed=" in output, output
    (lost_run / "hosts.yml").write_text("")
    assert snapshot(lost_run) == before
    code, output = collect(lost_run)
    assert code == 0, output
    assert not (lost_run / "board/runs" / GOLDEN.name).exists()
    run = lost_run / "runs" / GOLDEN.name
    assert json.loads((run / "manifest.json").read_text())["status"] == "succeeded"
    assert (run / "boards/board-1/events.jsonl").read_bytes() == (GOLDEN / "boards/board-1/events.jsonl").read_bytes()
