"""Samples a board's load, memory, temperatures, power and bytes while it trains. Standard library only.

From tegrastats if the board has it, else from the kernel. Records leave out missing sensors.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import threading
import time
from pathlib import Path
from typing import Dict, Iterator, List, Optional, Sequence, Tuple

from trainer.contract import frequencies, sysfs
from trainer.contract.events import Sample
from trainer.contract.interface import counters
from trainer.contract.layout import TELEMETRY
from trainer.contract.records import EventLog
from trainer.contract.tegrastats import OFF_C, Reading, parse
from trainer.supervise.power import Rails

INTERVAL_S = 1.0
_END_S = 5.0
_STAT, _MEMORY, _THERMAL = Path("/proc/stat"), Path("/proc/meminfo"), Path("/sys/class/thermal")


class Telemetry:
    """Writes one sample per second into the run's folder, in a thread, until `stop`."""

    def __init__(self, folder: Path, interface: Optional[str]) -> None:
        self._path, self._interface = folder / TELEMETRY, interface
        self._over = threading.Event()
        self._idle = True
        self._lowered = frequencies.Lowered()
        self._tegrastats: Optional[subprocess.Popen[str]] = None
        self._thread = threading.Thread(target=self._sample, daemon=True)
        self._thread.start()

    def rest(self, seconds: float) -> None:
        """Let a board with power sensors idle, to measure its idle power.

        Later samples are the trainer's.
        """
        if shutil.which("tegrastats") or Rails().look():
            self._over.wait(seconds)
        self._idle = False

    def stop(self) -> None:
        self._over.set()
        if self._tegrastats is not None:
            self._tegrastats.kill()
        self._thread.join(_END_S)

    def _sample(self) -> None:
        with contextlib.suppress(OSError):  # the trainer reports a full disk
            log = EventLog(self._path)
            before_s = time.monotonic()
            for reading in self._readings():
                now_s = time.monotonic()
                self._lowered.look(now_s - before_s)
                before_s = now_s
                bytes_now = counters(self._interface)
                log.write(
                    Sample(
                        idle=self._idle,
                        memory_bytes=reading.memory_bytes,
                        cpu_load=reading.cpu_load,
                        gpu_load=reading.gpu_load,
                        temperature_c=reading.temperature_c,
                        power_mw=reading.power_mw,
                        sent_bytes=None if bytes_now is None else bytes_now.sent,
                        received_bytes=None if bytes_now is None else bytes_now.received,
                        clocks_pinned=frequencies.pinned(frequencies.frequencies()),
                        over_current_events=self._lowered.over_current_events,
                        throttled_s=self._lowered.throttled_s,
                    )
                )

    def _readings(self) -> Iterator[Reading]:
        if shutil.which("tegrastats"):
            yield from self._of_tegrastats()
        before, rails = _cpu_times(), Rails()
        while not self._over.wait(INTERVAL_S):
            now = _cpu_times()
            yield Reading(_memory_bytes(), _load(before, now), None, _temperatures(), rails.look())
            before = now

    def _of_tegrastats(self) -> Iterator[Reading]:
        command = ["tegrastats", "--interval", str(int(1000 * INTERVAL_S))]
        self._tegrastats = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )
        with self._tegrastats:
            for line in self._tegrastats.stdout or ():
                if self._over.is_set():
                    break
                yield parse(line)
            self._tegrastats.kill()


def _cpu_times(path: Path = _STAT, cores: Optional[Sequence[int]] = None) -> Optional[Tuple[int, int]]:
    """Busy ticks of this board's cores, and all ticks."""
    names = {f"cpu{core}" for core in cores or sorted(os.sched_getaffinity(0))}
    busy = total = 0
    for name, *ticks in _lines(path):
        if name in names:
            user, nice, system, idle, waiting, *more = map(int, ticks[:8])
            busy += user + nice + system + sum(more)
            total += user + nice + system + idle + waiting + sum(more)
    return (busy, total) if total else None


def _load(before: Optional[Tuple[int, int]], now: Optional[Tuple[int, int]]) -> Optional[float]:
    if before is None or now is None or now[1] <= before[1]:
        return None
    return (now[0] - before[0]) / (now[1] - before[1])


def _memory_bytes(path: Path = _MEMORY) -> Optional[int]:
    kib = {name: int(value) for name, value, *_ in _lines(path)}
    if "MemTotal:" not in kib or "MemAvailable:" not in kib:
        return None
    return 1024 * (kib["MemTotal:"] - kib["MemAvailable:"])


def _temperatures(folder: Path = _THERMAL) -> Dict[str, float]:
    found = {}
    for zone in sorted(folder.glob("thermal_zone*")):
        name, millidegrees = sysfs.text(zone / "type"), sysfs.number(zone / "temp")
        if name and millidegrees is not None and millidegrees > 1000 * OFF_C:
            found[name] = millidegrees / 1000
    return found


def _lines(path: Path) -> List[List[str]]:
    return [line.split() for line in (sysfs.text(path) or "").splitlines() if line.strip()]
