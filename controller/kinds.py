"""What a board is, by its survey, and what provisioning does with such a board.

A Jetson has what its release of JetPack says (trainer/contract/releases.py). Any other Linux board gets TensorFlow from
the package index: the newest that the kit locks for its Python.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from trainer.contract import releases
from trainer.contract.reading import Unreadable, parse, printable

NEWEST_PYTHONS = ("3.10", "3.11", "3.12", "3.13")  # of requirements/board-newest.txt
OLDER_PYTHONS = ("3.8", "3.9")  # of requirements/board.txt: TensorFlow 2.12
MACHINES = ("x86_64", "aarch64")  # of both
_COMMON: dict[str, Any] = {  # of a board of no release
    **dict.fromkeys(("l4t", "jetpack", "package", "cuda", "suite")),
    **dict.fromkeys(("tensorflow", "tensorflow_sha256", "pycuda"), ""),
    "doubts": [],
}
_USED = ("release", "l4t_package", "module", "machine", "python", "os", "old_python")  # facts of the survey
_SHOWN = 200  # characters of an invalid answer


def of_answer(answer: Mapping[str, Any], wanted: str = "") -> dict[str, Any]:
    """The kind by what a board answered to the survey (direct_command's result), as if a stranger had written it."""
    printed = str(answer.get("stdout") or "")
    try:
        facts = parse(printed)
    except Unreadable:
        facts = None
    if not isinstance(facts, dict):
        why = printable(" ".join(str(answer.get("stderr") or answer.get("msg") or printed or "no answer").split()))
        problem = f"did not return its facts: {why[:_SHOWN]}: check that python3 works on it"
        return {**_plain({}, wanted), "problem": problem}
    return kind({name: printable(facts[name]) for name in _USED if isinstance(facts.get(name), str)}, wanted)


def kind(survey: Mapping[str, Any], wanted: str = "") -> dict[str, Any]:
    """What a board is: `name`, `label`, `problem` (empty if it can be provisioned), and what it is to get.

    `survey`: what trainer/supervise/facts.py found, or begin.py with an old Python. `wanted`: the only release of
    Jetson Linux that is accepted; empty for all that the kit knows.
    """
    linux = releases.l4t(survey.get("release"), survey.get("l4t_package"))
    return _jetson(survey, linux, wanted) if linux else _plain(survey, wanted)


def _jetson(survey: Mapping[str, Any], linux: str, wanted: str) -> dict[str, Any]:
    release = releases.RELEASES.get(linux)
    known = release or releases.PAPER  # roles read its fields before the problem is reported
    problem = ""
    if release is None or (wanted and linux != wanted):
        which = releases.RELEASES.get(wanted) if wanted else None
        told = f"R{wanted}" if wanted else f"JetPack {releases.KNOWN}"
        flash = which.jetpack if which else releases.PAPER.jetpack
        problem = (
            f"has Jetson Linux R{linux}; wanted is {told}: flash JetPack {flash} with SDK Manager "
            "(docs/boards.md, Flash), or take the board out of the inventory"
        )
    found = {**asdict(known), "suite": known.suite}
    del found["wheel"]
    module = releases.module_name(survey.get("module"))
    return {
        **_COMMON,
        **found,
        "name": "jetson",
        "label": f"{module or 'Jetson'}, JetPack {release.jetpack}" if release else f"Jetson, R{linux}",
        "l4t": linux,
        "problem": problem,
        "python_program": f"python{known.python}",
        "tensorflow": known.wheel.address,
        "tensorflow_sha256": known.wheel.sha256 or "",
        "doubts": _doubts(release) if release else [],
        "machine": survey.get("machine") or "aarch64",
    }


def _doubts(release: releases.Release) -> list[str]:
    """What the kit does not know of a release for sure."""
    found = []
    if release.package is None:
        found.append("no version of nvidia-jetpack is pinned: apt takes the newest of the board's own lists")
    if release.wheel.sha256 and release.wheel.sources < 2:
        found.append(f"the checksum of TensorFlow {release.wheel.version} is from one source")
    return found


def _plain(survey: Mapping[str, Any], wanted: str) -> dict[str, Any]:
    version = str(survey.get("python") or survey.get("old_python") or "")
    python = ".".join(version.split(".")[:2])
    machine = survey.get("machine") or MACHINES[0]
    problem = ""
    if wanted:
        problem = (
            f"is not a Jetson (no /etc/nv_tegra_release, no package nvidia-l4t-core); wanted is R{wanted}: leave "
            "kind_l4t empty, or take the board out of the inventory"
        )
    elif machine not in MACHINES:
        problem = (
            f"is an {machine} machine, and the kit has TensorFlow for {' and '.join(MACHINES)}: install a 64-bit "
            "system on it, or take the board out of the inventory"
        )
    elif python not in (*OLDER_PYTHONS, *NEWEST_PYTHONS):
        problem = (
            f"has Python {python or 'of an unknown version'}, and the kit has TensorFlow for "
            f"{OLDER_PYTHONS[0]} to {NEWEST_PYTHONS[-1]}: upgrade its system, or take the board out of the inventory"
        )
    return {
        **_COMMON,
        "name": "linux",
        "label": f"{survey.get('os') or 'Linux'}, {machine}, Python {python}",
        "problem": problem,
        "python": python,
        "python_program": "python3",
        "requirements": "board.txt" if python in OLDER_PYTHONS else "board-newest.txt",
        "machine": machine,
    }
