"""The frequency limits of a board's CPUs and GPU, and what throttles them. Standard library only."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Dict, List, Mapping, Optional

from trainer.contract import sysfs

SYS = Path("/sys")
_GPU = re.compile(r"\.(g[a-z]\d+b|gpu)$")  # 17000000.ga10b on Orin, .gv11b on Xavier, .gpu with JetPack 6
_OVER_CURRENT = "soctherm_oc"  # the name of its hwmon, on Orin: oc1 is too low a voltage, oc2 and oc3 too much power

# minimum and maximum frequency in Hz by clock: policy0, ... of the CPUs that are on, and the GPU's device
Frequencies = Dict[str, List[int]]


def frequencies(sys: Optional[Path] = None) -> Optional[Frequencies]:
    """The current limits of all clocks; null where the kernel shows none."""
    found: Frequencies = {}
    for policy in sorted(((sys or SYS) / "devices/system/cpu/cpufreq").glob("policy*")):
        if sysfs.text(policy / "affected_cpus") != "":  # at least one of its CPUs is on
            _take(found, policy, "scaling_", 1000)
    for device in sorted(((sys or SYS) / "class/devfreq").glob("*")):
        if _GPU.search(device.name):
            _take(found, device, "", 1)
    return found or None


def _take(found: Frequencies, folder: Path, prefix: str, hz: int) -> None:
    least, greatest = (sysfs.number(folder / f"{prefix}{end}_freq") for end in ("min", "max"))
    if least is not None and greatest is not None:
        found[folder.name] = [least * hz, greatest * hz]


def unpinned(clocks: Mapping[str, List[int]]) -> Dict[str, List[int]]:
    """The clocks in `frequencies` that may change: not pinned."""
    return {name: [least, greatest] for name, (least, greatest) in clocks.items() if least != greatest}


def pinned(clocks: Optional[Mapping[str, List[int]]]) -> Optional[bool]:
    """Whether all clocks are pinned; null where none is known."""
    return not unpinned(clocks) if clocks else None


def is_gpu(name: str) -> bool:
    """Whether a clock of `frequencies` is the GPU's."""
    return _GPU.search(name) is not None


def over_current_events(sys: Optional[Path] = None) -> Optional[Dict[str, int]]:
    """Over-current events since boot by alarm (oc1, oc2, oc3); null on boards that do not count them."""
    found = {}
    for hwmon in sorted(((sys or SYS) / "class/hwmon").glob("*")):
        if sysfs.text(hwmon / "name") == _OVER_CURRENT:
            for path in sorted(hwmon.glob("oc*_event_cnt")):
                count = sysfs.number(path)
                if count is not None:
                    found[path.name.partition("_")[0]] = count
    return found or None


def throttles(sys: Optional[Path] = None) -> Optional[Dict[str, bool]]:
    """Whether heat throttles the clocks now, by cooling device; null without such a device."""
    devices = sorted(((sys or SYS) / "class/thermal").glob("cooling_device*"))
    states = [(sysfs.text(device / "type") or "", sysfs.number(device / "cur_state")) for device in devices]
    return {name: state > 0 for name, state in states if "throttle" in name.lower() and state is not None} or None


class Lowered:
    """Counts over a run what throttled the clocks; null where the board does not report it."""

    def __init__(self, sys: Optional[Path] = None) -> None:
        self._sys = sys
        self._before = over_current_events(sys)
        self.over_current_events: Optional[Dict[str, int]] = self._before and dict.fromkeys(self._before, 0)
        self.throttled_s: Optional[Dict[str, float]] = dict.fromkeys(throttles(sys) or (), 0.0) or None

    def look(self, seconds: float) -> None:
        """Add what happened in the `seconds` since the last look."""
        now = over_current_events(self._sys)
        if now is not None and self._before is not None and self.over_current_events is not None:
            for name, count in now.items():
                before = self._before.get(name, 0)
                new = count - before if count >= before else count  # else the kernel's counter was reset
                self.over_current_events[name] = self.over_current_events.get(name, 0) + new
            self._before.update(now)
        for name, active in (throttles(self._sys) or {}).items():
            if active:
                self.throttled_s = self.throttled_s or {}
                self.throttled_s[name] = round(self.throttled_s.get(name, 0.0) + seconds, 1)
