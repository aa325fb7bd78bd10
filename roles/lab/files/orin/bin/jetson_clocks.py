#!/usr/bin/python3
"""A stand-in for jetson_clocks on an emulated board: pins the clocks that its kernel shows, and the memory's,
which exists in a file only; a boot forgets them.

As the real one it goes on where something is missing, such as the GPU's driver, and ends with 0.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

CPUS, GPU = Path("/sys/devices/system/cpu/cpufreq"), Path("/sys/class/devfreq/17000000.ga10b")
EMC = Path("/run/cluster-kit/emc.json")
FREE = {"min_freq": 204000000, "max_freq": 3199000000, "FreqOverride": 0}  # as after a boot


def clocks() -> list[tuple[Path, Path]]:
    """Returns the files with the least and the greatest frequency of each clock that is there."""
    policies = [(path / "scaling_min_freq", path / "scaling_max_freq") for path in sorted(CPUS.glob("policy*"))]
    return [*policies, *([(GPU / "min_freq", GPU / "max_freq")] if (GPU / "max_freq").exists() else [])]


def emc() -> dict[str, int]:
    return json.loads(EMC.read_text()) if EMC.exists() else FREE


def show() -> None:
    print("SOC family:tegra234  Machine:NVIDIA Jetson AGX Orin Developer Kit\nOnline CPUs: 0-7")
    for core in range(12):
        policy = CPUS / f"policy{core - core % 4}"
        online = str(core) in (policy / "affected_cpus").read_text().split()
        low, high = (int((policy / f"scaling_{end}_freq").read_text()) for end in ("min", "max"))
        idle = int(low != high)
        print(
            f"cpu{core}: Online={int(online)} Governor=schedutil MinFreq={low} MaxFreq={high} "
            f"CurrentFreq={low} IdleStates: WFI={idle} c7={idle} "
        )
    if GPU.exists():
        low, high = (int((GPU / f"{end}_freq").read_text()) for end in ("min", "max"))
        print(f"GPU MinFreq={low} MaxFreq={high} CurrentFreq={low}")
    memory = emc()
    low, high, fixed = memory["min_freq"], memory["max_freq"], memory["FreqOverride"]
    print(f"EMC MinFreq={low} MaxFreq={high} CurrentFreq={high if fixed else low} FreqOverride={fixed}")
    print("FAN Dynamic Speed control=nvfancontrol hwmon0_pwm1=0")
    mode = subprocess.run(["/usr/sbin/nvpmodel", "-q"], stdout=subprocess.PIPE, text=True, check=True)
    print(mode.stdout.splitlines()[0])


def pin() -> None:
    for low, high in clocks():
        low.write_text(high.read_text())
    EMC.write_text(json.dumps({**FREE, "FreqOverride": 1}))


def store(file: Path) -> None:
    if file.exists():
        print(f"File {file} already exists. Can I overwrite it? Y/N:", flush=True)
        if sys.stdin.readline().strip() not in ("Y", "y"):
            sys.exit("Error: Cannot overwrite the file, the settings are not stored")
    found = {str(path): path.read_text().strip() for pair in clocks() for path in pair}
    file.write_text("".join(f"{name}:{value}\n" for name, value in (found | emc()).items()))


def restore(file: Path) -> None:
    if not file.exists():
        sys.exit(f"Error: {file} file not found !")
    values = dict(line.rsplit(":", 1) for line in file.read_text().splitlines() if ":" in line)
    for path in (Path(name) for name in values if name.startswith("/")):
        if path.exists():
            path.write_text(f"{values[str(path)]}\n")
    EMC.write_text(json.dumps({name: int(values[name]) for name in FREE}))


def main() -> None:
    verb, *rest = [*sys.argv[1:], ""]
    file = Path(rest[0] if rest and rest[0] else "/root/l4t_dfs.conf")
    if os.geteuid():
        sys.exit(f"Error: Run this script({sys.argv[0]}) as a root user")
    if verb == "--show":
        show()
    elif verb == "--store":
        store(file)
    elif verb == "--restore":
        restore(file)
    elif verb == "":
        pin()
    else:
        sys.exit(f"Unknown option {verb}")


if __name__ == "__main__":
    main()
