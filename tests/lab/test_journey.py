"""From fresh boards to a run and back: provision, again, check, train with the port guarded, restore."""

from __future__ import annotations

import json
import re
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import ANSIBLE, PROJECT, Lab, Outcome, require_root

pytestmark = [pytest.mark.lab, pytest.mark.tensorflow, pytest.mark.slow]

PORT = 12345
SHORT = {
    "epochs": 2,
    "batch_size": 32,
    "data": {"train_images": 128, "validation_images": 64},
    "model": {"image_size": 32},
}
STATE = "nvpmodel -q; jetson_clocks --show | grep -v CurrentFreq; nft list ruleset; cat /etc/environment; ls /etc/apt/*"
REACH = "timeout 2 bash -c '</dev/tcp/{address}/{port}' 2>/dev/null && echo open || echo closed"


@pytest.fixture(scope="module")
def orins(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """Two fresh dressed boards."""
    require_root()
    lab = Lab(tmp_path_factory.mktemp("journey"), 8, 2, PROJECT / ".board-venv")
    try:
        started = lab.up(lab_dress="orin")
        assert started.ok, started.output
        yield lab
    finally:
        ended = lab.down()
    assert ended.ok, ended.output


def played(lab: Lab, name: str, *arguments: str) -> Outcome:
    return lab.ansible("ansible-playbook", f"playbooks/{name}.yml", *arguments)


def changed(outcome: Outcome) -> list[int]:
    """Number of changes on each board."""
    return [int(number) for number in re.findall(r"^board-\d .* changed=(\d+) ", outcome.output, re.MULTILINE)]


def is_open(address: str) -> bool:
    try:
        socket.create_connection((address, PORT), timeout=2).close()
    except OSError:
        return False
    return True


def test_fresh_boards_are_provisioned_train_guarded_and_are_put_back(orins: Lab, tmp_path: Path) -> None:
    before = [orins.ssh(board, STATE, user="root") for board in (1, 2)]

    first = played(orins, "provision")
    assert first.ok, first.output
    assert min(changed(first)) > 10
    again = played(orins, "provision")
    assert again.ok and changed(again) == [0, 0], again.output
    assert [orins.ssh(board, STATE, user="root") for board in (1, 2)] != before

    checked = played(orins, "check", "-e", "check_throughput_fraction=0.1")  # other tests' load is not the link's
    assert checked.ok and "Mbit/s" in checked.output, checked.output

    train = [
        *(str(ANSIBLE / "ansible-playbook"), "-i", str(orins.inventory), "playbooks/run_experiment.yml"),
        *("-e", "workers=2", "-e", json.dumps({"override": SHORT, "run_config_runs_dir": str(tmp_path)})),
    ]
    with subprocess.Popen(train, cwd=PROJECT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as run:
        listening, deadline = f"ss -Hltn 'sport = :{PORT}'", time.monotonic() + 60
        while not orins.ssh(1, listening):
            assert time.monotonic() < deadline and run.poll() is None
            time.sleep(0.5)
        # this machine is on the boards' network, but no board of the group
        assert not is_open(orins.address(1))
        assert orins.ssh(2, REACH.format(address=orins.address(1), port=PORT)) == "open"
        output, _ = run.communicate(timeout=150)
    assert run.returncode == 0, output
    (folder,) = tmp_path.iterdir()
    manifest = json.loads((folder / "manifest.json").read_text())
    assert manifest["status"] == "succeeded"
    assert manifest["gates"]["boards"]["board-1"]["power_mode"] == "MAXN"
    assert {board["facts"]["jetpack"] for board in manifest["boards"]} == {"5.1.1"}

    restored = played(orins, "restore")
    assert restored.ok, restored.output
    assert [orins.ssh(board, STATE, user="root") for board in (1, 2)] == before
