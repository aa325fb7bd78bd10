"""Watches a trainer and the other boards, and decides when to stop the trainer.

Standard library only.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Dict, Optional

from trainer.contract import causes
from trainer.contract.causes import Cause
from trainer.contract.cluster import dispensable, load_cluster
from trainer.contract.interface import listens
from trainer.contract.layout import HEARTBEAT, LOG, PEERS_KEY, PROGRESS, RESULT, RUN, TF_CONFIG, write_json
from trainer.supervise.elastic_peers import ElasticPeers
from trainer.supervise.peers import Peers

POLL_S = 0.2
_BEAT_S = 1.0
_MEET_S = 5.0  # boards start almost at once; trainers that start later still find each other
_PATIENCE_S = 4.0  # time for another board to report its own cause first
_LOG_END = 20_000  # bytes of the log that are searched for a cause
_NEARLY_FULL = 100_000  # bytes


@dataclass(frozen=True)
class Limits:
    """Time limits in seconds; the values are in roles/train/defaults."""

    start: float  # to the first step
    stall: float  # between two signs of progress
    total: float
    silence: float  # without a heartbeat of another board
    alone: float = 300.0  # that a board without enough others waits for them, with on_board_loss: continue


class Watchdog:
    """Knows the state of the trainer and of the other boards."""

    def __init__(self, folder: Path, limits: Limits) -> None:
        self.folder, self._limits = folder, limits
        self.trainer = 0  # its process id, once started
        self._began_s = self._started_s = self._moved_s = time.monotonic()
        self._beat_s = 0.0
        self._halted_s: Optional[float] = None  # since when the trainer's process is stopped
        self._seen: Any = None
        self.peers = _peers(folder, limits)

    def meet_peers(self) -> Optional[Cause]:
        """Wait until the other boards have started, up to a limit; return the cause if one of them failed."""
        return self.peers.meet(_MEET_S) if self.peers else None

    def follow(self, trainer: int) -> None:
        """Watch this process from now on."""
        self.trainer, self._halted_s = trainer, None
        self._started_s = self._moved_s = time.monotonic()

    def cause_to_end(self) -> Optional[Cause]:
        """The cause to stop the trainer now, or None."""
        now = time.monotonic()
        seen = [_modified(self.folder / name) for name in ("events.jsonl", PROGRESS)]
        if seen != self._seen:
            self._seen, self._moved_s = seen, now
        self.beat(now)
        started = seen[1] is not None  # the first step takes long: it is compiled
        if self.peers:
            self.peers.begun = started
        told = self.peers.exchange() if self.peers else None
        if told:  # a stopped trainer is itself what the others noticed
            return self._stopped(now) or told
        if self._halted(now):
            return self._stopped(now)
        if not started and now - self._started_s > self._limits.start:
            return self._stopped(now) or self._not_started(now)
        if started and now - self._moved_s > self._limits.stall:
            return self._stopped(now) or self._stalled(now)
        if now - self._began_s > self._limits.total:
            return Cause("timeout", f"the run did not end within {self._limits.total:.0f} s")
        return None

    def _halted(self, now: float) -> bool:
        """Whether the trainer's process has been stopped for long, where others need not wait for it to go on."""
        halted = isinstance(self.peers, ElasticPeers) and process_state(self.trainer) == "T"
        self._halted_s = (self._halted_s or now) if halted else None
        return self._halted_s is not None and now - self._halted_s > self._limits.silence

    def _stopped(self, now: float) -> Optional[Cause]:
        still_s = now - self._moved_s
        if process_state(self.trainer) != "T":
            return None
        return Cause("stopped", f"the trainer's process was stopped (SIGSTOP); no progress for {still_s:.0f} s")

    def _not_started(self, now: float) -> Optional[Cause]:
        limit = self._limits.start
        if not any(map(listens, load_cluster(self.folder / TF_CONFIG).own_addresses)):
            return Cause("never_started", f"the trainer made no step in {limit:.0f} s; {_log_end(self.folder)}")
        if now - self._started_s > limit + _PATIENCE_S:  # a board that did not start has reported its cause by now
            return Cause("slow_start", f"the trainer was up, but made no step in {limit:.0f} s")
        return None

    def _stalled(self, now: float) -> Optional[Cause]:
        if now - self._moved_s <= self._limits.stall + _PATIENCE_S:
            return None
        return Cause("stalled", f"no step and no record for {now - self._moved_s:.0f} s; {_log_end(self.folder)}")

    def beat(self, now: float, asks: Optional[int] = None) -> None:
        """Write the heartbeat if it is due; `asks`: the generation for which the board asks to be named."""
        if now - self._beat_s < _BEAT_S:
            return
        self._beat_s = now
        beat = {
            "time_s": time.time(),
            "still_s": now - self._moved_s,
            "trainer": self.trainer,
            "boot": boot(),
            "asks": asks,
        }
        with contextlib.suppress(OSError):  # the trainer reports a full disk
            write_json(self.folder / HEARTBEAT, beat)

    def farewell(self, status: str, cause: Optional[str]) -> None:
        """Tell the other boards how this one ended."""
        if self.peers:
            self.peers.farewell(status, cause)

    def why_peers_left(self) -> Optional[Cause]:
        """The cause after the trainer lost its peers: what they report, or the network if they are silent."""
        deadline = time.monotonic() + self._limits.silence + 2 * _BEAT_S
        while self.peers and time.monotonic() < deadline:
            told = self.peers.exchange()
            if told:
                return told
            time.sleep(POLL_S)
        return None


def cause_of_exit(code: int, folder: Path) -> Cause:
    cause = causes.of_exit(code, _log(folder))
    if cause.kind == "error" and shutil.disk_usage(str(folder)).free < _NEARLY_FULL:
        return Cause("disk_full", f"no space is left on the disk; {cause.sentence}")
    return cause


def cause_left(folder: Path, code: Optional[int]) -> Cause:
    """The cause that a trainer left in its result, or else in its exit code."""
    left = read_object(folder / RESULT)
    if left.get("cause_kind") in causes.REMEDIES:
        return Cause(left["cause_kind"], str(left.get("cause")))
    return cause_of_exit(code or 0, folder)


def read_object(path: Path) -> Dict[str, Any]:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return value if isinstance(value, dict) else {}


def process_state(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[0]
    except OSError:
        return "Z"


def boot() -> str:
    """What changes with a reboot: the kernel's boot id and, on emulated boards, the first process's start."""
    first = Path("/proc/1/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[19]
    return f"{Path('/proc/sys/kernel/random/boot_id').read_text(encoding='ascii').strip()}-{first}"


def _peers(folder: Path, limits: Limits) -> Optional[Peers]:
    cluster = load_cluster(folder / TF_CONFIG)
    key = b""
    with contextlib.suppress(FileNotFoundError):
        key = (folder / PEERS_KEY).read_bytes()
        (folder / PEERS_KEY).unlink()  # needed once
    if cluster.workers == 1:
        return None
    run = read_object(folder / RUN)
    names = run.get("boards") or cluster.addresses
    try:
        if run.get("task") == "train" and run["config"].get("on_board_loss") == "continue":
            return ElasticPeers(cluster, names, key, limits.silence, folder)
        spare = dispensable(cluster.workers, run.get("config", {}).get("servers", 0))
        return Peers(cluster, names, key, limits.silence, spare)
    except (OSError, ValueError) as error:
        print(f"supervisor: no heartbeats of its own, relying on TensorFlow's: {error}", file=sys.stderr)
        return None


def _modified(path: Path) -> Optional[int]:
    try:
        return path.stat().st_mtime_ns
    except OSError:
        return None


def _log_end(folder: Path) -> str:
    return causes.log_end(_log(folder))


def _log(folder: Path) -> str:
    with (folder / LOG).open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(0, size - _LOG_END))
        return file.read().decode("utf-8", errors="replace")
