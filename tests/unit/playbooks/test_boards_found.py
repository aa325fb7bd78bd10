"""No board, or no host for a play: an error that names the group, from every playbook, before anything starts."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests import PROJECT

PLAYBOOKS = sorted(path.name for path in (PROJECT / "playbooks").glob("*.yml"))
INVENTORY = "boards:\n  hosts:\n    orin-1:\n    orin-2:\nswitches:\n  hosts:\n    switch-1:\n"
JETSONS = "jetsons:\n  hosts:\n    orin-1:\n"


def start(
    folder: Path, playbook: str, inventory: str, *arguments: str | Path, **environment: str
) -> subprocess.Popen[str]:
    """ansible-playbook with an inventory of this text, which changes nothing even where the error is not raised."""
    source = folder / "hosts.yml"
    source.write_text(inventory)
    (folder / "runs").mkdir(exist_ok=True)
    own = {"lab_dir": str(folder / "lab"), "lab_added_file": str(folder / "added"), "lab_interface": "cklabnone"}
    return subprocess.Popen(
        [
            *(Path(sys.executable).parent / "ansible-playbook", "--check", "-e", json.dumps(own)),
            *("-i", source, PROJECT / "playbooks" / playbook, *arguments),
        ],
        cwd=PROJECT,
        env={**os.environ, "ANSIBLE_CONFIG": str(PROJECT / "ansible.cfg"), "ANSIBLE_NOCOLOR": "1", **environment},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def end(process: subprocess.Popen[str]) -> tuple[int, str]:
    output, _ = process.communicate(timeout=60)
    return process.returncode, " ".join(output.split())


@pytest.mark.parametrize("playbook", PLAYBOOKS)
def test_every_playbook_says_that_it_finds_no_board(playbook: str, tmp_path: Path) -> None:
    code, output = end(start(tmp_path, playbook, JETSONS))
    assert code == 1 and f"the inventory {tmp_path}/hosts.yml has no group 'boards', but jetsons" in output
    assert "PLAY RECAP" not in output


@pytest.mark.parametrize("playbook", ["predict.yml", "provision.yml", "lab_up.yml"])
def test_a_limit_without_boards_is_refused_where_it_leaves_other_hosts(playbook: str, tmp_path: Path) -> None:
    code, output = end(start(tmp_path, playbook, INVENTORY, "--limit", "switch-1"))
    assert code == 1 and "No board found: --limit switch-1 selects no host of the group 'boards'" in output
    assert "which has orin-1, orin-2" in output and "PLAY RECAP" not in output


@pytest.mark.parametrize(
    "inventory, arguments, message",
    [
        ("boards:\n", (), "the group 'boards' of the inventory"),
        ("boards: {hosts: {}}\n", ("--limit", "all"), "is empty"),
        ("boards: {hosts: {}}\n", ("--limit", "orin-1"), "is empty"),
        ("boards: [\n", (), "lists no group 'boards', or cannot be read"),
        ("", ("--limit", "boards"), "lists no group 'boards', or cannot be read"),
        (INVENTORY.replace("boards", "Boards"), (), "has no group 'boards', but Boards, switches"),
        (JETSONS, ("-i", "nowhere/at/all"), f"the inventory {PROJECT}/nowhere/at/all does not exist"),
    ],
    ids=["empty", "empty, all", "empty, one", "torn", "blank", "other case", "another one is missing"],
)
def test_whatever_is_wrong_with_the_inventory(
    inventory: str, arguments: tuple[str, ...], message: str, tmp_path: Path
) -> None:
    code, output = end(start(tmp_path, "check.yml", inventory, *arguments))
    assert code == 1 and "No board found" in output and message in output


def test_a_limit_without_the_controller_is_refused_with_the_one_to_give(tmp_path: Path) -> None:
    """Ansible would skip the play on localhost, and exit with 0."""
    code, output = end(start(tmp_path, "lab_down.yml", INVENTORY, "--limit", "orin-1"))
    assert code == 1 and "--limit orin-1 leaves out localhost" in output and "--limit 'orin-1,localhost'" in output
    code, output = end(start(tmp_path, "lab_down.yml", INVENTORY, "--limit", "orin-1,localhost"))
    assert code == 0 and "localhost : ok=" in output


def test_every_playbook_but_the_labs_takes_a_limit_of_boards_alone(tmp_path: Path) -> None:
    first, *others = (name for name in PLAYBOOKS if not name.startswith("lab_"))
    paths = [PROJECT / "playbooks" / name for name in others]
    code, output = end(start(tmp_path, first, INVENTORY, *paths, "--limit", "orin-2", "--list-hosts"))
    assert code == 0 and output.count("hosts (1): orin-2") == output.count("hosts (") > len(paths)


def test_it_is_said_with_callbacks_of_ones_own(tmp_path: Path) -> None:
    chosen = {"ANSIBLE_STDOUT_CALLBACK": "default", "ANSIBLE_CALLBACKS_ENABLED": "junit"}
    code, output = end(start(tmp_path, "stop.yml", JETSONS, **chosen))
    assert code == 1 and "has no group 'boards'" in output


def test_a_study_goes_by_the_boards_within_the_limit(tmp_path: Path) -> None:
    variables = ("-e", json.dumps({"study_runs_dir": str(tmp_path / "runs")}), "--limit")
    code, output = end(start(tmp_path, "run_study.yml", INVENTORY, *variables, "orin-2"))
    assert code == 2 and "arms.keras: workers is 2, but there are 1 boards" in output
    code, output = end(start(tmp_path, "run_study.yml", INVENTORY, *variables, "orin-1,orin-2"))
    assert code == 0 and "paper: 0 of 9 runs done" in output
