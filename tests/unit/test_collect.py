"""Fetching what a board left; tests/lab has the rest of the collect stage."""

import importlib.util
import subprocess
import tarfile
from pathlib import Path
from types import SimpleNamespace

import pytest
from ansible.parsing.dataloader import DataLoader
from ansible.template import Templar

ROLE = Path(__file__).parents[2] / "roles/collect"
PLUGIN = ROLE / "action_plugins/collect_run.py"


@pytest.fixture(scope="module")
def plugin():
    spec = importlib.util.spec_from_file_location("collect_run", PLUGIN)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def execute(command, sudoable):
    done = subprocess.run(command, shell=True, capture_output=True)
    return done.returncode, done.stdout, done.stderr


def test_an_odd_file_of_a_board_is_named_and_costs_no_log(plugin, tmp_path):
    (tmp_path / "trainer.log").write_text("epoch 1")
    (tmp_path / "latest").symlink_to("trainer.log")

    path = tmp_path / "r.tar.gz"
    with tarfile.open(path, "w:gz") as archive:
        archive.add(tmp_path / "latest", "latest")
        archive.add(tmp_path / "trainer.log", "trainer.log")
    action = object.__new__(plugin.ActionModule)
    action._connection = SimpleNamespace(exec_command=execute)
    (left_out,) = action._unpack(str(path), path.stat().st_size, tmp_path / "board-1", "r")
    assert left_out == "latest: neither a plain file nor a folder"
    assert [path.name for path in (tmp_path / "board-1").iterdir()] == ["trainer.log"]


def test_boards_that_are_named_by_their_addresses_keep_their_logs_apart(plugin, tmp_path):
    fetched = []
    for board in ("192.168.1.11", "192.168.1.12"):
        home = tmp_path / "boards" / board
        home.mkdir(parents=True)
        (tmp_path / "trainer.log").write_text(board)

        path = tmp_path / "r.tar.gz"
        with tarfile.open(path, "w:gz") as archive:
            archive.add(tmp_path / "trainer.log", "trainer.log")

        def watched(command, sudoable):
            fetched.append([local.name for local in (tmp_path / "boards").iterdir() if local.is_file()])
            return execute(command, sudoable)

        action = object.__new__(plugin.ActionModule)
        action._connection = SimpleNamespace(exec_command=watched)
        action._unpack(str(path), path.stat().st_size, home, "r")
        assert (home / "trainer.log").read_text() == board
    # all boards are fetched from at once
    assert fetched == [["192.168.1.11.tar.gz"], ["192.168.1.12.tar.gz"]]
    assert not any(local.is_file() for local in (tmp_path / "boards").iterdir())


@pytest.mark.parametrize(
    "watts, good",
    [(None, True), (12, True), (12.5, True), ("12.5", True), (0, True), *((odd, False) for odd in ("", "12W", "12,5"))]
    + [(odd, False) for odd in (-1, "-1", "nan", "inf", float("inf"), "9" * 400, True, [12])],
    ids=lambda value: f"{value}"[:9],
)
def test_a_power_of_the_switch_that_is_none_is_refused_before_training(watts, good):
    loader = DataLoader()
    (task,) = loader.load_from_file(str(ROLE / "tasks/validate.yml"), trusted_as_template=True)
    templar = Templar(loader=loader, variables={"collect_switch_power_w": watts})
    assert templar.evaluate_conditional(task["ansible.builtin.assert"]["that"]) is good
