"""The gates of boards against each other, and what their measured links are held against."""

import importlib.util

import pytest

from controller.gates.judge import judge
from tests import PROJECT
from tests.unit.controller.gates.facts import EMULATED, GOOD, NEEDS, PINNED, found, needs

_SPEC = importlib.util.spec_from_file_location("measure", PROJECT / "roles/check/files/measure.py")
measure = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(measure)


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
        ("symmetry.mtu", {"link": {**GOOD["link"], "mtu_bytes": 9000}}, "9000"),
        ("symmetry.mtu", {"link": {**GOOD["link"], "mtu_bytes": 1500}}, "1500"),
    ],
)
def test_the_board_that_differs_is_named(gate, changes, says):
    boards = {"a": {**GOOD, **changes}, "b": GOOD, "c": GOOD}
    (finding,) = judge(boards, needs(power_mode="", jetpack="", clocks_pinned=0))
    assert (finding.board, finding.gate, finding.severity, finding.found) == ("a", gate, "refuse", says)
    assert "(as b)" in finding.wanted


SIX = {
    "jetpack": "6.2",
    "release": "# R36 (release), REVISION: 4.3, GCID: 1",
    "venv": {"python": "3.10.12", "tensorflow": "2.16.1+nv24.8", "packages": {"tf-keras": "2.16.0"}},
}


def test_releases_of_jetpack_train_together_where_tensorflow_and_python_are_the_same():
    several = needs(jetpack="", tensorflow="")
    assert found({"a": GOOD, "b": {**GOOD, "jetpack": "5.1.5"}}, several) == [("b", "symmetry.jetpack", "warn")]
    findings = judge({"a": GOOD, "b": {**GOOD, **SIX}}, several)
    assert [(it.gate, it.severity, it.found) for it in findings] == [
        ("symmetry.jetpack", "warn", "6.2"),
        ("symmetry.tensorflow", "refuse", "2.16.1+nv24.8"),
        ("symmetry.python", "refuse", "3.10.12"),
    ]
    assert all(it.board == "b" and it.wanted.endswith("(as a)") for it in findings)


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
    assert waived == [("b", "board.jetpack", "refuse"), ("b", "symmetry.jetpack", "warn")]


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
    assert ["normal for" in f.remedy for f in findings] == [f.severity == "warn" for f in findings]
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
    assert finding.found.endswith(" is shared with a") and second["home"]["path"] in finding.found
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
