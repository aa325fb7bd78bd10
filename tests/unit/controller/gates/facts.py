"""A board that passes every gate, with what the gates need, and what tests of gates ask of it."""

import json

from controller.gates.board import Needs
from controller.gates.judge import judge

R35 = (
    "# R35 (release), REVISION: 3.1, GCID: 32827747, BOARD: t186ref, EABI: aarch64, DATE: Sun Mar 19 15:19:21 UTC 2023"
)
ORIN = "nvidia,p3701-0000"
NEEDS = Needs(
    python="/opt/venv/bin/python",
    engine="tensorflow",
    jetpack="5.1.1",
    tensorflow="2.12",
    pytorch="",
    power_mode="MAXN",
    clocks_pinned=1,
    disk_bytes=10**9,
    memory_bytes=2 * 10**9,
    swap_used_bytes=5 * 10**8,
    temperature_c=85.0,
    clock_error_s=1.0,
    port=12345,
    mtu_bytes=1280,
    link_bit_per_s=10**9,
    throughput_fraction=0.8,
    round_trip_s=0.002,
    communication="ring",
    strict_communication=False,
    strategy="",
    firewall_required=False,
)
ADDRESSES = {"lo": ["127.0.0.1"], "eth0": ["192.168.1.11", "10.0.0.1"], "docker0": ["172.18.0.1"]}
PINNED = {"policy0": [2_201_600_000] * 2, "policy4": [2_201_600_000] * 2, "17000000.ga10b": [1_300_500_000] * 2}
GOOD = {
    "release": R35,
    "l4t_package": "35.3.1-20230319081403",
    "jetpack": "5.1.1",
    "module": ORIN,
    "emulated": None,
    "nccl": None,
    "clock": None,
    "venv": {"python": "3.8.10", "tensorflow": "2.12.0+nv23.5"},
    "home": {
        "path": "/opt/cluster-kit",
        "missing": "",
        "kind": "ext4",
        "source": "/dev/mmcblk0p1",
        "inside": "/opt/cluster-kit",
        "device": 45825,
        "inode": 131_074,
        "changed_ns": 1_700_000_000_123_456_789,
    },
    "disk_free_bytes": 20 * 10**9,
    "memory_available_bytes": 28 * 10**9,
    "swap_used_bytes": 0,
    "cores": 12,
    "power_mode": "MAXN",
    "power_mode_id": "0",
    "gpu_mask": {"TPC_PG_MASK": "0"},
    "frequencies_hz": PINNED,
    "temperature_c": 45.5,
    "throttles": [],
    "lock": None,
    "port": {"free": True, "pid": None, "command": None},
    "server_ports": {port: {"free": True, "pid": None, "command": None} for port in ("12347", "12348")},
    "tpus": [],
    "trainers": [],
    "routes": {"other": {"dev": "eth0", "wireless": False}},
    "addresses": ADDRESSES,
    "own_address": {"given": "10.0.0.1", "address": "10.0.0.1"},
    "link": {"dev": "eth0", "mtu_bytes": 1466, "bit_per_s": 10**9, "duplex": "full"},
    "firewall": {"ports": [12345, 12346], "unit": "active"},
    "sent_s": 100.0,
    "began_s": 100.1,
    "ended_s": 100.3,
    "clock_error_s": 0.0,
}
EMULATED = {
    **GOOD,
    "release": None,
    "l4t_package": None,
    "jetpack": None,
    "module": None,
    "emulated": {"emulated": True, "link_rate_bit_per_s": 10**8},
    "home": None,
    "power_mode": None,
    "power_mode_id": None,
    "gpu_mask": None,
    "frequencies_hz": {"policy0": [800_000_000, 4_000_000_000]},  # of the machine that emulates it
    "firewall": {"ports": [], "unit": None},
}


def found(boards, needs=NEEDS, **arguments):
    """Board, gate and severity of each finding."""
    return [(f.board, f.gate, f.severity) for f in judge(boards, needs, **arguments)]


def needs(**changes):
    return Needs(**{**vars(NEEDS), **changes})


HELD = {"free": False, "pid": 41, "command": "python -m trainer --config run.json"}
CANNOT = {"capable": False, "tensorflow": "2.12.0+nv23.5", "evidence": "0 GPU kernels of NcclAllReduce"}
CAN = {**CANNOT, "capable": True}
TAKEN = "I tensorflow/core/common_runtime/collective_param_resolver_local.cc:714] AssignCollectiveType {}"


def request(boards, **changes):
    answers = {name: {"rc": 0, "stdout": json.dumps(facts), "received_s": 101.0} for name, facts in boards.items()}
    addresses = {**dict.fromkeys(answers, "10.0.0.1"), "c": "10.0.0.3", "d": "10.0.0.4"}
    return {"answers": answers, "addresses": addresses, "measured": [], "waive": [], "needs": vars(NEEDS), **changes}
