#!/usr/bin/python3
"""A stand-in for nvpmodel on an emulated board: power modes by /etc/nvpmodel.conf.

A change to a mode with another GPU mask takes a reboot, and asks for it. Whenever a mode is applied, also the one that
the board has, clocks may go down again: pinned ones are no more.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

CONF = "/etc/nvpmodel.conf"
STATUS = Path("/var/lib/nvpmodel/status")  # the mode, such as pmode:0002
NEXT = Path("/var/lib/nvpmodel/next")  # the mode from the next boot on; nvpmodel.service takes it over
GPU = "TPC_POWER_GATING TPC_PG_MASK"
CPUS, GPU_CLOCK = Path("/sys/devices/system/cpu/cpufreq"), Path("/sys/class/devfreq/17000000.ga10b/min_freq")


@dataclass
class Mode:
    number: int
    name: str
    settings: dict[str, str] = field(default_factory=dict)


@dataclass
class Conf:
    modes: dict[int, Mode]
    default: int
    mask_file: Path | None

    def mode(self, wanted: str) -> Mode:
        """Returns a mode by its ID or name."""
        for mode in self.modes.values():
            if wanted == mode.name or (wanted.isdigit() and int(wanted) == mode.number):
                return mode
        sys.exit(f"NVPM ERROR: invalid power model: {wanted}")


def read(path: str) -> Conf:
    conf = Conf({}, 0, None)
    mode = None
    try:
        lines = Path(path).read_text().splitlines()
    except OSError as error:
        sys.exit(f"NVPM ERROR: cannot open {path}: {error.strerror}")
    for line in lines:
        line = line.split("#")[0].strip()
        header = re.fullmatch(r"<\s*(\w+)\s+(.*?)\s*>", line)
        if header:
            fields = dict(word.split("=", 1) for word in header[2].split() if "=" in word)
            mode = None
            if header[1] == "POWER_MODEL":
                mode = conf.modes[int(fields["ID"])] = Mode(int(fields["ID"]), fields["NAME"])
            elif header[1] == "PM_CONFIG":
                conf.default = int(fields["DEFAULT"])
        elif mode and line:
            name, value = line.rsplit(None, 1)
            mode.settings[" ".join(name.split())] = value
        elif line.startswith("TPC_PG_MASK "):
            conf.mask_file = Path(line.split()[1])
    if not conf.modes:
        sys.exit(f"NVPM ERROR: no power model in {path}")
    return conf


def current(conf: Conf) -> Mode:
    match = re.search(r"pmode:(\d+)", STATUS.read_text()) if STATUS.exists() else None
    return conf.mode(str(int(match[1])) if match else str(conf.default))


def apply(conf: Conf, mode: Mode) -> None:
    STATUS.parent.mkdir(parents=True, exist_ok=True)
    STATUS.write_text(f"pmode:{mode.number:04d}\n")
    if conf.mask_file and GPU in mode.settings and conf.mask_file.exists():
        conf.mask_file.write_text(mode.settings[GPU] + "\n")
    greatest = int(mode.settings.get("CPU_A78_0 MAX_FREQ", -1))
    for policy in CPUS.glob("policy*"):
        first = int(policy.name.removeprefix("policy"))
        online = mode.settings.get(f"CPU_ONLINE CORE_{first}") != "0"
        (policy / "affected_cpus").write_text(" ".join(map(str, range(first, first + 4))) if online else "")
        (policy / "scaling_min_freq").write_text("729600\n")
        (policy / "scaling_max_freq").write_text(f"{greatest if greatest > 0 else 2201600}\n")
    if GPU_CLOCK.exists():
        GPU_CLOCK.write_text("114750000\n")


def change(conf: Conf, mode: Mode) -> None:
    before = current(conf)
    if before.settings.get(GPU) == mode.settings.get(GPU):
        NEXT.unlink(missing_ok=True)
        apply(conf, mode)
        return
    print("NVPM WARN: Golden image context is already created")
    print(f"NVPM WARN: Reboot required for changing to this power mode: {mode.number}")
    print("NVPM WARN: DO YOU WANT TO REBOOT NOW? enter YES/yes to confirm: ", end="", flush=True)
    if sys.stdin.readline().strip() not in ("YES", "yes"):
        print("NVPM WARN: Reboot cancelled, the power mode is not changed")
        return
    NEXT.parent.mkdir(parents=True, exist_ok=True)
    NEXT.write_text(f"{mode.number}\n")
    subprocess.run(["/usr/sbin/reboot"], check=True)


def main() -> None:
    parser = argparse.ArgumentParser(prog="nvpmodel")
    parser.add_argument("-q", "--query", action="store_true")
    parser.add_argument("-m", "--mode", metavar="ID|NAME")
    parser.add_argument("-f", "--file", default=CONF)
    options = parser.parse_args()
    if os.geteuid():
        sys.exit("NVPM ERROR: nvpmodel needs root: run it with sudo")
    conf = read(options.file)
    if options.query:
        mode = current(conf)
        print(f"NV Power Mode: {mode.name}\n{mode.number}")
    elif options.mode is not None:
        change(conf, conf.mode(options.mode))
    elif NEXT.exists():  # as nvpmodel.service calls it at a boot
        mode = conf.mode(NEXT.read_text().strip())
        NEXT.unlink()
        apply(conf, mode)
    else:
        apply(conf, current(conf))


if __name__ == "__main__":
    main()
