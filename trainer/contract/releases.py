"""Releases of Jetson Linux (L4T) and JetPack that the kit knows, and what a board has. Standard library only.

Fields that public sources do not tell are null: provisioning then takes what the board's own apt lists have, and pins
TensorFlow's first download. `sources` counts the sources of the wheel's checksum.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Dict, Optional

_WHEELS = "https://developer.download.nvidia.com/compute/redist/jp"


@dataclass(frozen=True)
class Wheel:
    """NVIDIA's build of TensorFlow for a release."""

    folder: str  # of NVIDIA's site: v511
    version: str  # in the file's name
    python: str  # its tag: cp38
    sha256: Optional[str] = None
    sources: int = 0

    @property
    def address(self) -> str:
        name = f"tensorflow-{self.version}-{self.python}-{self.python}-linux_aarch64.whl"
        return f"{_WHEELS}/{self.folder}/tensorflow/{name}"


@dataclass(frozen=True)
class Release:
    """A release of Jetson Linux."""

    l4t: str
    jetpack: str
    python: str  # the version that NVIDIA's wheel is for: the system's
    cuda: str
    wheel: Wheel
    package: Optional[str] = None  # version of the package nvidia-jetpack
    requirements: str = "jetson.txt"  # in requirements/: the other packages
    pycuda: str = ""  # NAME==VERSION in that file

    @property
    def suite(self) -> str:
        """Of NVIDIA's apt repositories."""
        return "r" + ".".join(self.l4t.split(".")[:2])


_V511 = Wheel("v511", "2.12.0+nv23.05", "cp38")
_V512 = Wheel("v512", "2.12.0+nv23.06", "cp38", "ed0cb20b2d6100e5f508579d670a1e3c362f2020573f2d88d1ebb15f9f9d20c2", 1)
_V60 = Wheel("v60", "2.16.1+nv24.06", "cp310")
_V61 = Wheel("v61", "2.16.1+nv24.08", "cp310", "ee3cd33c24f75ec9d429580499ae9c7bfdcb4a833b4e92e8b3b1092659fb287c", 2)


def _five(l4t: str, jetpack: str, wheel: Wheel, package: Optional[str] = None) -> Release:
    return Release(l4t, jetpack, "3.8", "11.4", wheel, package, pycuda="pycuda==2022.2.2")


def _six(l4t: str, jetpack: str, cuda: str, wheel: Wheel) -> Release:
    return Release(l4t, jetpack, "3.10", cuda, wheel, requirements="jetson-6.txt")


RELEASES: Dict[str, Release] = {
    release.l4t: release
    for release in (
        _five("35.3.1", "5.1.1", _V511, "5.1.1-b56"),
        _five("35.4.1", "5.1.2", _V512),
        _five("35.5.0", "5.1.3", _V512),
        _five("35.6.0", "5.1.4", _V512),
        _five("35.6.1", "5.1.5", _V512),
        _six("36.3.0", "6.0", "12.2", _V60),
        _six("36.4.0", "6.1", "12.6", _V61),
        _six("36.4.3", "6.2", "12.6", _V61),
        _six("36.4.4", "6.2.1", "12.6", _V61),
    )
}
PAPER = RELEASES["35.3.1"]
KNOWN = "5.1.1 to 5.1.5 or 6.0 to 6.2.1"  # for messages

MODULES = {  # by the last part of the board's model in /proc/device-tree
    "p3701-0000": "AGX Orin Developer Kit",
    "p3701-0004": "AGX Orin 32GB",
    "p3701-0005": "AGX Orin 64GB",
    "p3767-0000": "Orin NX 16GB",
    "p3767-0001": "Orin NX 8GB",
    "p3767-0003": "Orin Nano 8GB",
    "p3767-0004": "Orin Nano 4GB",
    "p3767-0005": "Orin Nano Developer Kit",
}


def l4t(release: Optional[str], package: Optional[str]) -> Optional[str]:
    """Release of Jetson Linux, such as 35.3.1.

    From the first line of /etc/nv_tegra_release, else the version of the Debian package nvidia-l4t-core.
    """
    found = re.match(r"# R(\d+) \(release\), REVISION: ([\d.]+)", release or "")
    return f"{found[1]}.{found[2]}" if found else (package or "").partition("-")[0] or None


def jetpack(release: Optional[str], package: Optional[str]) -> Optional[str]:
    """JetPack's version, or Jetson Linux' (L4T) where it is unknown; arguments as for `l4t`."""
    linux = l4t(release, package)
    return (RELEASES[linux].jetpack if linux in RELEASES else f"L4T {linux}") if linux else None


def module_name(model: Optional[str]) -> Optional[str]:
    """A Jetson's module by its model, such as nvidia,p3737-0000+p3701-0000; null where the kit knows no name."""
    return next((name for part, name in MODULES.items() if part in (model or "")), None)
