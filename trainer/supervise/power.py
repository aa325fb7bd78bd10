"""Power of a board without tegrastats, from the kernel's counters (RAPL) or sensors (hwmon). Standard library only.

Kernels since 2020 show RAPL's counters to root alone: without a rule that lets the account read them, there is nothing.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Dict, Optional, Tuple

from trainer.contract import layout, sysfs

_SYS = Path("/sys")
_ZONES = ("package-", "dram")  # they add up; others are parts of these


class Rails:
    """Power by rail at each look; nothing where the kernel tells nothing."""

    def __init__(self, sys: Optional[Path] = None, emulated: Optional[bool] = None) -> None:
        """`sys` is another folder in tests. Emulated boards have none: the counters are those of their machine."""
        self._sys = sys or _SYS
        self._off = layout.EMULATED.exists() if emulated is None else emulated
        self._before = self._counters()

    def look(self) -> Dict[str, int]:
        """Milliwatts by rail: RAPL's mean since the last look, else what hwmon's sensors show."""
        before, self._before = self._before, self._counters()
        found = {}
        for name, (now_s, energy_uj, wraps_uj) in self._before.items():
            if name in before and now_s > before[name][0]:
                used_uj = energy_uj - before[name][1]
                if used_uj < 0:
                    used_uj += wraps_uj
                found[name] = round(used_uj / 1000 / (now_s - before[name][0]))
        return found or self._sensors()

    def _counters(self) -> Dict[str, Tuple[float, int, int]]:
        """By zone of RAPL: when it was read, its counter and that counter's range in microjoules."""
        found = {}
        for zone in () if self._off else sorted((self._sys / "class/powercap").glob("intel-rapl:*")):
            name, energy_uj = sysfs.text(zone / "name") or "", sysfs.number(zone / "energy_uj")
            if name.startswith(_ZONES) and energy_uj is not None:
                package = zone.name.split(":")[1]
                own = name if name.startswith("package") else f"{name}-{package}"
                found[own] = (time.monotonic(), energy_uj, sysfs.number(zone / "max_energy_range_uj") or 0)
        return found

    def _sensors(self) -> Dict[str, int]:
        found = {}
        for folder in () if self._off else sorted((self._sys / "class/hwmon").glob("hwmon*")):
            for path in sorted(folder.glob("power*_input")) or sorted(folder.glob("power*_average")):
                microwatts = sysfs.number(path)
                if microwatts is not None:
                    label = sysfs.text(folder / f"{path.name.partition('_')[0]}_label") or path.name.partition("_")[0]
                    found[f"{sysfs.text(folder / 'name')} {label}"] = round(microwatts / 1000)
        return found
