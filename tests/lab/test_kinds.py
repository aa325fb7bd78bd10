"""Boards of other kinds than the paper's: provisioned as fresh ones, checked, run on and restored."""

from __future__ import annotations

import json
import subprocess
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from conftest import PROJECT, Lab, running

from plugins.module_utils import lab_snapshot

pytestmark = [pytest.mark.lab, pytest.mark.tensorflow, pytest.mark.thorough]

# the smallest run of two boards
SHORT = {
    "epochs": 1,
    "batch_size": 32,
    "window_steps": 2,
    "data": {"train_images": 128, "validation_images": 64},
    "model": {"image_size": 32, "fine_tune": "head"},
}
SYSTEM_PYTHON = subprocess.run(
    ["/usr/bin/python3", "-c", "import sys; print('%d.%d' % sys.version_info[:2])"], capture_output=True, text=True
).stdout.strip()
GOVERNOR = "cat /sys/devices/system/cpu/cpufreq/policy0/scaling_governor"


def done(lab: Lab, playbook: str, *arguments: str, **variables: object) -> Any:
    outcome = lab.play(playbook, *arguments, **variables)
    assert outcome.ok, outcome.output
    return outcome


def ran(lab: Lab, runs: Path) -> dict[str, Any]:
    """The manifest of a run on both boards."""
    done(lab, "run_experiment", workers=2, override=SHORT, run_config_runs_dir=str(runs))
    (folder,) = runs.iterdir()
    manifest: dict[str, Any] = json.loads((folder / "manifest.json").read_text())
    assert manifest["status"] == "succeeded"
    return manifest


def state(lab: Lab) -> list[dict[str, str]]:
    return [lab_snapshot.snapshot(lab.folder, f"board-{board}") for board in (1, 2)]


@pytest.fixture(scope="module")
def debians(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """Two boards like plain Debian ones, which have no environment."""
    with running(Lab(tmp_path_factory.mktemp("debians"), 17, 2, PROJECT / ".board-venv"), lab_dress="debian") as lab:
        yield lab


def test_plain_linux_boards_are_provisioned_by_their_own_pip_run_and_restored(debians: Lab, tmp_path: Path) -> None:
    lab, fresh = debians, state(debians)
    assert lab.ssh(1, f"ls /opt/cluster-kit/venv; {GOVERNOR}").endswith("ondemand")
    provisioned = done(lab, "provision")
    assert "board-1: Debian" in provisioned.output or "board-1: Ubuntu" in provisioned.output
    assert lab.ssh(1, GOVERNOR) == "performance"
    again = done(lab, "provision")
    assert again.changes == {"board-1": 0, "board-2": 0}, again.output

    manifest = ran(lab, tmp_path / "runs")
    facts = [board["facts"] for board in manifest["boards"]]
    assert {(fact["tensorflow"], fact["jetpack"]) for fact in facts} == {("2.21.0", None)}
    assert all(
        board["cost"]["energy_j"] is None for board in manifest["boards"]
    )  # emulated: nothing to measure it with

    done(lab, "restore", purge=True)
    for board, before, now in zip((1, 2), fresh, state(lab), strict=True):
        assert lab_snapshot.differences(before, now) == {}, board
    assert lab.ssh(1, f"ls -d /opt/cluster-kit 2>/dev/null; {GOVERNOR}") == "ondemand"


def test_the_index_of_packages_is_in_the_labs_network_alone(debians: Lab) -> None:
    address = (debians.folder / "index/address").read_text()
    assert address == f"http://{debians.network}.2:8000/simple/"
    page = urllib.request.urlopen(f"{address}tf-keras/").read().decode()
    assert "tf_keras-2.21.0" in page and "#sha256=" in page
    assert ":8000" not in debians.root(1, "ss -Hltn")


@pytest.fixture
def dressed(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Lab]:
    with running(Lab(tmp_path, 18, 2, PROJECT / ".board-venv"), lab_dress=request.param) as lab:
        yield lab


@pytest.mark.parametrize(
    ("dressed", "jetpack", "module", "mode"),
    [
        ("orin-5.1.5", "5.1.5", "p3701-0000", "MAXN"),
        ("orin-6.2", "6.2", "p3701-0000", "MAXN"),
        ("orin-nano", "5.1.5", "p3767-0005", "15W"),
    ],
    indirect=["dressed"],
)
def test_jetsons_of_other_releases_are_provisioned_checked_and_run(
    dressed: Lab, tmp_path: Path, jetpack: str, module: str, mode: str
) -> None:
    mode_set = {"kit_power_mode": mode}
    provisioned = done(dressed, "provision", **mode_set)
    assert f", JetPack {jetpack}; no version of nvidia-jetpack is pinned" in provisioned.output
    assert done(dressed, "provision", **mode_set).changed == 0
    assert f"nvidia-jetpack\t{jetpack}-b1" in dressed.ssh(1, "dpkg-query -W nvidia-jetpack")
    done(dressed, "check", check_measure_network=False, **mode_set)
    outcome = dressed.play(
        "run_experiment", workers=2, override=SHORT, run_config_runs_dir=str(tmp_path / "runs"), **mode_set
    )
    assert outcome.ok, outcome.output
    (folder,) = (tmp_path / "runs").iterdir()
    boards = json.loads((folder / "manifest.json").read_text())["boards"]
    assert {board["facts"]["jetpack"] for board in boards} == {jetpack}
    assert all(module in board["facts"]["module"] for board in boards)


def test_a_board_of_another_kind_is_one_line_of_the_inventory(tmp_path: Path) -> None:
    """Two releases of JetPack and a plain Linux board: each gets what fits it, and the check names what differs."""
    lab = Lab(tmp_path, 19, 3, PROJECT / ".board-venv")
    # JetPack 6.2 has another Python and TensorFlow: here the system's own, and the newest of the index, which has an
    # address in the lab's own network that is known before the lab is up
    newer = {
        "python_env_index": f"http://{lab.network}.2:8000/simple/",
        "python_env_pycuda": "",
        "python_env_python": "/usr/bin/python3",
        "python_env_python_version": SYSTEM_PYTHON,
        "python_env_requirements": str(PROJECT / "requirements/board-newest.txt"),
        "python_env_tensorflow": "",
        "python_env_wheels": "",
    }
    dresses = {"orin": {}, "orin-6.2": newer, "debian": {}}
    hosts = {
        f"board-{rank}": {"ansible_host": lab.address(rank), "lab_dress": dress, **own}
        for rank, (dress, own) in enumerate(dresses.items(), 1)
    }
    (lab.inventory / "hosts.yml").write_text(json.dumps({"boards": {"hosts": hosts}}))
    with running(lab):
        done(lab, "provision")
        for run, boards in (("5.1.1 and 6.2", "board-1,board-2"), ("5.1.1 and none", "board-1,board-3")):
            checked = lab.play("check", "--limit", f"localhost,{boards}", check_measure_network=False)
            assert not checked.ok
            told = " ".join(checked.output.split())
            assert "symmetry.tensorflow" in told and "2.21.0" in told, (run, told)
        assert "symmetry.module" in told
