#!/usr/bin/python3
"""A stand-in for jetson_clocks on an emulated board: pins clocks that exist in its state only, which a
boot forgets, as a board's kernel does.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

STATE = Path("/run/cluster-kit/clocks.json")
CPU, GPU, EMC = "/sys/devices/system/cpu/cpu0/cpufreq", "/sys/devices/gpu.0/devfreq", "/sys/kernel/debug/bpmp/emc"
FREE = {  # as a board that was just switched on has it: kHz, Hz, Hz
    f"{CPU}/scaling_min_freq": 729600,
    f"{CPU}/scaling_max_freq": 1728000,
    f"{GPU}/min_freq": 114750000,
    f"{GPU}/max_freq": 612000000,
    f"{EMC}/min_freq": 204000000,
    f"{EMC}/max_freq": 3199000000,
    "FreqOverride": 0,
}


def clocks() -> dict[str, int]:
    return {**FREE, **(json.loads(STATE.read_text()) if STATE.exists() else {})}


def show(now: dict[str, int]) -> None:
    low, high = now[f"{CPU}/scaling_min_freq"], now[f"{CPU}/scaling_max_freq"]
    idle = int(low != high)
    print("SOC family:tegra234  Machine:NVIDIA Jetson AGX Orin Developer Kit\nOnline CPUs: 0-7")
    for core in range(12):
        print(
            f"cpu{core}: Online={int(core < 8)} Governor=schedutil MinFreq={low} MaxFreq={high} "
            f"CurrentFreq={low} IdleStates: WFI={idle} c7={idle} "
        )
    low, high = now[f"{GPU}/min_freq"], now[f"{GPU}/max_freq"]
    print(f"GPU MinFreq={low} MaxFreq={high} CurrentFreq={low}")
    low, high, fixed = now[f"{EMC}/min_freq"], now[f"{EMC}/max_freq"], now["FreqOverride"]
    print(f"EMC MinFreq={low} MaxFreq={high} CurrentFreq={high if fixed else low} FreqOverride={fixed}")
    print("FAN Dynamic Speed control=nvfancontrol hwmon0_pwm1=0")
    mode = subprocess.run(["/usr/sbin/nvpmodel", "-q"], stdout=subprocess.PIPE, text=True, check=True)
    print(mode.stdout.splitlines()[0])


def pin(now: dict[str, int]) -> dict[str, int]:
    for path in (f"{CPU}/scaling_", f"{GPU}/", f"{EMC}/"):
        now[f"{path}min_freq"] = now[f"{path}max_freq"]
    return {**now, "FreqOverride": 1}


def store(file: Path, now: dict[str, int]) -> None:
    if file.exists():
        print(f"File {file} already exists. Can I overwrite it? Y/N:", flush=True)
        if sys.stdin.readline().strip() not in ("Y", "y"):
            sys.exit("Error: Cannot overwrite the file, the settings are not stored")
    file.write_text("".join(f"{path}:{value}\n" for path, value in now.items()))


def restore(file: Path) -> dict[str, int]:
    if not file.exists():
        sys.exit(f"Error: {file} file not found !")
    values = dict(line.rsplit(":", 1) for line in file.read_text().splitlines() if ":" in line)
    return {path: int(value) for path, value in values.items()}


def main() -> None:
    verb, *rest = [*sys.argv[1:], ""]
    file = Path(rest[0] if rest and rest[0] else "/root/l4t_dfs.conf")
    if os.geteuid():
        sys.exit(f"Error: Run this script({sys.argv[0]}) as a root user")
    if verb == "--show":
        show(clocks())
    elif verb == "--store":
        store(file, clocks())
    elif verb == "--restore":
        STATE.write_text(json.dumps(restore(file)))
    elif verb == "":
        STATE.write_text(json.dumps(pin(clocks())))
    else:
        sys.exit(f"Unknown option {verb}")


if __name__ == "__main__":
    main()
