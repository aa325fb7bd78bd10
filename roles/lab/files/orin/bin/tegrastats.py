#!/usr/bin/python3
"""A stand-in for tegrastats on an emulated board: lines as JetPack 5 prints them on an Orin, with made-up
values. The temperature of CPU and GPU is what /var/lib/cluster-kit/temperature_c says, if it is there.
"""

from __future__ import annotations

import argparse
import datetime
import json
import random
import re
import sys
import time
from pathlib import Path

TEMPERATURE = Path("/var/lib/cluster-kit/temperature_c")
CPUS, GPU = Path("/sys/devices/system/cpu/cpufreq"), Path("/sys/class/devfreq/17000000.ga10b/min_freq")
EMC = Path("/run/cluster-kit/emc.json")  # of the stand-in for jetson_clocks
RAILS = {"VDD_GPU_SOC": 4788, "VDD_CPU_CV": 798, "VIN_SYS_5V0": 3842, "NC": 0, "VDDQ_VDD2_1V8AO": 707, "NC ": 0}
FEEDS = {"VIN_SYS_5V0": "VDDQ_VDD2_1V8AO"}  # what goes through the one goes through the other, too


class Sensors:
    """Values that vary a little around a board's at rest."""

    def __init__(self) -> None:
        self.lines = 0
        self.sums = dict.fromkeys(RAILS, 0)

    def line(self) -> str:
        self.lines += 1
        cpu_mhz = int((CPUS / "policy0/scaling_min_freq").read_text()) // 1000
        gpu_mhz = int(GPU.read_text()) // 10**6 if GPU.exists() else 0
        emc_mhz = 3199 if EMC.exists() and json.loads(EMC.read_text())["FreqOverride"] else 204
        on = sum(len(path.read_text().split()) for path in CPUS.glob("policy*/affected_cpus"))
        celsius = float(TEMPERATURE.read_text()) if TEMPERATURE.exists() else 43.5 + random.randint(-4, 4) / 8
        cpus = ",".join([f"{random.randint(0, 9)}%@{cpu_mhz}" for _ in range(on)] + ["off"] * (12 - on))
        return (
            f"{datetime.datetime.now():%m-%d-%Y %H:%M:%S} RAM {self._memory()} SWAP 0/15311MB (cached 0MB) "
            f"CPU [{cpus}] EMC_FREQ 0%@{emc_mhz} GR3D_FREQ 0%@{gpu_mhz} GR3D2_FREQ 0%@{gpu_mhz} NVJPG1 729 "
            f"VIC_FREQ 729 APE 233 CV0@-256C CPU@{celsius:g}C Tdiode@32.5C SOC2@40.125C SOC0@39.75C CV1@-256C "
            f"GPU@{celsius - 5.375:g}C tj@{celsius:g}C SOC1@39C CV2@-256C {self._power()}"
        )

    def _memory(self) -> str:
        kib = {
            key: int(value) for key, value in re.findall(r"^(\w+):\s+(\d+) kB", Path("/proc/meminfo").read_text(), re.M)
        }
        return f"{(kib['MemTotal'] - kib['MemAvailable']) // 1024}/{kib['MemTotal'] // 1024}MB (lfb 6429x4MB)"

    def _power(self) -> str:
        words, now = [], {}
        for rail, mean in sorted(RAILS.items(), key=lambda item: item[0] in FEEDS):
            own = mean - RAILS.get(FEEDS.get(rail, ""), 0)
            now[rail] = own and own + random.randint(-own // 20, own // 20) + now.get(FEEDS.get(rail, ""), 0)
        for rail in RAILS:
            self.sums[rail] += now[rail]
            words.append(f"{rail.strip()} {now[rail]}mW/{self.sums[rail] // self.lines}mW")
        return " ".join(words)


def main() -> None:
    parser = argparse.ArgumentParser(prog="tegrastats")
    parser.add_argument("--interval", type=int, default=1000, help="milliseconds between lines")
    options = parser.parse_args()
    sensors = Sensors()
    while True:
        print(sensors.line(), flush=True)
        time.sleep(options.interval / 1000)


if __name__ == "__main__":
    try:
        main()
    except (BrokenPipeError, KeyboardInterrupt):
        sys.stderr.close()
