"""The scripts behind `make rehearse` and `make provision-rehearsal`, with stand-ins for Ansible and sudo."""

import os
import subprocess
from pathlib import Path

import pytest

from tests import PROJECT

PLAYS = ["lab_up", "lab_snapshot", "provision", "provision", "check", "run_experiment", "restore", "lab_snapshot"]
PLAYS += ["lab_down"]
ANSIBLE = """#!/bin/sh
for word; do case "$word" in playbooks/*) play=$(basename "$word" .yml) ;; esac; done
secret=$ANSIBLE_BECOME_PASSWORD_FILE
echo "$play ${secret:+$(stat -c %a "$secret") $(cat "$secret")}" >>played
echo "$secret" >secret
test "$ANSIBLE_BECOME_ASK_PASS" = false || echo "$play asks" >>played
test "$play" != "$FAILING"
"""
SUDO = """#!/bin/sh
case "$*" in
  "-n true") exit 1 ;;
  "-kS -p  true") read -r given; test "$given" = right || { echo "sudo: 1 incorrect password attempt" >&2; exit 1; } ;;
  *) echo "sudo $*" >&2; exit 9 ;;
esac
"""


@pytest.fixture
def rehearse(tmp_path):
    """Runs provision_rehearsal.sh as one who is not root; the process, and the playbooks with what each was given."""
    programs = {".venv/bin/ansible-playbook": ANSIBLE, "bin/sudo": SUDO, "bin/id": "#!/bin/sh\necho 1000\n"}
    programs |= {f"{venv}/bin/python": "#!/bin/sh\n" for venv in (".venv", ".board-venv")}
    (tmp_path / ".cache").mkdir()
    for name, text in programs.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        path.chmod(0o755)
    (tmp_path / "playbooks").symlink_to(PROJECT / "playbooks")

    def run(typed, **variables):
        environment = {**os.environ, "PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}", **variables}
        done = subprocess.run(
            ["playbooks/provision_rehearsal.sh"],
            cwd=tmp_path,
            env=environment,
            input=typed,
            capture_output=True,
            text=True,
        )
        played = tmp_path / "played"
        return done, played.read_text().splitlines() if played.exists() else []

    return run


def test_the_password_is_asked_once_and_left_nowhere(rehearse, tmp_path):
    done, played = rehearse("right\n", ANSIBLE_BECOME_ASK_PASS="true")
    assert done.returncode == 0, done.stderr
    assert played == [f"{play} 600 right" for play in PLAYS]
    assert not Path((tmp_path / "secret").read_text().strip()).exists()
    assert "right" not in done.stdout + done.stderr


def test_a_wrong_password_ends_it_before_anything_is_made(rehearse, tmp_path):
    (tmp_path / "kept").mkdir()
    done, played = rehearse("wrong\n", TMPDIR=str(tmp_path / "kept"))
    assert not list((tmp_path / "kept").iterdir()), "nor is the password left"
    assert done.returncode != 0 and "incorrect password" in done.stderr and played == []


def test_without_a_terminal_it_says_what_to_do(rehearse):
    done, played = rehearse("")
    assert done.returncode != 0 and "run this as root" in done.stderr and played == []


def test_boards_come_down_after_a_failure_which_stays_one(rehearse, tmp_path):
    done, played = rehearse("right\n", FAILING="check")
    assert done.returncode != 0
    assert [line.split()[0] for line in played] == [*PLAYS[:5], "lab_down"]
    assert not Path((tmp_path / "secret").read_text().strip()).exists()


def test_boards_are_kept_for_who_wants_them(rehearse):
    done, played = rehearse("right\n", KEEP_LAB="1")
    assert done.returncode == 0 and "make lab-down" in done.stdout
    assert [line.split()[0] for line in played] == PLAYS[:-1]
