"""Parses a line of NVIDIA's tegrastats. Standard library only.

Lines differ from module to module and from JetPack 4 to 6 (with or without a time stamp, milliwatt signs, clocks; one
clock or a list of them): every value is found on its own, so that a missing one does not affect the others.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Collection, Dict, List, Mapping, Optional

OFF_C = -256.0  # shown by a sensor that is off
# what PMICs show, in sysfs too, while they are well: the kernel's max77620_thermal.c, which knows 120 and 140 C as well
_PMIC_C = 100.0
# so many digits that no number is too large to count with
_MEMORY = re.compile(r"\bRAM (\d{1,9})/(\d{1,9})MB", re.ASCII)
_CORES = re.compile(r"\bCPU \[([^\]]*)\]")
_CORE = re.compile(r" *(\d{1,3}(?:\.\d{1,3})?)%", re.ASCII)
_GPU = re.compile(r"\bGR3D_FREQ (\d{1,3})%", re.ASCII)
_TEMPERATURE = re.compile(r"(?<![\w-])([\w-]{1,40})@(-?\d{1,6}(?:\.\d{1,6})?)C\b", re.ASCII)
# now/mean since its start, and on Thor the peak; below zero where nothing flows and the sensor has an offset
_RAIL = re.compile(r"\b([A-Z]\w{0,40}) (-?\d{1,9})(?:mW)?(?:/-?\d{1,9}(?:mW)?){1,2}(?= |$)", re.ASCII)
# a module's input rail; the others are parts of it
_INPUTS = ("VDD_IN", "POM_5V_IN", "VIN")
# modules without a sensor at the input: these rails add up to all power
_SIDE_BY_SIDE = (
    ("VDD_GPU_SOC", "VDD_CPU_CV", "VIN_SYS_5V0"),  # AGX Orin
    ("GPU", "CPU", "SOC", "CV", "VDDRQ", "SYS5V"),  # AGX Xavier
)
_FED_FROM = {"VDDQ_VDD2_1V8AO": "VIN_SYS_5V0"}  # NVIDIA's guide on power modelling of AGX Orin
_NO_RAILS = ("NC", "RAM", "IRAM", "SWAP")  # not connected; fragments of a line that is cut off


@dataclass(frozen=True)
class Reading:
    """The values of a line; what it lacks is null, or missing from the dictionary."""

    memory_bytes: Optional[int]  # in use; CPU and GPU share it
    cpu_load: Optional[float]  # 0 to 1, mean of the cores that are on
    gpu_load: Optional[float]  # 0 to 1
    temperature_c: Dict[str, float]  # by sensor; without those that are off
    power_mw: Dict[str, int]  # by rail; momentary, not tegrastats' mean


def parse(line: str) -> Reading:
    """The values in a line; empty for text that tegrastats did not write."""
    line = line.strip()
    memory, cores, gpu = (found.search(line) for found in (_MEMORY, _CORES, _GPU))
    busy = [_CORE.match(core) for core in cores[1].split(",")] if cores else []
    loads = [float(core[1]) / 100 for core in busy if core]
    temperatures = {name: float(celsius) for name, celsius in _TEMPERATURE.findall(line)}
    return Reading(
        memory_bytes=int(memory[1]) * 2**20 if memory else None,
        cpu_load=sum(loads) / len(loads) if loads else None,
        gpu_load=int(gpu[1]) / 100 if gpu else None,
        temperature_c={name: celsius for name, celsius in temperatures.items() if celsius > OFF_C},
        power_mw={name: int(now) for name, now in _RAIL.findall(line) if name not in _NO_RAILS},
    )


def summed_rails(rails: Collection[str]) -> List[str]:
    """The rails that add up to the module's power.

    The input rail if there is one; the known rails of a module without; else all rails not fed by another one.
    """
    inputs = [[rail] for rail in _INPUTS if rail in rails]
    known = [sorted(module) for module in _SIDE_BY_SIDE if set(module) <= set(rails)]
    return next(iter(inputs + known), sorted(rail for rail in rails if _FED_FROM.get(rail) not in rails))


def hottest_c(temperature_c: Mapping[str, float]) -> Optional[float]:
    """The highest temperature of the sensors that are on; null without any.

    A PMIC's 100 C is left out: it only means that the first alarm is not reached.
    """
    measured = (
        celsius
        for name, celsius in temperature_c.items()
        if celsius > OFF_C and not (name.upper().startswith("PMIC") and celsius == _PMIC_C)
    )
    return max(measured, default=None)
