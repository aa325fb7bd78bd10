"""A board's share of a processor core, if boards share one: a quota in its own control group.

With it a board computes as fast while the others wait as while they compute: as boards with a processor of their own.
Works with version 1 and version 2 of the kernel's control groups.
"""

from __future__ import annotations

import hashlib
import os
import time
from dataclasses import dataclass
from pathlib import Path

from .lab_processes import LabError

_PERIOD_US = 10_000  # short, so that a step is slow rather than interrupted,
_SLICE_US = 5_000  # but each slice long beside the time in which a board's data is in the caches again
_LEAVE_TIMEOUT_S = 5.0  # the kernel forgets an ended process a little later
_REMEDY = "set -e lab_core_share=1 (boards then share cores as they come), or mount the control groups' cpu controller"


@dataclass(frozen=True)
class Hierarchy:
    """The control groups that have the cpu controller."""

    root: Path
    version: int


def hierarchy(mounts: Path = Path("/proc/mounts")) -> Hierarchy | None:
    """Where this machine has it; None where it has not."""
    for line in mounts.read_text(encoding="utf-8").splitlines():
        _, target, kind, options, *_ = line.split()
        root = Path(target)
        if kind == "cgroup" and "cpu" in options.split(","):
            return Hierarchy(root, 1)
        controllers = root / "cgroup.controllers"
        if kind == "cgroup2" and controllers.exists() and "cpu" in controllers.read_text(encoding="ascii").split():
            return Hierarchy(root, 2)
    return None


def equal_share(boards: int, cores: int) -> float:
    """The share (0 to 1) of a core that each board gets where they are dealt out in turn to the cores."""
    return 1 / -(-boards // cores)


def has_share(lab_dir: str, board: str, share: float) -> bool:
    """Tells whether the board has this share."""
    found = hierarchy()
    if found is None:
        return share >= 1
    limits = _limit(found, lab_dir, board, share)
    if not all(path.exists() for path, _ in limits):
        return share >= 1
    return all(path.read_text(encoding="ascii").split() == wanted.split() for path, wanted in limits)


def give_share(lab_dir: str, board: str, share: float) -> None:
    """Gives the board this share (0 to 1) of its core, also while it runs.

    Raises:
        LabError: this machine cannot limit it.
    """
    found = hierarchy()
    if found is None:
        if share < 1:
            raise LabError(f"this machine has no control groups with the cpu controller: {_REMEDY}")
        return
    try:
        if found.version == 2:
            (found.root / "cgroup.subtree_control").write_text("+cpu", encoding="ascii")
        _group(found, lab_dir, board).mkdir(exist_ok=True)
        for path, value in _limit(found, lab_dir, board, share):
            path.write_text(value, encoding="ascii")
    except OSError as error:
        if share < 1:
            raise LabError(f"no control group could be made for {board} ({error}): {_REMEDY}") from error


def entered(lab_dir: str, board: str) -> list[str]:
    """The words before a command that is to run with the board's share; none where it has a whole core for itself."""
    found = hierarchy()
    group = _group(found, lab_dir, board) if found else None
    return ["sh", "-c", 'echo $$ >"$0" && exec "$@"', str(group / "cgroup.procs")] if group and group.exists() else []


def leave(lab_dir: str) -> int:
    """Removes the control groups of the lab, once their processes have ended; returns their number."""
    found = hierarchy()
    groups = list(found.root.glob(f"{_prefix(lab_dir)}*")) if found else []
    deadline = time.monotonic() + _LEAVE_TIMEOUT_S
    for group in groups:
        while group.exists():
            try:
                group.rmdir()
            except OSError as error:
                if time.monotonic() > deadline:
                    raise LabError(
                        f"{group} cannot be removed ({error}): end what runs in it, and try again"
                    ) from error
                time.sleep(0.02)
    return len(groups)


def _limit(found: Hierarchy, lab_dir: str, board: str, share: float) -> list[tuple[Path, str]]:
    """The files that hold the share, and what they hold."""
    group, period_us = _group(found, lab_dir, board), max(_PERIOD_US, round(_SLICE_US / share))
    quota_us = int(share * period_us)
    if found.version == 2:
        return [(group / "cpu.max", f"{quota_us if share < 1 else 'max'} {period_us}")]
    return [
        (group / "cpu.cfs_period_us", str(period_us)),
        (group / "cpu.cfs_quota_us", str(quota_us if share < 1 else -1)),
    ]


def _group(found: Hierarchy, lab_dir: str, board: str) -> Path:
    return found.root / f"{_prefix(lab_dir)}{board}"


def _prefix(lab_dir: str) -> str:
    return f"cluster-kit-lab-{hashlib.sha256(os.fsencode(Path(lab_dir).resolve())).hexdigest()[:8]}-"
