"""Who may import whom where import-linter does not look: plugins and roles are no packages."""

import ast
import sys
from pathlib import Path

import pytest

from tests import PROJECT

OURS = {"analysis", "benchmarks", "controller", "requirements", "tests", "trainer"}
# What Ansible runs on the controller, and what it sends to a board.
ON_CONTROLLER = [
    *PROJECT.glob("plugins/action/*.py"),
    *PROJECT.glob("plugins/callback/*.py"),
    *PROJECT.glob("plugins/filter/*.py"),
    *PROJECT.glob("playbooks/*_plugins/*.py"),
]
ON_BOARD = [
    *PROJECT.glob("plugins/modules/*.py"),
    *PROJECT.glob("plugins/module_utils/*.py"),
    *(path for path in PROJECT.glob("roles/*/files/**/*.py") if "source" not in path.parts),
]


def imported(path: Path) -> set[str]:
    """Names of the modules that a file imports, wherever in it; relative ones are of its own folder."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {name.name for name in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            found |= {f"{node.module}.{name.name}" for name in node.names}
    return found


def within(name: str, *packages: str) -> bool:
    return any(name == package or name.startswith(f"{package}.") for package in packages)


def test_every_python_file_of_plugins_and_roles_is_looked_at():
    every = {*PROJECT.glob("plugins/**/*.py"), *PROJECT.glob("roles/**/*.py"), *PROJECT.glob("playbooks/**/*.py")}
    assert {path for path in every if "source" not in path.parts} == {*ON_CONTROLLER, *ON_BOARD}


@pytest.mark.parametrize("path", ON_CONTROLLER, ids=lambda path: str(path.relative_to(PROJECT)))
def test_plugins_know_the_controller_and_the_contract(path):
    ours = {name for name in imported(path) if name.partition(".")[0] in OURS}
    assert {name for name in ours if not within(name, "controller", "trainer.contract")} == set()
    assert "sys" not in imported(path), "the checkout is installed, and needs no place on the path"


@pytest.mark.parametrize("path", ON_BOARD, ids=lambda path: str(path.relative_to(PROJECT)))
def test_what_boards_run_needs_nothing_but_python_and_ansible(path):
    others = {name for name in imported(path) if name.partition(".")[0] not in sys.stdlib_module_names}
    # Ansible packs these with a module; the others are there where they are asked for
    assert {name for name in others if not within(name, "ansible.module_utils", "apt", "tensorflow", "torch")} == set()
