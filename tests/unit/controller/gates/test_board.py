"""The gates of one board: what each of them refuses, warns of and lets pass."""

import pytest

from controller.gates.judge import judge
from tests.unit.controller.gates.facts import CAN, CANNOT, EMULATED, GOOD, HELD, NEEDS, PINNED, needs

TRAINER = {"pid": 41, "command": "python -m trainer.supervise.supervisor --config run.json"}
OTHER_RUN = {"run_id": "one", "owner": "ann@desk", "since_s": GOOD["ended_s"] - 120}


def own(given, *resolved):
    return {"own_address": {"given": given, "address": resolved[0] if resolved else given}}


def firewall(ports, unit=None):
    return {"firewall": {"ports": ports, "unit": unit}}


SERVERS_PORTS = [12345, 12346, 12347, 12348]
GUARDED = {"firewall_required": True}
SLOW = {**GOOD["link"], "bit_per_s": 10**8}
TORCH = {"venv": {"python": "3.8.10", "tensorflow": None, "pytorch": "2.13.0+cpu"}}
LACKS = {"error": "PyTorch 2.1.0 is built without torch.distributed"}
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
        ("board.tensorflow", "refuse", {"venv": None}, {}, "no working /opt/venv/bin/python"),
        ("board.tensorflow", "refuse", {"venv": {"python": "3.8.10", "tensorflow": None}}, {}, "none for /opt/venv"),
        ("board.tensorflow", "refuse", {"venv": {"python": "3.8.10", "tensorflow": "2.120.0"}}, {}, "2.120.0"),
        (
            "board.tensorflow",
            "refuse",
            {"venv": {"python": "3.12.3", "tensorflow": "2.21.0", "packages": {"tensorflow-cpu": "2.21.0"}}},
            {"tensorflow": ""},
            "TensorFlow 2.21.0 with Keras 3 alone",
        ),
        (
            "board.tensorflow",
            "refuse",
            {"venv": {"python": "3.8.10", "tensorflow": "2.11.0"}},
            {"tensorflow": ""},
            "2.11.0",
        ),
        ("board.jetpack", "refuse", {"jetpack": "L4T 34.1.1"}, {"jetpack": ""}, "L4T 34.1.1"),
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
        (
            "board.port",
            "refuse",
            {"server_ports": {"12347": {**HELD, "free": True}, "12348": HELD}, **firewall(SERVERS_PORTS)},
            {"strategy": "parameter_server"},
            "pid 41, python -m trainer",
        ),
        ("board.tpu", "refuse", {}, {"strategy": "tpu"}, "neither a /dev/accel* nor a PCI device"),
        ("board.stale_trainer", "refuse", {"trainers": [TRAINER]}, {}, "pid 41"),
        ("board.clock", "refuse", {"clock_error_s": -3.25}, {}, "3.2 s behind"),
        ("board.clock", "refuse", {"clock_error_s": 0.75}, {"clock_error_s": 0.5}, "0.8 s ahead"),
        ("network.address", "refuse", own("10.9.9.9"), {}, "10.9.9.9 is on no interface"),
        ("network.address", "refuse", own("orin-1", "10.9.9.9"), {}, "orin-1 (10.9.9.9 on the board) is on no"),
        ("network.address", "refuse", own("orin-1", "127.0.1.1"), {}, "orin-1 (127.0.1.1 on the board) is a loopback"),
        ("network.address", "refuse", own("orin-1", None), {}, "the board cannot resolve orin-1"),
        ("network.address", "refuse", own("172.18.0.1"), {}, "172.18.0.1 is on docker0, a network inside"),
        (
            "network.address",
            "warn",
            {"routes": {"b": {"dev": "eth1", "wireless": False}}},
            {},
            "the route to b uses eth1",
        ),
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
        ("network.firewall", "warn", firewall([]), {}, "no rules of the kit are loaded"),
        ("network.firewall", "refuse", firewall([]), GUARDED, "no rules of the kit are loaded"),
        ("network.firewall", "warn", firewall([], "active"), {}, "no rules of the kit are loaded"),
        ("network.firewall", "warn", firewall([12345], "active"), {}, "rules for 12345"),
        ("network.firewall", "warn", firewall([2222, 2223], "active"), {}, "rules for 2222 and 2223"),
        ("network.firewall", "refuse", firewall(None, "inactive"), GUARDED, "no rules of the kit are loaded"),
        ("network.firewall", "warn", {**firewall([]), "emulated": {"emulated": True}}, {}, "no rules"),  # dressed
        ("network.firewall", "warn", {}, {"strategy": "parameter_server"}, "rules for 12345 and 12346"),
        ("network.firewall", "refuse", EMULATED, GUARDED, "no rules of the kit are loaded"),
        ("collective.nccl", "warn", {"nccl": CANNOT}, {"communication": "nccl"}, "0 GPU kernels"),
        ("collective.nccl", "refuse", {"nccl": CANNOT}, STRICT, "0 GPU kernels"),
        ("collective.nccl", "refuse", {"nccl": None}, STRICT, "not known"),
        ("collective.nccl", "refuse", {"nccl": CAN, "nccl_trial": FAILED}, {"communication": "nccl"}, "unhandled"),
        ("collective.nccl", "warn", {"nccl": CAN, "nccl_trial": FAILED}, {"communication": ""}, "unhandled"),
        ("collective.nccl", "refuse", {"nccl": CAN, "nccl_trial": RING}, {"communication": "nccl"}, "RingReduce ran"),
        ("collective.nccl", "warn", {"nccl": CANNOT}, {"communication": ""}, "0 GPU kernels"),
        ("collective.nccl", "warn", {"nccl": None}, {"communication": "nccl"}, "not known"),
        ("collective.nccl", "warn", {"nccl": {**CANNOT, "tensorflow": "2.11"}}, {"communication": "nccl"}, "not known"),
        ("board.pytorch", "refuse", {}, {"engine": "pytorch"}, "none for /opt/venv/bin/python"),
        ("board.pytorch", "refuse", {"venv": None}, {"engine": "pytorch"}, "no working /opt/venv/bin/python"),
        ("board.pytorch", "refuse", TORCH, {"engine": "pytorch", "pytorch": "2.1"}, "2.13.0+cpu"),
        ("board.pytorch", "refuse", {"venv": {**TORCH["venv"], "pytorch": "2.1.0"}}, {"engine": "pytorch"}, "2.1.0"),
        ("collective.torch", "refuse", {**TORCH, "torch_trial": LACKS}, {"engine": "pytorch"}, "without torch.distr"),
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
        ({"jetpack": "6.1"}, {"jetpack": ""}),
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
        ({"server_ports": {"12348": HELD}}, {}),
        (firewall(SERVERS_PORTS), {"strategy": "parameter_server", "communication": "nccl"}),  # without collectives
        ({"tpus": ["accel0"]}, {"strategy": "tpu"}),
        ({"nccl": CAN}, {"communication": "nccl"}),
        (TORCH, {"engine": "pytorch", "communication": "nccl"}),  # which says itself what it runs
        ({**TORCH, "torch_trial": {"error": None}}, {"engine": "pytorch", "pytorch": "2.13"}),
        ({"nccl": CAN, "nccl_trial": {"used": "NcclReduce", "error": None}}, STRICT),
        ({"nccl": CANNOT}, {"communication": "auto"}),
        ({**EMULATED, "temperature_c": 99.0, "swap_used_bytes": 10**10}, {}),  # the machine's that emulates it
        ({**EMULATED, "link": SLOW}, {}),
        ({"routes": {}, "link": SLOW}, {}),
        ({"routes": {}, **firewall([])}, {}),
        (firewall(None, "active"), GUARDED),  # without root, the unit's word counts
        (firewall([80, 12345, 12346]), GUARDED),
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
    [("wlan0", True, "sudo ip link set wlan0 down"), ("docker0", False, "the board's own network docker0")],
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
