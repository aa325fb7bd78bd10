"""Releases of Jetson Linux (L4T) and JetPack, read on a board. Standard library only."""

from __future__ import annotations

import re
from typing import Optional

_JETPACK = {"35.3.1": "5.1.1"}


def l4t(release: Optional[str], package: Optional[str]) -> Optional[str]:
    """Release of Jetson Linux, such as 35.3.1.

    From the first line of /etc/nv_tegra_release, else the version of the Debian package nvidia-l4t-core.
    """
    found = re.match(r"# R(\d+) \(release\), REVISION: ([\d.]+)", release or "")
    return f"{found[1]}.{found[2]}" if found else (package or "").partition("-")[0] or None


def jetpack(release: Optional[str], package: Optional[str]) -> Optional[str]:
    """JetPack's version, or Jetson Linux' (L4T) where it is unknown; arguments as for `l4t`."""
    linux = l4t(release, package)
    return _JETPACK.get(linux, f"L4T {linux}") if linux else None
