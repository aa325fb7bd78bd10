#!/usr/bin/python3
"""A stand-in for udevadm on an emulated board, where no udev runs.

Knows `info` of an interface and `trigger`, which a boot asks for: each interface is set up by the first .link file that
matches it, as far as its MTU goes.
"""

from __future__ import annotations

import configparser
import fnmatch
import subprocess
import sys
from pathlib import Path

FOLDERS = ("/etc/systemd/network", "/run/systemd/network", "/usr/lib/systemd/network")
INTERFACES = ("eth0", "wlan0")
NET = Path("/sys/class/net")


def settings(path: Path) -> configparser.ConfigParser:
    read = configparser.ConfigParser(delimiters="=", strict=False, interpolation=None)
    read.optionxform = str  # type: ignore[assignment]
    read.read(path)
    return read


def matches(path: Path, name: str) -> bool:
    """Whether all that a file asks for is so; it asks for something, or is not for interfaces."""
    own = (NET / name / "address").read_text().strip()
    permanent = own if (NET / name / "addr_assign_type").read_text().strip() == "0" else ""
    asked = dict(settings(path)["Match"]) if settings(path).has_section("Match") else {}
    found = {
        "PermanentMACAddress": lambda wanted: permanent in wanted.lower().split(),
        "MACAddress": lambda wanted: own in wanted.lower().split(),
        "OriginalName": lambda wanted: any(fnmatch.fnmatch(name, pattern) for pattern in wanted.split()),
    }
    return bool(asked) and all(key in found and found[key](wanted) for key, wanted in asked.items())


def link_file(name: str) -> Path | None:
    """Returns the file that counts: the first by its name, whichever folder it is in."""
    files = {path.name: path for folder in reversed(FOLDERS) for path in Path(folder).glob("*.link")}
    return next((files[key] for key in sorted(files) if matches(files[key], name)), None)


def trigger() -> None:
    for name in INTERFACES:
        file = link_file(name)
        mtu = settings(file).get("Link", "MTUBytes", fallback="") if file else ""
        if mtu:
            for words in (["down"], ["mtu", mtu], ["up"]):  # here the link is up already; on a board it is not yet
                subprocess.run(["/usr/sbin/ip", "link", "set", "dev", name, *words], check=False)


def main(arguments: list[str]) -> int:
    verb, *options = arguments or [""]
    if verb == "trigger":
        trigger()
        return 0
    path = next((option.split("=", 1)[1] for option in options if option.startswith("--path=")), "")
    name = Path(path).name
    if verb != "info" or name not in INTERFACES:
        print(f"Unknown: {' '.join(arguments)}", file=sys.stderr)
        return 1
    file = link_file(name)
    print(f"DEVPATH=/devices/virtual/net/{name}\nINTERFACE={name}")
    if file:
        print(f"ID_NET_LINK_FILE={file}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
