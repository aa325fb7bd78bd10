"""Ends a run on this board, also what a dead supervisor has left of it. Standard library only."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from pathlib import Path
from typing import Any, Dict, Optional

from trainer.contract.causes import Cause
from trainer.contract.layout import HEARTBEAT, RESULT, RUN
from trainer.supervise.lock import Lock, Locked, read
from trainer.supervise.peers import FAILED
from trainer.supervise.result import is_written, write_result
from trainer.supervise.watchdog import POLL_S, boot, process_state, read_object

PID = "supervisor.pid"
_STOP_LIMIT_S = 30.0


def stop(folder: Path) -> bool:
    """Stop this folder's run, also a trainer without its supervisor; False if none runs.

    A run that started and left no result gets one.
    """
    supervisor = _number(folder / PID)
    running = supervisor is not None and _is_of(folder, supervisor, b"trainer.supervise.supervisor")
    if supervisor is not None and running:
        _signal(supervisor, signal.SIGTERM)
        deadline = time.monotonic() + _STOP_LIMIT_S
        while _is_of(folder, supervisor, b"trainer.supervise.supervisor"):
            if time.monotonic() > deadline:
                _signal(supervisor, signal.SIGKILL)
            time.sleep(POLL_S)
    running = end_remains(folder) or running
    beat = read_object(folder / HEARTBEAT)
    if beat and not is_written(folder / RESULT):
        at_s = beat["time_s"]
        write_result(folder, status=FAILED, cause=why_dead(beat), exit_code=None, started_s=at_s, ended_s=at_s)
    if (read(folder.parent) or {}).get("run_id") == folder.name:  # a reboot leaves the file in place
        with contextlib.suppress(Locked):
            Lock(folder.parent, folder.name, "").release()
    return running


def end_remains(folder: Path) -> bool:
    """End the trainer of a dead supervisor; whether there was one."""
    trainer = read_object(folder / HEARTBEAT).get("trainer")
    if not isinstance(trainer, int) or not _is_of(folder, trainer, b"trainer"):
        return False
    end_group(trainer)
    deadline = time.monotonic() + _STOP_LIMIT_S
    while _is_of(folder, trainer, b"trainer") and time.monotonic() < deadline:  # it holds the lock
        time.sleep(POLL_S)
    return True


def why_dead(beat: Dict[str, Any]) -> Cause:
    """What became of a supervisor that left this heartbeat and no result."""
    if beat and beat["boot"] != boot():
        return Cause("reboot", "the board was restarted during the run")
    return Cause("killed", "the trainer's supervisor was killed")


def end_group(leader: int) -> None:
    """Kill all processes of a session."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(leader, signal.SIGKILL)


def _is_of(folder: Path, pid: int, module: bytes) -> bool:
    """Whether this process is the one started for this run; process ids are reused."""
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except OSError:
        return False
    config = str(folder / RUN).encode()
    return module in words and any(word.endswith(config) for word in words) and process_state(pid) != "Z"


def _number(path: Path) -> Optional[int]:
    try:
        return int(path.read_text(encoding="ascii"))
    except (OSError, ValueError):
        return None


def _signal(process: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):  # it has just ended
        os.kill(process, number)
