"""Judges all boards against the requirements and against each other."""

from __future__ import annotations

import difflib
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from controller.gates import board
from controller.gates.board import REFUSE, WARN, Facts, Needs, Violation, clocks, is_jetson, rate
from trainer.contract.config import ConfigError
from trainer.contract.packages import TENSORFLOW
from trainer.contract.releases import KNOWN

_SHOWN = 3  # packages named in a finding; the others are counted
# Required throughput of a faster link: 10 Gbit/s links between Orins were seen to carry 1.7 to 3.4 Gbit/s.
ENOUGH_BIT_PER_S = 1_000_000_000
_OVER_A_NETWORK = r"nfs4?|cifs|smb3|smbfs|ceph|lustre|beegfs|afs|9p|virtiofs|gfs2|ocfs2|fuse[.].+"  # as mounts say


@dataclass(frozen=True)
class Finding:
    """A violation with its board and gate, and whether it was waived."""

    board: str
    gate: str
    severity: str
    found: str
    wanted: str
    remedy: str
    waived: bool


def judge(
    boards: Mapping[str, Facts], needs: Needs, waive: Sequence[str] = (), measured: Sequence[Mapping[str, Any]] = ()
) -> list[Finding]:
    """All findings, by board in rank order, then by gate.

    `boards`: facts by board, or `error` and `address` of a board without. `measured`: records of files/measure.py.
    Raises ConfigError if `waive` names an unknown gate.
    """
    unknown = unknown_gates(waive)
    if unknown:
        raise ConfigError(unknown)
    answered = {name: facts for name, facts in boards.items() if "error" not in facts}
    found: list[tuple[str, str, Violation]] = [
        (name, *_without_facts(name, facts, needs)) for name, facts in boards.items() if "error" in facts
    ]
    for gate, check in board.GATES.items():
        found += [(name, gate, violation) for name, facts in answered.items() for violation in check(facts, needs)]
    found += _with_one_folder(answered)
    found += _between(answered, needs, measured)
    for gate, (of, remedy) in _SYMMETRY.items():
        own = gate.replace("symmetry.", "board.")  # not reported a second time for this board
        told = {name for name, other, _ in found if other == own and own not in waive}
        severity = WARN if gate in _WARNED else REFUSE
        found += [
            (name, gate, violation)
            for name, violation in _deviations(answered, of, remedy, severity)
            if name not in told
        ]
    ranks = list(boards)
    found.sort(key=lambda item: (ranks.index(item[0]), GATES.index(item[1])))
    return [
        Finding(name, gate, violation.severity, violation.found, violation.wanted, violation.remedy, gate in waive)
        for name, gate, violation in found
    ]


def unknown_gates(waive: Sequence[str]) -> list[str]:
    """A sentence for each of these names that is not a gate's."""
    found = []
    for name in waive:
        if name not in GATES:
            near = difflib.get_close_matches(str(name), GATES, 1)
            meant = f"; did you mean {near[0]}?" if near else "."
            found.append(f"waive names {name!r}, which is not a gate{meant} Known gates: {', '.join(GATES)}")
    return found


def _without_facts(name: str, facts: Facts, needs: Needs) -> tuple[str, Violation]:
    """The gate that a board without facts fails, and why."""
    address, error = facts["address"], facts["error"]
    if facts.get("old_python"):
        found = f"Python {facts['old_python']}"
        if facts["jetpack"]:
            found, wanted = f"{facts['jetpack']}, {found}", f"JetPack {needs.jetpack or KNOWN}"
            return "board.jetpack", Violation(found, wanted, board.flash(needs.jetpack))
        remedy = (
            f"{name} needs Python 3.8 or newer as its python3: ls -l $(command -v python3) on the board "
            "shows which it has"
        )
        return "board.reachable", Violation(found, "Python 3.8 or newer", remedy)
    if facts.get("rc") in (None, _NO_SSH):
        remedy = (
            f"{name} cannot be reached at {address}: {error}. Check its power, its ansible_host, and that "
            "it is enrolled"
        )
        return "board.reachable", Violation("no answer", f"an answer at {address}", remedy)
    remedy = f"{name} answers at {address}, but its python3 did not return its facts: {error}"
    return "board.reachable", Violation(f"exit code {facts['rc']}", "facts as JSON", remedy)


# ---- boards against each other


def _with_one_folder(boards: Mapping[str, Facts]) -> Iterator[tuple[str, str, Violation]]:
    """Boards that share their kit_home with another board: each would delete the other's files."""
    names = list(boards)
    for rank, name in enumerate(names):
        other = next((other for other in names[:rank] if _is_one_folder(boards[name], boards[other])), None)
        if other:
            home = boards[name]["home"]
            remedy = (
                f"give kit_home a path on the board's own disk, or mount another folder on each board at {home['path']}"
            )
            found = f"{home['path']} ({home['source']}, {home['kind']}) is shared with {other}"
            yield name, "board.home", Violation(found, "a folder of its own", remedy)


def _is_one_folder(first: Facts, second: Facts) -> bool:
    one, other = first["home"], second["home"]
    same: tuple[str, ...]
    if not one or not other:
        return False
    if first["emulated"] and second["emulated"]:  # of one kernel, in which device numbers are unique
        same = ("device", "inode", "missing")
    elif not all(re.fullmatch(_OVER_A_NETWORK, home["kind"] or "") for home in (one, other)):
        return False  # boards flashed alike have the same numbers
    elif one["source"] == other["source"]:
        same = ("inside",)
    else:  # a server may have several names
        same = ("inode", "changed_ns", "missing")
    return all(one[key] == other[key] for key in same)


def _between(
    boards: Mapping[str, Facts], needs: Needs, measured: Sequence[Mapping[str, Any]]
) -> Iterator[tuple[str, str, Violation]]:
    """Findings about measured links: throughput for the receiving board, latency for the asking one."""
    for record in measured:
        name, other = record["to"], record["from"]
        if "error" in record:
            remedy = f"check that {other} can reach TCP port {needs.port} of {name} through any firewall"
            yield name, "network.throughput", Violation(f"{record['error']} ({other})", "a connection", remedy)
            continue
        rates = [_link_rate(boards[end]) for end in (name, other)]
        least = min(rate for rate in rates if rate) if all(rates) else None
        enough = min(least or 0, max(needs.link_bit_per_s, ENOUGH_BIT_PER_S))
        if record["bit_per_s"] < needs.throughput_fraction * (least or 0):
            refused = record["bit_per_s"] < needs.throughput_fraction * enough
            wanted = f"{needs.throughput_fraction:.0%} of {rate(enough if refused else least or 0)}"
            remedy = "try another cable and switch port; check for other traffic"
            if not refused:
                remedy = "normal for one connection over such a fast link; the slowest link sets the pace"
            severity = REFUSE if refused else WARN
            yield (
                name,
                "network.throughput",
                Violation(f"{rate(record['bit_per_s'])} from {other}", wanted, remedy, severity),
            )
        if record["round_trip_s"] > needs.round_trip_s:
            found = f"{record['round_trip_s'] * 1e3:.2f} ms to {other}"
            remedy = "check for other traffic, and for more than one switch between them"
            yield name, "network.latency", Violation(found, f"at most {needs.round_trip_s * 1e3:g} ms", remedy, WARN)


def _link_rate(facts: Facts) -> int | None:
    emulated = (facts["emulated"] or {}).get("link_rate_bit_per_s")
    rate: int | None = emulated or (facts["link"] or {}).get("bit_per_s")
    return rate


def _packages(venv: Facts) -> str | None:
    """All packages but the engine, which has its own gate: NAME VERSION, a line each."""
    packages: dict[str, str] = venv.get("packages") or {}
    return (
        "\n".join(
            f"{name} {version}" for name, version in sorted(packages.items()) if name not in (*TENSORFLOW, "torch")
        )
        or None
    )


_NO_SSH = 255  # ssh's exit code for its own errors
_WARNED = ("symmetry.jetpack",)  # gates that do not refuse a run
_Value = Callable[[Facts], str | None]
# facts that must be equal on all boards; a null fact has its own finding, or nothing to compare
_SYMMETRY: dict[str, tuple[_Value, str]] = {
    "symmetry.module": (
        lambda facts: facts["module"] or ("a Jetson" if is_jetson(facts) else "no Jetson"),
        "use boards of one kind in a run: the slowest sets the pace",
    ),
    "symmetry.jetpack": (
        lambda facts: facts["jetpack"],
        "boards of several releases can train together where TensorFlow and Python are the same",
    ),
    "symmetry.tensorflow": (
        lambda facts: (facts["venv"] or {}).get("tensorflow"),
        "playbooks/provision.yml --tags python_env on every board",
    ),
    "symmetry.pytorch": (
        lambda facts: (facts["venv"] or {}).get("pytorch"),
        "playbooks/provision.yml --tags torch_env on every board",
    ),
    "symmetry.python": (
        lambda facts: (facts["venv"] or {}).get("python"),
        "playbooks/provision.yml --tags python_env on every board",
    ),
    "symmetry.packages": (
        lambda facts: _packages(facts["venv"] or {}),
        "playbooks/provision.yml --tags python_env on every board; uninstall with its pip the packages "
        "that other boards lack",
    ),
    "symmetry.power_mode": (
        lambda facts: facts["power_mode"] if is_jetson(facts) else None,
        "playbooks/provision.yml --tags power on every board",
    ),
    "symmetry.frequencies": (
        lambda facts: clocks(facts["frequencies_hz"]) if is_jetson(facts) and facts["frequencies_hz"] else None,
        "playbooks/provision.yml --tags power on every board",
    ),
    "symmetry.gpu_mask": (
        lambda facts: " ".join(f"{name}={value}" for name, value in sorted((facts["gpu_mask"] or {}).items())) or None,
        "set the same power mode on every board with playbooks/provision.yml --tags power, and reboot this one",
    ),
    "symmetry.mtu": (
        lambda facts: str(facts["link"]["mtu_bytes"]) if facts["link"] and facts["routes"] else None,
        "set the same network_mtu for every board, such as 1466, then playbooks/provision.yml --tags network",
    ),
}

GATES = (
    "board.reachable",
    "board.home",
    *board.GATES,
    "network.throughput",
    "network.latency",
    *_SYMMETRY,
)


def _deviations(boards: Mapping[str, Facts], of: _Value, remedy: str, severity: str) -> Iterator[tuple[str, Violation]]:
    """Boards that differ from the majority; without a majority, from the first."""
    values = {name: value for name, facts in boards.items() for value in [of(facts)] if value is not None}
    if len(set(values.values())) < 2:
        return
    most = Counter(values.values()).most_common(1)[0][0]
    like = next(name for name, value in values.items() if value == most)
    for name, value in values.items():
        if value != most:
            found, wanted = _apart(value, most)
            yield name, Violation(found, f"{wanted} (as {like})", remedy, severity)


def _apart(value: str, most: str) -> tuple[str, str]:
    """The lines in which two lists differ."""
    if "\n" not in value + most:
        return value, most
    mine, theirs = (dict(line.split(" ", 1) for line in text.splitlines()) for text in (value, most))
    names = sorted(name for name in {*mine, *theirs} if mine.get(name) != theirs.get(name))
    found, wanted = (", ".join(f"{name} {of.get(name, 'missing')}" for name in names[:_SHOWN]) for of in (mine, theirs))
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return found + more, wanted + more
