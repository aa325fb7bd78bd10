"""What this board is: the facts that go into its result. Standard library only; what cannot be read is null."""

from __future__ import annotations

import json
import os
import platform
import socket
import subprocess
from pathlib import Path
from typing import Any, Dict, Optional

from trainer.contract import events, frequencies, layout, packages, sysfs
from trainer.contract.layout import EMULATED
from trainer.contract.releases import jetpack

_RELEASE = Path("/etc/nv_tegra_release")
_MODULE = Path("/sys/firmware/devicetree/base/compatible")  # what /proc/device-tree links to


def gather(interface: Optional[str]) -> Dict[str, Any]:
    """Facts of this board by name."""
    emulated = _json(EMULATED)
    installed = packages.installed()
    return {
        "hostname": socket.gethostname(),
        "machine": platform.machine(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_bytes": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        "python": platform.python_version(),
        "tensorflow": packages.tensorflow_version(installed),
        "packages_sha256": packages.digest(installed),
        "jetpack": jetpack(sysfs.text(_RELEASE), l4t_package()),
        "module": (sysfs.text(_MODULE) or "").partition("\0")[0] or None,
        "interface": interface,
        "emulated": bool(emulated.get("emulated")),
        "link_rate_bit_per_s": emulated.get("link_rate_bit_per_s", _link_rate(interface)),
    }


def clocks(folder: Path) -> Dict[str, Any]:
    """Whether the clocks were pinned and what lowered them, in the run of this folder, and their frequencies now.

    frequencies_hz: as `frequencies.frequencies`; clocks_pinned: at the run's start and end; over_current_events and
    throttled_s: over the run, as in its samples.
    """
    first, last = (look(folder / layout.TELEMETRY) or {} for look in (events.first_sample, events.last_sample))
    now = frequencies.frequencies()
    return {
        "frequencies_hz": now,
        "clocks_pinned": {"start": first.get("clocks_pinned"), "end": frequencies.pinned(now)},
        "over_current_events": last.get("over_current_events"),
        "throttled_s": last.get("throttled_s"),
    }


def l4t_package() -> Optional[str]:
    """Version of the package nvidia-l4t-core, which Jetsons have."""
    command = ["dpkg-query", "--show", "--showformat=${Version}", "nvidia-l4t-core"]
    try:
        shown = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    except OSError:  # no Debian
        return None
    return shown.stdout.strip() or None


def _link_rate(interface: Optional[str]) -> Optional[int]:
    speed = sysfs.number(Path(f"/sys/class/net/{interface}/speed"))  # Mbit/s, -1 where the driver does not know
    return speed * 1_000_000 if speed and speed > 0 else None


def _json(path: Path) -> Dict[str, Any]:
    try:
        value = json.loads(sysfs.text(path) or "{}")
    except ValueError:
        value = {}
    return value if isinstance(value, dict) else {}
