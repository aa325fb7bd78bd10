"""What this board is: the facts that go into its result. Standard library only; what cannot be read is null."""

from __future__ import annotations

import json
import os
import platform
import re
import socket
import subprocess
from pathlib import Path
from typing import Any, Dict, Optional

from trainer import frequencies, packages, sysfs, telemetry

EMULATED = Path("/etc/cluster-kit/emulated.json")  # written by the lab on its boards
_RELEASE = Path("/etc/nv_tegra_release")
_MODULE = Path("/sys/firmware/devicetree/base/compatible")  # what /proc/device-tree links to
_JETPACK = {"35.3.1": "5.1.1"}


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
    first, last = (look(folder / telemetry.NAME) or {} for look in (telemetry.earliest, telemetry.latest))
    now = frequencies.frequencies()
    return {
        "frequencies_hz": now,
        "clocks_pinned": {"start": first.get("clocks_pinned"), "end": frequencies.pinned(now)},
        "over_current_events": last.get("over_current_events"),
        "throttled_s": last.get("throttled_s"),
    }


def l4t(release: Optional[str], package: Optional[str]) -> Optional[str]:
    """Release of Jetson Linux, such as 35.3.1.

    From the first line of /etc/nv_tegra_release, else the version of the Debian package nvidia-l4t-core.
    """
    found = re.match(r"# R(\d+) \(release\), REVISION: ([\d.]+)", release or "")
    return f"{found[1]}.{found[2]}" if found else (package or "").partition("-")[0] or None


def jetpack(release: Optional[str], package: Optional[str]) -> Optional[str]:
    """JetPack's version, or that of Jetson Linux (L4T) where it is not known, from what `l4t` takes."""
    linux = l4t(release, package)
    return _JETPACK.get(linux, f"L4T {linux}") if linux else None


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
