"""The gates on emulated boards that look like Orins: everything that is wrong, in one table, in one run."""

from __future__ import annotations

import itertools
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from conftest import PROJECT, Lab, add_packages, running

if TYPE_CHECKING:
    from conftest import Outcome

pytestmark = [pytest.mark.lab, pytest.mark.tensorflow]

# `python -m trainer.supervise.supervisor`, as far as a gate can see
STALE = """\
mkdir -p /tmp/stale/trainer/supervise && cd /tmp/stale
cat > trainer/supervise/supervisor.py <<'END'
import socket, time
server = socket.create_server(("", 12345))
time.sleep(600)
END
setsid python3 -m trainer.supervise.supervisor --config run.json >/dev/null 2>&1 &
for _ in $(seq 100); do grep -q ':3039 .* 0A ' /proc/net/tcp && break; sleep 0.05; done
"""

# a Python whose TensorFlow is another one's
OTHER_TENSORFLOW = """\
mkdir -p /srv/other/site/tensorflow-2.11.0.dist-info
cd /srv/other/site/tensorflow-2.11.0.dist-info
printf 'Metadata-Version: 2.1\\nName: tensorflow\\nVersion: 2.11.0\\n' > METADATA
printf '#!/bin/sh\\nPYTHONPATH=/srv/other/site exec /usr/bin/python3 "$@"\\n' > /srv/other/python
chmod 755 /srv/other/python
"""

# Mounts a folder of this machine on a board: by its descriptor, since a board sees no path of this machine.
MOUNT = """\
import ctypes, os, sys
kernel = ctypes.CDLL(None, use_errno=True)
OPEN_TREE, MOVE_MOUNT, HERE, CLONE, FROM_DESCRIPTOR = 428, 429, -100, 1, 4
tree = kernel.syscall(OPEN_TREE, HERE, sys.argv[1].encode(), CLONE)
kernel.setns(os.open(f"/proc/{sys.argv[2]}/ns/mnt", os.O_RDONLY), 0)
os.makedirs(sys.argv[3])
sys.exit(kernel.syscall(MOVE_MOUNT, tree, b"", HERE, sys.argv[3].encode(), FROM_DESCRIPTOR) and ctypes.get_errno())
"""
PYTHON = "/opt/cluster-kit/venv/bin/python"
PINNED = (
    "for _ in $(seq 100); do ls /sys/class/devfreq/17000000.ga10b/min_freq && break; sleep 0.1; done; jetson_clocks"
)
# what role firewall's script shows where its rules are loaded, which test_journey has
FIREWALL = b"#!/bin/sh\necho '--dport 12345 --dport 12346 -j DROP'\n"
MASK = "echo 248 > /sys/devices/gpu.0/tpc_pg_mask"


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """Two boards that are as they should be, and six with something wrong each."""
    lab = Lab(tmp_path_factory.mktemp("gates_lab"), 50, 8, PROJECT / ".board-venv")
    variables = lab.inventory / "host_vars"
    variables.mkdir()
    (variables / "board-6.json").write_text(json.dumps({"kit_python": "/srv/other/python"}))
    (variables / "board-8.json").write_text(json.dumps({"kit_home": "/srv/small", "kit_python": PYTHON}))
    envs = {"/opt/cluster-kit/venv": str(PROJECT / ".board-venv")}
    with running(lab, lab_dress="orin", lab_more_envs=envs) as lab:
        # ready once their services have told the GPU its mask
        for board in range(1, 9):
            lab.root(board, "for _ in $(seq 100); do nvpmodel -q && break; sleep 0.1; done")
            lab.root(board, PINNED)
            lab.write(board, "/usr/local/sbin/cluster-kit-firewall", FIREWALL, "755")
            lab.set_clock(board)
        yield lab


FRESH = {"kit_power_mode": "MODE_30W"}  # what new boards have, so that none has to reboot


def check(lab: Lab, *boards: int, **variables: object) -> Outcome:
    names = ",".join(f"board-{board}" for board in boards)
    return lab.ansible(
        "ansible-playbook",
        "playbooks/check.yml",
        "--limit",
        names or "boards",
        "-e",
        json.dumps({**FRESH, **variables}),
    )


def row(outcome: Outcome, board: str, gate: str) -> str:
    """The table's line for a finding, the next, which has the end of long cells, and the remedies of the gate."""
    lines = [line.strip() for line in outcome.output.splitlines()]
    found = [n for n, line in enumerate(lines) if line.split()[:2] == [board, gate]]
    assert len(found) == 1, outcome.output
    remedies = [n for n, line in enumerate(lines) if line.startswith(f"{gate}: ")]
    return " ".join(line for start in (*found, *remedies) for line in lines[start : start + 2])


def test_boards_without_fault_pass_and_their_network_is_measured(lab: Lab) -> None:
    """By iperf3 where both boards of a pair have it."""
    for board in (1, 2):
        add_packages(lab, board, "iperf3", "libiperf0", "libsctp1")
    outcome = check(lab, 1, 2, 3, check_throughput_fraction=0.1)  # other tests' load is not the link's
    assert outcome.ok, outcome.output
    assert "board-1, board-2, board-3: all gates passed" in outcome.output
    measured = re.findall(r"board-(\d) -> board-(\d): (\d+) Mbit/s \((\w+)\);", outcome.output)
    tools = {(first, second): tool for first, second, _, tool in measured}
    assert tools == {pair: "iperf3" if "3" not in pair else "own" for pair in itertools.permutations("123", 2)}
    assert all(100 < int(rate) < 1050 for _, _, rate, _ in measured), measured
    assert outcome.changed == 0


def test_a_training_address_must_be_on_an_interface_of_its_board(lab: Lab) -> None:
    second, missing = f"{lab.network}.201", f"{lab.network}.202"
    lab.root(1, f"ip address add {second}/24 dev eth0")
    try:
        for given, refused in ((missing, True), (lab.address(2), False), ("172.17.0.1", True)):
            for board, address in ((1, second), (2, given)):
                own = json.dumps({"training_address": address})
                (lab.inventory / f"host_vars/board-{board}.json").write_text(own)
            outcome = check(lab, 1, 2, check_measure_network=False)
            assert outcome.ok is not refused, outcome.output
            if given == missing:
                told = row(outcome, "board-2", "network.address")
                assert "is on no interface" in told and f"eth0 has {lab.address(2)}" in told, outcome.output
                assert "\n  board-1  " not in outcome.output
        assert (
            "training_address of board-2 is '172.17.0.1': every machine with Docker has this network" in outcome.output
        )
    finally:
        for board in (1, 2):
            (lab.inventory / f"host_vars/board-{board}.json").unlink()
        lab.root(1, f"ip address delete {second}/24 dev eth0")


def test_boards_that_share_the_kits_folder_are_refused_by_name(lab: Lab, tmp_path: Path) -> None:
    for board, folder in ((1, "same"), (2, "same"), (3, "other")):
        (tmp_path / folder).mkdir(exist_ok=True)
        mount = [sys.executable, "-c", MOUNT, str(tmp_path / folder), str(lab.init(board)), "/srv/kits"]
        subprocess.run(mount, check=True)
    try:
        outcome = check(lab, 1, 2, 3, kit_home="/srv/kits/kit", kit_python=PYTHON, check_measure_network=False)
        assert not outcome.ok and "is shared with" in row(outcome, "board-2", "board.home"), outcome.output
        assert outcome.output.count(" board.home ") == 1
        assert list((tmp_path / "same").iterdir()) == []
        apart = check(lab, 1, 3, kit_home="/srv/kits/kit", kit_python=PYTHON, check_measure_network=False)
        assert apart.ok, apart.output
    finally:
        for board in (1, 2, 3):
            lab.root(board, "umount /srv/kits")


def test_everything_that_is_wrong_is_in_one_table(lab: Lab) -> None:
    lab.root(2, "rm /etc/nv_tegra_release")  # the package tells
    lab.root(3, "sed -i 's/R35 (release), REVISION: 3.1/R32 (release), REVISION: 7.1/' /etc/nv_tegra_release")
    version = "/^Package: nvidia-l4t-core/,/^$/s/^Version: 35.3.1/Version: 34.1.1/"
    lab.root(4, f"rm /etc/nv_tegra_release; sed -i '{version}' /var/lib/dpkg/status")
    assert lab.ssh(5, MASK, user="root") == ""
    assert lab.ssh(6, OTHER_TENSORFLOW, user="root") == ""
    routes = "; ".join(f"ip route add {lab.address(board)} dev wlan0" for board in (1, 2, 3, 4, 5, 6, 8))
    assert lab.ssh(7, routes, user="root") == ""
    mount = "mkdir -p /srv/small; mount -t tmpfs -o size=300m,mode=0755 small /srv/small"
    subprocess.run(["nsenter", f"--target={lab.init(8)}", "--mount", "sh", "-c", mount], check=True)
    lab.ssh(8, STALE)

    outcome = check(lab, check_measure_network=False)
    assert not outcome.ok
    for board, gate, says in (
        ("board-3", "board.jetpack", "L4T 32.7.1"),
        ("board-4", "board.jetpack", "L4T 34.1.1"),
        ("board-5", "symmetry.gpu_mask", "TPC_PG_MASK=248"),
        ("board-6", "board.tensorflow", "2.11.0"),
        ("board-7", "network.wired", "wlan0 (wireless)"),
        ("board-8", "board.disk", "315 MB free"),
        ("board-8", "board.port", "trainer.supervise.supervisor"),
        ("board-8", "board.stale_trainer", "trainer.supervise.supervisor"),
    ):
        assert says in row(outcome, board, gate)
    for board, others in (("board-1", 0), ("board-2", 0), ("board-8", 3)):
        assert outcome.output.count(f"\n  {board}  ") == others, board
    assert "flash JetPack 5.1.1" in outcome.output
    assert max(len(line) for line in outcome.output.splitlines() if line.startswith("  ")) <= 102  # indented by 2


def test_the_mode_that_provisioning_sets_is_wanted_unless_another_one_is(lab: Lab) -> None:
    outcome = lab.ansible("ansible-playbook", "playbooks/check.yml", "--limit", "board-1")
    assert not outcome.ok and "MODE_30W" in row(outcome, "board-1", "board.power_mode"), outcome.output


def test_a_waiver_of_no_gate_is_an_error(lab: Lab) -> None:
    outcome = check(lab, 1, 2, waive=["symmetry.gpu_musk"], check_measure_network=False)
    assert not outcome.ok
    assert "did you mean symmetry.gpu_mask?" in outcome.output and "board.reachable" in outcome.output


def test_a_run_is_refused_before_it_begins(lab: Lab, tmp_path: Path) -> None:
    assert lab.ssh(2, MASK, user="root") == ""
    variables = {
        **FRESH,
        "run_config_runs_dir": str(tmp_path),
        "workers": 2,
        "override": {"sync": {"implementation": "nccl", "strict_implementation": True}},
        "check_disk_bytes": 10**15,
        "waive": ["board.disk"],
    }
    cannot = {"capable": False, "tensorflow": "2.12.1", "evidence": "no NCCL kernel is registered"}
    lab.ssh(1, f"echo '{json.dumps(cannot)}' > /opt/cluster-kit/nccl.json", user="root")
    refused = lab.play("run_experiment", **variables)
    assert not refused.ok and list(tmp_path.iterdir()) == []
    assert "no NCCL kernel is registered" in row(refused, "board-1", "collective.nccl")
    assert "not known to support NCCL" in row(refused, "board-2", "collective.nccl")
    assert "TPC_PG_MASK=248" in row(refused, "board-2", "symmetry.gpu_mask")
