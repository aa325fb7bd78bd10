"""What all roles have in common: their interface is the same in defaults and in argument_specs."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests import PROJECT

ROLES = PROJECT / "roles"


def test_apts_lock_is_waited_for_in_one_place_for_half_an_hour():
    used = {path.relative_to(ROLES).parts[0] for path in ROLES.rglob("*.yml") if "builtin.apt:" in path.read_text()}
    assert used == {"apt", "lab"}  # the lab's are for the controller
    assert yaml.safe_load((ROLES / "apt/defaults/main.yml").read_text())["apt_lock_s"] == 1800


@pytest.mark.parametrize("role", sorted(path.name for path in ROLES.iterdir()))
def test_argument_specs_mirror_the_defaults(role):
    defaults = yaml.safe_load((ROLES / role / "defaults/main.yml").read_text())
    specs = yaml.safe_load((ROLES / role / "meta/argument_specs.yml").read_text())["argument_specs"]
    options = {name: option for entry in specs.values() for name, option in entry.get("options", {}).items()}
    assert {name for name, option in options.items() if not option.get("required")} == set(defaults)
    stated = {name: option["default"] for name, option in options.items() if "default" in option}
    assert stated == {name: defaults[name] for name in stated}


def test_a_variable_by_a_name_of_before_is_refused_with_the_one_of_now(tmp_path):
    """Before a board is reached."""
    (tmp_path / "hosts.yml").write_text(
        "boards: {hosts: {orin-1: {ansible_host: 192.0.2.1}}, vars: {power_mode: '3'}}\n"
    )
    for playbook in ("run_experiment", "check", "provision", "restore"):
        command = [Path(sys.executable).with_name("ansible-playbook"), f"playbooks/{playbook}.yml", "-i", tmp_path]
        done = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=False)
        assert done.returncode == 2 and "power_mode is now kit_power_mode: write it so" in done.stdout, done.stdout


def test_names_of_before_are_read_nowhere_and_are_in_the_notes_on_upgrading():
    renamed = yaml.safe_load((ROLES / "kit/vars/main.yml").read_text())["__kit_renamed"]
    defaults = [yaml.safe_load(path.read_text()) for path in ROLES.glob("*/defaults/main.yml")]
    assert not set(renamed) & {name for given in defaults for name in given}
    upgrade = (PROJECT / "docs/upgrade.md").read_text()
    assert all(re.search(rf"\b{old}\b.*{new}", upgrade) for old, new in renamed.items())


def test_nothing_on_a_board_has_a_name_that_another_account_could_make_first():
    """In the folders where every account may write."""
    shipped = [PROJECT / name for name in ("roles", "plugins", "trainer", "controller", "playbooks")]
    files = [path for folder in shipped for path in folder.rglob("*") if path.suffix in (".py", ".yml", ".sh", ".j2")]
    found = [
        f"{path.relative_to(PROJECT)}: {line.strip()}"
        for path in files
        # the lab's boards are this machine's own
        if "roles/lab/" not in str(path) and not path.name.startswith(("lab_", "emulated_"))
        for line in path.read_text(encoding="utf-8").splitlines()
        if re.search(r"/(var/)?tmp\b(?!_)|/dev/shm", line) and not re.search(r"mktemp|~/[.]ansible", line)
    ]
    # removes what its own account left, as nobody can remove another one's
    assert [line for line in found if "rm -f /dev/shm/{run_id}" not in line] == []
