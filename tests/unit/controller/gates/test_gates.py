"""The gates: what each of them refuses, warns of and lets pass, and how it is shown."""

import ast
import importlib.util
import io
import json
import subprocess
import sys

import pytest
import yaml

from analysis import write_manifest
from controller.gates.board import Needs
from controller.gates.judge import GATES, judge
from controller.gates.report import main, read, report
from controller.gates.survey import sources
from controller.gates.table import lines
from tests import PROJECT
from tests.data.build_runs import build_run
from tests.unit.unreadable import answer_with_eagain
from trainer.contract import frequencies, packages
from trainer.contract.config import ConfigError
from trainer.contract.layout import write_json
from trainer.supervise import facts

R35 = (
    "# R35 (release), REVISION: 3.1, GCID: 32827747, BOARD: t186ref, EABI: aarch64, DATE: Sun Mar 19 15:19:21 UTC 2023"
)
ORIN = "nvidia,p3701-0000"
NEEDS = Needs(
    python="/opt/venv/bin/python",
    jetpack="5.1.1",
    tensorflow="2.12",
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
    "trainers": [],
    "routes": {"other": {"dev": "eth0", "wireless": False}},
    "addresses": ADDRESSES,
    "own_address": {"given": "10.0.0.1", "address": "10.0.0.1"},
    "link": {"dev": "eth0", "mtu_bytes": 1466, "bit_per_s": 10**9, "duplex": "full"},
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
}


def program(name):
    spec = importlib.util.spec_from_file_location(name, PROJECT / f"roles/check/files/{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


measure = program("measure")


def found(boards, needs=NEEDS, **arguments):
    """Board, gate and severity of each finding."""
    return [(f.board, f.gate, f.severity) for f in judge(boards, needs, **arguments)]


def needs(**changes):
    return Needs(**{**vars(NEEDS), **changes})


# ---- each gate of a board: what it is changed to, what is needed, what is found


TRAINER = {"pid": 41, "command": "python -m trainer.supervise.supervisor --config run.json"}
HELD = {"free": False, "pid": 41, "command": "python -m trainer --config run.json"}
OTHER_RUN = {"run_id": "one", "owner": "ann@desk", "since_s": GOOD["ended_s"] - 120}
CANNOT = {"capable": False, "tensorflow": "2.12.0+nv23.5", "evidence": "0 GPU kernels of NcclAllReduce"}


def own(given, *resolved):
    return {"own_address": {"given": given, "address": resolved[0] if resolved else given}}


CAN = {**CANNOT, "capable": True}
TAKEN = "I tensorflow/core/common_runtime/collective_param_resolver_local.cc:714] AssignCollectiveType {}"
SLOW = {**GOOD["link"], "bit_per_s": 10**8}
STRICT = {"communication": "nccl", "strict_communication": True}
FAILED = {"used": None, "error": "unhandled system error, NCCL version 2.18.3"}
RING = {"used": "RingReduce", "error": None}


@pytest.mark.parametrize(
    ("gate", "severity", "changes", "wants", "says"),
    [
        (
            "board.lock",
            "refuse",
            {"lock": OTHER_RUN, "trainers": [TRAINER], "port": HELD},
            {},
            "run one of ann@desk, for 2 min",
        ),
        ("board.jetpack", "refuse", {"jetpack": "L4T 32.7.1"}, {}, "L4T 32.7.1"),
        ("board.jetpack", "refuse", {"release": None, "l4t_package": None, "jetpack": None}, {}, "no nvidia-l4t-core"),
        ("board.tensorflow", "refuse", {"venv": None}, {}, "no /opt/venv/bin/python that works"),
        ("board.tensorflow", "refuse", {"venv": {"python": "3.8.10", "tensorflow": None}}, {}, "none for /opt/venv"),
        ("board.tensorflow", "refuse", {"venv": {"python": "3.8.10", "tensorflow": "2.120.0"}}, {}, "2.120.0"),
        ("board.disk", "refuse", {"disk_free_bytes": 300_000_000}, {}, "300 MB free"),
        ("board.memory", "refuse", {"memory_available_bytes": 1_500_000_000}, {}, "1.5 GB available"),
        ("board.swap", "warn", {"swap_used_bytes": 600_000_000}, {}, "600 MB used"),
        ("board.swap", "warn", {"swap_used_bytes": 10**9}, {}, "1.0 GB used"),
        ("board.power_mode", "refuse", {"power_mode": "MODE_30W", "power_mode_id": "2"}, {}, "MODE_30W"),
        ("board.power_mode", "warn", {"power_mode": None, "power_mode_id": None}, {}, "unknown"),
        (
            "board.frequencies",
            "refuse",
            {"frequencies_hz": {**PINNED, "policy4": [729_600_000, 2_201_600_000]}},
            {},
            "unpinned: CPU policy4 730 to 2202 MHz",
        ),
        (
            "board.frequencies",
            "refuse",
            {"frequencies_hz": {**PINNED, "17000000.ga10b": [306_000_000, 1_300_500_000]}},
            {},
            "unpinned: GPU 306 to 1300 MHz",
        ),
        ("board.frequencies", "warn", {"frequencies_hz": {"policy0": [1, 1]}}, {}, "no frequency of its GPU"),
        ("board.frequencies", "warn", {"frequencies_hz": None}, {}, "no frequency of its CPUs and GPU"),
        ("board.temperature", "refuse", {"temperature_c": 85.0}, {}, "85 C"),
        ("board.temperature", "refuse", {"temperature_c": 85.0, "emulated": {"emulated": True}}, {}, "85 C"),
        ("board.temperature", "refuse", {"throttles": ["gpu-throttle-alert"]}, {}, "gpu-throttle-alert"),
        ("board.port", "refuse", {"port": HELD}, {}, "pid 41, python -m trainer"),
        ("board.port", "refuse", {"port": {**HELD, "pid": None}}, {}, "another account"),
        ("board.stale_trainer", "refuse", {"trainers": [TRAINER]}, {}, "pid 41"),
        ("board.clock", "refuse", {"clock_error_s": -3.25}, {}, "3.2 s behind"),
        ("board.clock", "refuse", {"clock_error_s": 0.75}, {"clock_error_s": 0.5}, "0.8 s ahead"),
        ("network.address", "refuse", own("10.9.9.9"), {}, "10.9.9.9 is on no interface"),
        ("network.address", "refuse", own("orin-1", "10.9.9.9"), {}, "orin-1 (10.9.9.9 on the board) is on no"),
        ("network.address", "refuse", own("orin-1", "127.0.1.1"), {}, "orin-1 (127.0.1.1 on the board) reaches the"),
        ("network.address", "refuse", own("orin-1", None), {}, "orin-1 is a name that the board does not know"),
        ("network.address", "refuse", own("172.18.0.1"), {}, "172.18.0.1 is on docker0, whose network"),
        ("network.address", "warn", {"routes": {"b": {"dev": "eth1", "wireless": False}}}, {}, "eth1 leads to b"),
        ("network.wired", "refuse", {"routes": {"b": {"dev": "docker0", "wireless": False}}}, {}, "docker0, the"),
        ("network.wired", "refuse", {"routes": {"other": None}}, {}, "no route to other"),
        ("network.wired", "refuse", {"routes": {"other": {"dev": "wlan0", "wireless": True}}}, {}, "wlan0 (wireless)"),
        (
            "network.wired",
            "refuse",
            {"routes": {"other": {"dev": "lo", "wireless": False}}},
            {},
            "address of other",
        ),
        ("network.mtu", "refuse", {"link": {**GOOD["link"], "mtu_bytes": 1200}}, {}, "1200 bytes on eth0"),
        ("network.speed", "refuse", {"link": {**GOOD["link"], "bit_per_s": 10**8}}, {}, "100 Mbit/s on eth0"),
        ("network.speed", "refuse", {"link": {**GOOD["link"], "duplex": "half"}}, {}, "half duplex"),
        ("collective.nccl", "warn", {"nccl": CANNOT}, {"communication": "nccl"}, "0 GPU kernels"),
        ("collective.nccl", "refuse", {"nccl": CANNOT}, STRICT, "0 GPU kernels"),
        ("collective.nccl", "refuse", {"nccl": None}, STRICT, "not known"),
        ("collective.nccl", "refuse", {"nccl": CAN, "nccl_trial": FAILED}, {"communication": "nccl"}, "unhandled"),
        ("collective.nccl", "warn", {"nccl": CAN, "nccl_trial": FAILED}, {"communication": ""}, "unhandled"),
        ("collective.nccl", "refuse", {"nccl": CAN, "nccl_trial": RING}, {"communication": "nccl"}, "RingReduce ran"),
        ("collective.nccl", "warn", {"nccl": CANNOT}, {"communication": ""}, "0 GPU kernels"),
        ("collective.nccl", "warn", {"nccl": None}, {"communication": "nccl"}, "not known"),
        ("collective.nccl", "warn", {"nccl": {**CANNOT, "tensorflow": "2.11"}}, {"communication": "nccl"}, "not known"),
    ],
)
def test_what_a_board_is_held_against(gate, severity, changes, wants, says):
    (finding,) = judge({"a": {**GOOD, **changes}}, needs(**wants))
    assert (finding.board, finding.gate, finding.severity) == ("a", gate, severity)
    assert says in finding.found
    assert finding.wanted and finding.remedy and not finding.waived


@pytest.mark.parametrize(
    ("changes", "wants"),
    [
        ({}, {}),
        (EMULATED, {}),
        ({"jetpack": "L4T 36.4.0"}, {"jetpack": ""}),
        ({"power_mode": "MODE_30W"}, {"power_mode": ""}),
        ({"frequencies_hz": {"policy0": [1, 2], "17000000.gv11b": [1, 2]}}, {"clocks_pinned": 0}),
        ({"frequencies_hz": {"policy0": [1, 1], "17000000.gpu": [2, 2]}}, {}),  # of another release
        ({}, {"power_mode": "0"}),
        ({}, {"tensorflow": "2.12.0"}),
        ({}, {"tensorflow": "2.12.0+nv23.5"}),
        ({"temperature_c": None, "swap_used_bytes": None, "memory_available_bytes": None}, {}),
        ({"link": {"dev": "eth0", "mtu_bytes": 9000, "bit_per_s": None, "duplex": None}}, {}),
        ({"routes": {}, "link": None}, {"communication": "nccl"}),  # one board alone
        ({"routes": {}, **own("10.9.9.9")}, {}),
        (own("192.168.1.11"), {}),
        (own("orin-1", "192.168.1.11"), {}),
        ({**own("10.9.9.9"), "addresses": None}, {}),
        ({"nccl": CAN}, {"communication": "nccl"}),
        ({"nccl": CAN, "nccl_trial": {"used": "NcclReduce", "error": None}}, STRICT),
        ({"nccl": CANNOT}, {"communication": "auto"}),
        ({**EMULATED, "temperature_c": 99.0, "swap_used_bytes": 10**10}, {}),  # the machine's that emulates it
        ({**EMULATED, "link": SLOW}, {}),
        ({"routes": {}, "link": SLOW}, {}),
        # at the limit
        ({"swap_used_bytes": 5 * 10**8, "memory_available_bytes": 2 * 10**9, "disk_free_bytes": 10**9}, {}),
        ({"clock_error_s": 1.0}, {}),
        ({"clock_error_s": -1.0}, {}),
        ({"link": {**GOOD["link"], "mtu_bytes": 1280}}, {}),
    ],
)
def test_what_a_board_passes_with(changes, wants):
    assert judge({"a": {**GOOD, **changes}}, needs(**wants)) == []


@pytest.mark.parametrize(
    ("dev", "wireless", "says"),
    [("wlan0", True, "sudo ip link set wlan0 down"), ("docker0", False, "takes docker0's network")],
)
def test_what_to_do_about_a_route_names_its_interface(dev, wireless, says):
    (finding,) = judge({"a": {**GOOD, "routes": {"other": {"dev": dev, "wireless": wireless}}}}, NEEDS)
    assert finding.gate == "network.wired" and says in finding.remedy


def test_a_board_without_the_address_is_told_with_those_that_it_has():
    (finding,) = judge({"a": {**GOOD, **own("10.9.9.9")}}, NEEDS)
    assert finding.remedy.endswith("in the inventory's hosts.yml: eth0 has 192.168.1.11, 10.0.0.1")


def test_a_board_without_nccl_is_told_what_will_run_instead_and_what_refuses_it():
    (warned,) = judge({"a": {**GOOD, "nccl": CANNOT}}, needs(communication="nccl"))
    assert "RingReduce over gRPC" in warned.remedy and "sync.strict_implementation" in warned.remedy
    (refused,) = judge({"a": {**GOOD, "nccl": CANNOT}}, needs(**STRICT))
    assert "sync.strict_implementation" in refused.wanted and '"implementation": "ring"' in refused.remedy


# ---- boards against each other


@pytest.mark.parametrize(
    ("gate", "changes", "says"),
    [
        ("symmetry.module", {"module": "nvidia,p3701-0004"}, "nvidia,p3701-0004"),
        ("symmetry.tensorflow", {"venv": {"python": "3.8.10", "tensorflow": "2.12.1"}}, "2.12.1"),
        ("symmetry.python", {"venv": {"python": "3.8.18", "tensorflow": "2.12.0+nv23.5"}}, "3.8.18"),
        ("symmetry.power_mode", {"power_mode": "MODE_30W"}, "MODE_30W"),
        (
            "symmetry.frequencies",
            {"frequencies_hz": {**PINNED, "policy0": [729_600_000, 2_201_600_000]}},
            "CPU policy0 730 to 2202 MHz, CPU policy4 2202 MHz, GPU 1300 MHz",
        ),
        (
            "symmetry.frequencies",  # pinned, and at another one
            {"frequencies_hz": {**PINNED, "policy4": [1_728_000_000] * 2}},
            "CPU policy0 2202 MHz, CPU policy4 1728 MHz, GPU 1300 MHz",
        ),
        ("symmetry.gpu_mask", {"gpu_mask": {"TPC_PG_MASK": "248"}}, "TPC_PG_MASK=248"),
        ("symmetry.jetpack", {"jetpack": "L4T 32.7.1"}, "L4T 32.7.1"),
        ("symmetry.mtu", {"link": {**GOOD["link"], "mtu_bytes": 9000}}, "9000"),
        ("symmetry.mtu", {"link": {**GOOD["link"], "mtu_bytes": 1500}}, "1500"),
    ],
)
def test_the_board_that_differs_is_named(gate, changes, says):
    boards = {"a": {**GOOD, **changes}, "b": GOOD, "c": GOOD}
    (finding,) = judge(boards, needs(power_mode="", jetpack="", clocks_pinned=0))
    assert (finding.board, finding.gate, finding.severity, finding.found) == ("a", gate, "refuse", says)
    assert "(as b)" in finding.wanted


PACKAGES = {"keras": "2.12.0", "numpy": "1.23.5", "tensorflow": "2.12.0+nv23.5"}


@pytest.mark.parametrize(
    ("changes", "says", "wants"),
    [
        ({"numpy": "1.24.3"}, "numpy 1.24.3", "numpy 1.23.5 (as b)"),
        ({"scipy": "1.10.1"}, "scipy 1.10.1", "scipy missing (as b)"),
        ({"numpy": None}, "numpy missing", "numpy 1.23.5 (as b)"),
        ({name: "1" for name in "def"}, "d 1, e 1, f 1", "d missing, e missing, f missing (as b)"),
        (
            {name: "1" for name in "defgh"},
            "d 1, e 1, f 1 and 2 more",
            "d missing, e missing, f missing and 2 more (as b)",
        ),
    ],
)
def test_packages_in_which_a_board_differs_are_named(changes, says, wants):
    own = {name: version for name, version in {**PACKAGES, **changes}.items() if version}
    a, other = ({**GOOD, "venv": {**GOOD["venv"], "packages": packages}} for packages in (own, PACKAGES))
    boards = {"a": a, "b": other, "c": other}
    (finding,) = judge(boards, NEEDS)
    assert (finding.board, finding.gate, finding.severity) == ("a", "symmetry.packages", "refuse")
    assert (finding.found, finding.wanted) == (says, wants)


def test_the_same_packages_in_another_order_are_the_same():
    venvs = ({**GOOD["venv"], "packages": dict(items)} for items in (PACKAGES.items(), reversed(PACKAGES.items())))
    assert found({name: {**GOOD, "venv": venv} for name, venv in zip("ab", venvs, strict=True)}) == []


def test_another_tensorflow_is_told_once():
    venv = {**GOOD["venv"], "packages": PACKAGES}
    other = {**venv, "tensorflow": "2.12.1", "packages": {**PACKAGES, "tensorflow": "2.12.1"}}
    assert found({"a": {**GOOD, "venv": venv}, "b": {**GOOD, "venv": other}}) == [
        ("b", "symmetry.tensorflow", "refuse")
    ]


def test_what_a_boards_own_gate_refuses_is_not_told_twice():
    boards = {"a": GOOD, "b": {**GOOD, "jetpack": "L4T 32.7.1"}, "c": GOOD}
    assert found(boards) == [("b", "board.jetpack", "refuse")]
    waived = found(boards, waive=["board.jetpack"])
    assert waived == [("b", "board.jetpack", "refuse"), ("b", "symmetry.jetpack", "refuse")]


def test_routes_are_told_by_interface():
    over = {"dev": "wlan0", "wireless": True}
    routes = {"b": over, "c": over, "d": over, "e": over, "f": None, "g": {"dev": "eth0", "wireless": False}}
    first, second = judge({"a": {**GOOD, "routes": routes}}, NEEDS)
    assert (first.found, second.found) == ("wlan0 (wireless) to b, c and 2 others", "no route to f")


def test_of_two_that_differ_the_first_counts():
    boards = {"a": GOOD, "b": {**GOOD, "gpu_mask": {"TPC_PG_MASK": "248"}}}
    assert found(boards) == [("b", "symmetry.gpu_mask", "refuse")]


def test_a_real_board_among_emulated_ones_is_told():
    assert ("b", "symmetry.module", "refuse") in found({"a": EMULATED, "b": GOOD, "c": EMULATED})


def test_a_round_trip_and_a_throughput_at_the_limit_pass():
    measured = [{"from": "a", "to": "b", "bit_per_s": 0.8e9, "round_trip_s": 0.002}]
    assert found({"a": GOOD, "b": GOOD}, measured=measured) == []


def test_the_slow_direction_is_told_on_the_board_that_receives():
    measured = [
        {"from": "a", "to": "b", "bit_per_s": 0.79e9, "round_trip_s": 0.0003},
        {"from": "b", "to": "a", "bit_per_s": 0.94e9, "round_trip_s": 0.0030},
    ]
    boards = {"a": GOOD, "b": GOOD}
    assert found(boards, measured=measured) == [
        ("a", "network.latency", "warn"),
        ("b", "network.throughput", "refuse"),
    ]
    late = judge(boards, NEEDS, measured=measured)[0]
    assert (late.found, late.wanted) == ("3.00 ms to b", "at most 2 ms")
    emulated = {"a": EMULATED, "b": EMULATED}  # at 100 Mbit/s, as was asked for
    assert found(emulated, measured=measured) == [("a", "network.latency", "warn")]
    unknown = {"a": {**GOOD, "link": None}, "b": GOOD}
    assert found(unknown, measured=measured) == [("a", "network.latency", "warn")]
    assert found(unknown, measured=[{**measured[0], "bit_per_s": 0.0}]) == []


def test_findings_and_needs_are_values():
    (finding,) = judge({"a": {**GOOD, "power_mode": None, "power_mode_id": None}}, NEEDS)
    assert finding.wanted == "MAXN"
    for value, field in ((NEEDS, "port"), (finding, "board")):
        with pytest.raises(AttributeError):
            setattr(value, field, "another")


def test_an_emulated_board_and_a_real_one_have_no_folder_in_common():
    gates = [gate for _, gate, _ in found({"a": {**GOOD, "emulated": EMULATED["emulated"]}, "b": GOOD})]
    assert "board.home" not in gates


@pytest.mark.parametrize(
    ("link_bit_per_s", "bit_per_s", "severity", "wanted"),
    [
        (10**10, 0.79e9, "refuse", "80% of 1000 Mbit/s"),
        (10**10, 0.8e9, "warn", "80% of 10000 Mbit/s"),
        (10**10, 1.7e9, "warn", "80% of 10000 Mbit/s"),
        (10**10, 3.4e9, "warn", "80% of 10000 Mbit/s"),
        (10**10, 8.1e9, None, None),
        (2_500_000_000, 1.9e9, "warn", "80% of 2500 Mbit/s"),
        (10**9, 0.81e9, None, None),
        (10**9, 0.79e9, "refuse", "80% of 1000 Mbit/s"),
    ],
)
def test_of_a_fast_link_a_gigabit_is_enough_and_less_than_its_own_rate_is_told(
    link_bit_per_s, bit_per_s, severity, wanted
):
    fast = {**GOOD, "link": {**GOOD["link"], "bit_per_s": link_bit_per_s}}
    measured = [{"from": "a", "to": "b", "bit_per_s": bit_per_s, "round_trip_s": 0.0011}]  # as Orins' pings take
    findings = judge({"a": fast, "b": fast}, NEEDS, measured=measured)
    told = [(f.gate, f.severity, f.wanted) for f in findings]
    assert told == ([("network.throughput", severity, wanted)] if severity else [])
    assert ["to be expected" in f.remedy for f in findings] == [f.severity == "warn" for f in findings]
    of_both = judge({"a": fast, "b": GOOD}, NEEDS, measured=measured)  # the slower end's rate counts
    assert [f.severity for f in of_both] == (["refuse"] if bit_per_s < 0.8e9 else [])
    asked = judge({"a": fast, "b": fast}, needs(link_bit_per_s=link_bit_per_s), measured=measured)
    assert [f.severity for f in asked] == (["refuse"] if severity else [])  # a faster one was asked for


def test_boards_that_cannot_connect_are_told():
    measured = [{"from": "a", "to": "b", "error": "Connection refused"}]
    (finding,) = judge({"a": GOOD, "b": GOOD}, NEEDS, measured=measured)
    assert (finding.board, finding.gate) == ("b", "network.throughput")
    assert "Connection refused" in finding.found and "12345" in finding.remedy


NFS = {"path": "/mnt/kit", "kind": "nfs4", "source": "nas:/kit", "inside": "/", "inode": 7}


def at_home(facts=GOOD, **changes):
    return {**facts, "home": {**GOOD["home"], **changes}}


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (at_home(**NFS), at_home(**NFS)),
        (at_home(**NFS), at_home(**{**NFS, "changed_ns": 8})),  # as a board remembers it
        (at_home(**NFS), at_home(**{**NFS, "source": "192.168.1.5:/kit"})),
        (at_home(**{**NFS, "kind": "fuse.sshfs", "inode": 1}), at_home(**{**NFS, "kind": "fuse.sshfs", "inode": 9})),
        (at_home(**{**NFS, "missing": "a/b", "inside": "/a/b"}), at_home(**{**NFS, "missing": "b", "inside": "/a/b"})),
        (at_home(EMULATED, device=71), at_home(EMULATED, device=71, kind="overlay")),
    ],
)
def test_boards_with_one_folder_for_the_kit_are_told(first, second):
    third = at_home(inode=5)
    (finding,) = [f for f in judge({"a": first, "c": third, "b": second}, NEEDS) if f.gate != "symmetry.module"]
    assert (finding.board, finding.gate, finding.severity) == ("b", "board.home", "refuse")
    assert finding.found.endswith(" is that of a, too") and second["home"]["path"] in finding.found
    assert "on the board's own disk" in finding.remedy


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (GOOD, GOOD),  # flashed alike
        (at_home(**NFS), at_home(**{**NFS, "source": "nas:/other", "changed_ns": 8})),
        (at_home(**{**NFS, "inside": "/a"}), at_home(**{**NFS, "inside": "/b", "inode": 8})),
        (at_home(**{**NFS, "missing": "a", "inside": "/a"}), at_home(**{**NFS, "missing": "b", "inside": "/b"})),
        (at_home(**NFS), GOOD),
        (at_home(kind=None, source=None, inside=None), at_home(kind=None, source=None, inside=None)),
        (at_home(EMULATED, device=71), at_home(EMULATED, device=72)),
        (EMULATED, EMULATED),
        (at_home(EMULATED, device=71), at_home(EMULATED, device=71, inode=5)),
    ],
)
def test_boards_with_a_folder_each_pass(first, second):
    assert not any(finding.gate == "board.home" for finding in judge({"a": first, "b": second}, NEEDS))


@pytest.mark.parametrize("count", [2, 3, 4, 5, 6])
def test_pairs_are_all_of_few_boards_and_a_ring_of_more(count):
    names = [f"board-{n}" for n in range(count)]
    pairs = measure.pairs(names)
    assert len(set(map(frozenset, pairs))) == len(pairs) == (count * (count - 1) // 2 if count <= 4 else count)
    assert set().union(*pairs) == set(names)
    if count == 4:  # three rounds of two pairs that have no board in common
        assert all(set(pairs[n]).isdisjoint(pairs[n + 1]) for n in (0, 2, 4))


# ---- waivers and the report


def test_a_waived_finding_stays_and_does_not_count():
    boards = {"a": GOOD, "b": {**GOOD, "gpu_mask": {"TPC_PG_MASK": "248"}}}
    said = report(request(boards, waive=["symmetry.gpu_mask"]))
    assert not said["refused"] and said["waived"] == ["symmetry.gpu_mask"]
    assert [(f["gate"], f["waived"]) for f in said["findings"]] == [("symmetry.gpu_mask", True)]
    assert report(request(boards))["refused"]
    assert not report(request(boards, waive="symmetry.gpu_mask,board.disk"))["refused"]


def test_a_waiver_of_no_gate_lists_the_gates():
    with pytest.raises(ConfigError, match=r"did you mean symmetry\.gpu_mask\?") as raised:
        judge({"a": GOOD}, NEEDS, waive=["symmetry.gpumask", "x"])
    assert len(raised.value.problems) == 2
    for gate in GATES:
        assert gate in str(raised.value)


def request(boards, **changes):
    answers = {name: {"rc": 0, "stdout": json.dumps(facts), "received_s": 101.0} for name, facts in boards.items()}
    addresses = {**dict.fromkeys(answers, "10.0.0.1"), "c": "10.0.0.3", "d": "10.0.0.4"}
    return {"answers": answers, "addresses": addresses, "measured": [], "waive": [], "needs": vars(NEEDS), **changes}


def test_the_command_judges_what_the_boards_said():
    boards = {"a": GOOD, "b": {**GOOD, "release": R35.replace("R35", "R32").replace("3.1", "7.1")}}
    asked = request(boards)
    asked["answers"]["c"] = {"unreachable": True, "msg": "ssh: No route\nto host"}
    asked["answers"]["d"] = {"rc": 1, "stdout": "", "stderr": "Traceback\nSyntaxError"}
    asked["needs"] = {name: str(value) for name, value in asked["needs"].items()}  # as -e name=value gives them
    done = subprocess.run(
        [sys.executable, "-m", "controller.gates.report"],
        input=json.dumps(asked),
        cwd=PROJECT,
        capture_output=True,
        text=True,
    )
    said = json.loads(done.stdout)
    assert done.returncode == 0
    assert [(f["board"], f["gate"]) for f in said["findings"]] == [
        ("b", "board.jetpack"),
        ("c", "board.reachable"),
        ("d", "board.reachable"),
    ]
    text = "\n".join(said["lines"])
    assert "c cannot be reached at 10.0.0.3: ssh: No route to host. Is it on" in text
    assert "L4T 32.7.1" in text and "SyntaxError" in text


@pytest.mark.parametrize(
    ("began_s", "ended_s", "error_s"),
    [(100.5, 100.9, 0.0), (104.0, 104.5, 3.5), (101.0, 101.5, 0.5), (97.0, 97.5, -3.0)],
)
def test_a_clock_is_wrong_by_what_no_delay_explains(began_s, ended_s, error_s):
    said = report(request({"a": {**GOOD, "began_s": began_s, "ended_s": ended_s}}))
    assert said["boards"]["a"]["clock_error_s"] == pytest.approx(error_s)


def test_the_table_is_aligned_and_fits_a_terminal():
    boards = {
        "orin-1": GOOD,
        "orin-2": {**GOOD, "port": {**HELD, "command": "python -m trainer " + "x" * 200}, "swap_used_bytes": 10**10},
    }
    shown = report(request(boards, waive=["board.swap"]))["lines"]
    assert max(map(len, shown)) <= 100
    assert shown[0].split() == ["board", "gate", "found", "wanted"]
    rows = [line for line in shown if line.startswith("orin-2")]
    assert [row.split()[1:3] for row in rows] == [["board.swap", "waived"], ["board.port", "refuse"]]
    assert {row.index(row.split()[2]) for row in rows} == {rows[0].index("waived")}
    assert shown[-1].startswith("1 refused, 1 waived")
    assert report(request({"orin-1": GOOD}))["lines"] == ["orin-1: every gate is passed"]


def test_what_was_measured_is_shown_and_what_was_not_is_not():
    measured = [
        {"from": "a", "to": "b", "bit_per_s": 9e8, "round_trip_s": 0.0012, "tool": "iperf3"},
        {"from": "b", "to": "a", "error": "no connection"},
    ]
    assert lines([], ["a", "b"], measured) == [
        "a -> b: 900 Mbit/s (iperf3); b -> a and back: 1.20 ms",
        "a, b: every gate is passed",
    ]


def test_a_remedy_of_several_boards_is_given_once_and_values_are_shown_as_they_are():
    odd = {**GOOD, "power_mode": "[bold]MODE_30W"}
    shown = report(request({"orin-1": odd, "orin-2": odd}))["lines"]
    assert [line.split()[3] for line in shown[1:3]] == ["[bold]MODE_30W"] * 2
    assert shown[3:-1] == ["board.power_mode: set it with playbooks/provision.yml --tags power"]


def test_no_remedy_runs_what_resets_pinned_clocks():
    remedies = [(PROJECT / f"controller/gates/{module}.py").read_text() for module in ("board", "judge")]
    for command in ("isolate", "nvpmodel -m", "restart nvpmodel"):
        assert not any(command in text for text in remedies)


def test_needs_are_the_roles_variables():
    defaults = yaml.safe_load((PROJECT / "roles/check/defaults/main.yml").read_text())
    shared = yaml.safe_load((PROJECT / "roles/kit/defaults/main.yml").read_text())
    assert all(f"check_{name}" in defaults or f"kit_{name}" in shared for name in vars(NEEDS))
    assert defaults["check_mtu_bytes"] <= 1466  # of an Orin's eth0
    tasks = yaml.safe_load((PROJECT / "roles/check/tasks/main.yml").read_text())
    said = next(task["vars"]["__check_said"] for task in tasks if "__check_said" in task.get("vars", {}))
    assert said["needs"].keys() == vars(NEEDS).keys()


# ---- the manifest


def test_the_manifest_has_the_gates(tmp_path):
    folder = build_run(tmp_path)
    assert write_manifest(folder)["gates"] is None
    said = report(request({"a": GOOD}, waive=["board.swap"]))
    write_json(folder / "gates.json", said)
    manifest = write_manifest(folder)
    assert manifest["gates"]["waived"] == ["board.swap"]
    assert "gates.json" in manifest["sha256"]


# ---- what a board says of itself


CONFIG = """\
< PARAM TYPE=FILE NAME=TPC_POWER_GATING >
TPC_PG_MASK {mask}
< PARAM TYPE=FILE NAME=GPU_POWER_CONTROL_ENABLE >
GPU_PWR_CNTL_EN /sys/devices/gpu.0/power/control

< POWER_MODEL ID=0 NAME=MAXN >
CPU_ONLINE CORE_0 1
TPC_POWER_GATING TPC_PG_MASK 0
GPU MAX_FREQ -1

< POWER_MODEL ID=2 NAME=MODE_30W >
TPC_POWER_GATING TPC_PG_MASK 248
"""


@pytest.fixture
def board(tmp_path, monkeypatch):
    """The files of a board; changes to them are what tests are about."""
    commands = {
        ("nvpmodel", "-q"): "NV Power Mode: MODE_30W\n2\n",
        ("ip", "-4", "-force", "-batch", "-"): (
            "local 10.0.0.9 dev lo src 10.0.0.9 uid 0\n    cache <local>\n"
            "10.0.0.2 via 10.0.0.254 dev wlan0 src 10.0.0.9 uid 0\n    cache\n"
        ),
    }
    monkeypatch.setattr(facts, "_output", lambda *command, **_: commands.get(command))
    local = [("lo", "127.0.0.1"), ("eth0", "192.168.1.11"), ("eth0", "10.0.0.1"), ("tun0", "10.8.0.1")]
    monkeypatch.setattr(facts.interface, "addresses", lambda: local)
    write(tmp_path / "etc/nv_tegra_release", R35 + "\n# KERNEL_VARIANT: oot\n")
    write(tmp_path / "sys/firmware/devicetree/base/compatible", f"{ORIN}\0nvidia,tegra234\0")
    write(tmp_path / "etc/nvpmodel.conf", CONFIG.format(mask=tmp_path / "tpc_pg_mask"))
    write(tmp_path / "proc/meminfo", "MemAvailable: 1000 kB\nSwapTotal: 500 kB\nSwapFree: 100 kB\n")
    write(tmp_path / "sys/class/thermal/thermal_zone0/temp", "45500")
    write(tmp_path / "sys/class/thermal/thermal_zone1/temp", "-256000")
    write(tmp_path / "sys/class/thermal/cooling_device0/type", "pwm-fan")
    write(tmp_path / "sys/class/thermal/cooling_device0/cur_state", "2")
    write(tmp_path / "sys/class/thermal/cooling_device1/type", "gpu-throttle-alert")
    write(tmp_path / "sys/class/thermal/cooling_device1/cur_state", "1")
    write(tmp_path / "proc/41/cmdline", "/opt/venv/bin/python\0-m\0trainer.supervise.supervisor\0--config\0run.json\0")
    write(tmp_path / "proc/42/cmdline", "vim\0-m\0trainer\0")
    write(tmp_path / "proc/43/cmdline", "python3\0-m\0trainer_of_dogs\0")
    heading = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n"
    row = "   0: {}:{} 00000000:0000 {} 00000000:00000000 00:00000000 00000000     0        0 {} 1 0\n"
    write(tmp_path / "proc/net/tcp", heading + row.format("0" * 8, "3039", "01", 7))
    write(tmp_path / "proc/net/tcp6", heading + row.format("0" * 32, "3039", "0A", 77))
    (tmp_path / "proc/41/fd").mkdir()
    (tmp_path / "proc/41/fd/5").symlink_to("socket:[77]")
    return tmp_path


def write(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def ask(board, **changes):
    asked = {"address": "10.0.0.1", "peers": {"b": "10.0.0.2"}, "port": 12345, "python": "python", "home": str(board)}
    return facts.survey({**asked, "sent_s": 1.0, **changes}, board)


def test_a_board_says_what_it_is(board):
    said = ask(board)
    assert said["release"].splitlines()[0] == R35
    assert said["module"] == ORIN
    assert (said["memory_available_bytes"], said["swap_used_bytes"]) == (1_024_000, 409_600)
    assert (said["power_mode"], said["power_mode_id"]) == ("MODE_30W", "2")
    assert (said["temperature_c"], said["throttles"]) == (45.5, ["gpu-throttle-alert"])
    assert said["routes"] == {"b": {"dev": "wlan0", "wireless": True}}
    assert [trainer["pid"] for trainer in said["trainers"]] == [41]
    assert said["port"] == {
        "free": False,
        "pid": 41,
        "command": "/opt/venv/bin/python -m trainer.supervise.supervisor --config run.json",
    }
    assert ask(board, port=12346)["port"]["free"]
    assert json.loads(json.dumps(said)) == said


def test_a_board_says_on_which_interface_its_own_address_is(board):
    write(board / "sys/class/net/eth0/mtu", "1466\n")
    said = ask(board, peers={})
    assert said["addresses"] == {"lo": ["127.0.0.1"], "eth0": ["192.168.1.11", "10.0.0.1"], "tun0": ["10.8.0.1"]}
    assert said["own_address"] == {"given": "10.0.0.1", "address": "10.0.0.1"}
    assert (said["link"]["dev"], said["link"]["mtu_bytes"]) == ("eth0", 1466)
    assert ask(board, peers={}, address="10.8.0.2")["link"] is None  # the other end's
    named = ask(board, peers={}, address="no.such.host.invalid")
    assert named["own_address"] == {"given": "no.such.host.invalid", "address": None} and named["link"] is None


def test_a_board_says_where_the_kits_folder_is(board):
    home = board / "mnt of all/kit"
    write(
        board / "proc/self/mountinfo",
        "22 1 179:1 / / rw,relatime - ext4 /dev/mmcblk0p1 rw\n"
        f"40 22 0:51 /boards {board}/mnt\\040of\\040all rw shared:3 - nfs4 nas:/export rw,vers=4.2\n"
        f"41 22 0:52 / {board}/mnt rw - tmpfs tmpfs rw\n",
    )
    (board / "mnt of all").mkdir()
    said = ask(board, home=str(home))["home"]
    assert (said["kind"], said["source"], said["inside"]) == ("nfs4", "nas:/export", "/boards/kit")
    assert (said["path"], said["missing"], said["inode"]) == (str(home), "kit", (board / "mnt of all").stat().st_ino)
    home.mkdir()
    (board / "link").symlink_to(home)
    linked = ask(board, home=str(board / "link"))["home"]
    assert (linked["missing"], linked["inside"], linked["inode"]) == ("", "/boards/kit", home.stat().st_ino)
    assert list(home.iterdir()) == []
    elsewhere = ask(board)["home"]
    assert (elsewhere["kind"], elsewhere["inside"]) == ("ext4", str(board))


def test_a_board_says_what_frequencies_its_clocks_may_have(board):
    assert ask(board)["frequencies_hz"] is None
    policies, devices = board / "sys/devices/system/cpu/cpufreq", board / "sys/class/devfreq"
    for policy, cpus, least in (("policy0", "0 1 2 3", 2_201_600), ("policy4", "4 5", 729_600), ("policy8", "", 1)):
        write(policies / policy / "affected_cpus", f"{cpus}\n")
        write(policies / policy / "scaling_min_freq", f"{least}\n")
        write(policies / policy / "scaling_max_freq", "2201600\n")
    for device in ("17000000.ga10b", "15340000.vic"):
        write(devices / device / "min_freq", "306000000\n")
        write(devices / device / "max_freq", "1300500000\n")
    found = {
        "policy0": [2_201_600_000] * 2,
        "policy4": [729_600_000, 2_201_600_000],
        "17000000.ga10b": [306_000_000, 1_300_500_000],
    }
    assert ask(board)["frequencies_hz"] == found == frequencies.frequencies(board / "sys"), "one in both"
    (devices / "17000000.ga10b/max_freq").unlink()
    assert list(ask(board)["frequencies_hz"]) == ["policy0", "policy4"]


def test_routes_of_all_boards_are_asked_for_at_once(board):
    peers = {"b": "10.0.0.2", "itself": "10.0.0.9", "far": "10.9.9.9", "nameless": "no.such.host.invalid"}
    routes = ask(board, peers=peers)["routes"]
    assert {name: route and route["dev"] for name, route in routes.items()} == {
        "b": "wlan0",
        "itself": "lo",
        "far": None,
        "nameless": None,
    }


def test_what_a_boards_environment_has_is_told_by_its_own_python():
    said = facts._venv(sys.executable)
    assert said["tensorflow"] is None and said["packages"]["pyyaml"] == packages.installed()["pyyaml"]
    assert facts._venv("/nowhere/python") is None


def test_the_gpus_mask_is_the_live_one_else_the_modes(board):
    assert ask(board)["gpu_mask"] == {"TPC_PG_MASK": "248"}
    write(board / "tpc_pg_mask", "0\n")
    assert ask(board)["gpu_mask"] == {"TPC_PG_MASK": "0"}


def test_a_sensor_that_cannot_be_read_or_is_no_heat_leaves_the_others(board, monkeypatch):
    zones = board / "sys/class/thermal"
    write(zones / "thermal_zone2/type", "PMIC-Die\n")
    write(zones / "thermal_zone2/temp", "100000\n")
    write(zones / "thermal_zone3/temp", "")
    answer_with_eagain(monkeypatch, zones / "thermal_zone3/temp")
    (zones / "thermal_zone4").mkdir()
    (zones / "thermal_zone4/temp").symlink_to("/proc/self/mem")  # whose first byte cannot be read: EIO
    assert ask(board)["temperature_c"] == 45.5
    write(zones / "thermal_zone2/temp", "120000\n")  # the PMIC's first alarm
    assert ask(board)["temperature_c"] == 120.0


def test_a_board_whose_sensors_are_all_off_has_no_temperature(board):
    write(board / "sys/class/thermal/thermal_zone0/temp", "-256000\n")
    assert ask(board)["temperature_c"] is None


@pytest.mark.parametrize(
    ("answer", "used", "error"),
    [
        ({"rc": 0, "stderr": TAKEN.format("NcclReduce") + "\nbye\n"}, "NcclReduce", None),
        ({"rc": 1, "stderr": TAKEN.format("NcclReduce") + "\nNCCL: unhandled error\n"}, "NcclReduce", "NCCL: unh"),
        ({"rc": 124, "stderr": TAKEN.format("RingReduce")}, "RingReduce", "did not end"),
        ({"unreachable": True, "msg": "no route"}, None, "no route"),
    ],
)
def test_a_trial_of_nccl_is_judged_by_tensorflows_log(answer, used, error):
    asked = {**request({"a": {**GOOD, "nccl": CAN}}), "tried": {"a": answer}}
    told = report(asked)["boards"]["a"]["nccl_trial"]
    assert told["used"] == used
    assert told["error"] is None if error is None else error in told["error"]


def test_what_a_board_cannot_tell_is_null(tmp_path, monkeypatch):
    def unknown():
        raise OSError

    monkeypatch.setattr(facts, "_output", lambda *command, **_: None)
    monkeypatch.setattr(facts.interface, "addresses", unknown)
    said = ask(tmp_path)
    for name in (
        "release",
        "module",
        "emulated",
        "venv",
        "power_mode",
        "gpu_mask",
        "temperature_c",
        "link",
        "nccl",
        "addresses",
    ):
        assert said[name] is None, name
    assert said["routes"] == {"b": None}


def test_a_version_that_yaml_takes_for_a_number_is_refused():
    asked = request({"a": GOOD})
    with pytest.raises(ConfigError, match=r"check_tensorflow is 2\.1, a number, .*: put it in quotes"):
        report({**asked, "needs": {**asked["needs"], "tensorflow": 2.10, "power_mode": 3}})


def test_a_request_that_makes_no_sense_is_refused(monkeypatch, capsys):
    monkeypatch.setattr(sys, "stdin", io.StringIO(json.dumps(request({"a": GOOD}, waive=["no.gate"]))))
    assert main() == 0
    said = json.loads(capsys.readouterr().out)
    assert said["refused"] and "waive names 'no.gate'" in said["lines"][0]


def test_of_an_answer_that_is_none_the_beginning_is_shown():
    facts = read({"rc": 0, "stdout": "x" * 300}, "10.0.0.1")
    assert facts == {"error": f"it printed '{'x' * 200}'", "rc": 0, "address": "10.0.0.1"}


def test_an_address_that_cannot_be_is_told_in_place_of_what_follows_from_it():
    asked = request({"a": GOOD, "b": GOOD})
    training = {**asked["addresses"], "b": "192.168.1.12:22"}
    with pytest.raises(ConfigError, match=r"'192\.168\.1\.12:22': it is neither an IPv4 address nor a host name"):
        report({**asked, "training_addresses": training})


# ---- boards whose Python cannot run the survey


def begun(version, nv_tegra_release="/nowhere"):
    """What the survey's beginning does with a Python that says it is of this version."""
    begin = (PROJECT / "roles/check/files/begin.py").read_text().replace("/etc/nv_tegra_release", nv_tegra_release)
    old = f"import platform, sys; sys.version_info = {version}; platform.python_version = lambda: '3.6.9'; "
    words = [sys.executable, "-I", "-c", f"{old}exec({begin!r})", '{"asked": 1}']
    sources = dict.fromkeys(("trainer/__init__.py", "trainer/supervise/__init__.py"), "")
    sources["trainer/supervise/facts.py"] = "def survey(request):\n    return {'surveyed': request}\n"
    done = subprocess.run(words, input=json.dumps(sources), capture_output=True, text=True, cwd="/")
    return {"rc": done.returncode, "stdout": done.stdout.strip(), "stderr": done.stderr}


def test_a_python_that_can_runs_the_survey():
    assert json.loads(begun((3, 8))["stdout"]) == {"surveyed": {"asked": 1}}


def test_what_is_sent_is_all_that_the_survey_needs(tmp_path):
    """In a folder with nothing of the kit, and with a Python that has nothing but the standard library."""
    begin = (PROJECT / "roles/check/files/begin.py").read_text()
    asked = {
        "address": "127.0.0.1",
        "peers": {},
        "port": 1,
        "python": sys.executable,
        "home": "/opt/kit",
        "sent_s": 1.0,
    }
    words = [sys.executable, "-I", "-S", "-c", begin, json.dumps(asked)]
    sent = json.dumps(sources(str(PROJECT)))
    done = subprocess.run(words, input=sent, capture_output=True, text=True, cwd=tmp_path, check=True)
    said = json.loads(done.stdout)
    assert said["cores"] >= 1 and said["venv"]["packages"]["pyyaml"] and said["own_address"]["address"] == "127.0.0.1"
    assert list(tmp_path.iterdir()) == []


def test_an_old_jetson_is_told_to_be_flashed(tmp_path):
    (tmp_path / "release").write_text("# R32 (release), REVISION: 7.1, GCID: 29818004, BOARD: t210ref\n")
    answer = begun((3, 6), str(tmp_path / "release"))
    assert answer["rc"] == 1
    said = report({**request({"a": GOOD}), "answers": {"a": answer}})
    (finding,) = said["findings"]
    assert (finding["gate"], finding["severity"]) == ("board.jetpack", "refuse")
    assert finding["found"] == "L4T 32.7.1, Python 3.6.9" and "flash JetPack 5.1.1" in finding["remedy"]


def test_what_begins_the_survey_is_of_any_python():
    source = (PROJECT / "roles/check/files/begin.py").read_text()
    ast.parse(source, feature_version=(3, 4))
    assert "f'" not in source and 'f"' not in source and "__future__" not in source


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        (begun((3, 6)), "needs Python 3.8 or newer as its python3"),
        ({"rc": 127, "stdout": "", "stderr": "python3: not found"}, "answers at 10.0.0.1, but"),
        ({"rc": 0, "stdout": "hello", "stderr": ""}, "it printed 'hello'"),
        ({"rc": 255, "stdout": "", "stderr": "Connection closed"}, "is its key enrolled?"),
    ],
)
def test_a_board_that_answers_without_facts_is_not_taken_for_one_out_of_reach(answer, says):
    (finding,) = report({**request({"a": GOOD}), "answers": {"a": answer}})["findings"]
    assert finding["gate"] == "board.reachable" and says in finding["remedy"]
    assert ("enrolled" in finding["remedy"]) == (answer["rc"] == 255)
