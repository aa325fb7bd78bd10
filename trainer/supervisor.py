"""`python -m trainer.supervisor --config run.json`: runs the trainer, keeps its log, and sees that a result is left.

The trainer may be killed or may hang when it exits; its supervisor ends whatever is left of it and writes the
result that the trainer could not. Standard library only.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import FrameType
from typing import List, Optional

from trainer.result import write_result

_POLL_S = 0.2
# TensorFlow's workers wait for each other when they exit; one whose peer is gone may wait for ever
_EXIT_GRACE_S = 20.0
_STOP_LIMIT_S = 30.0
_PID = "supervisor.pid"


class _Stopped(Exception):
    """Somebody asked the run to end."""


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m trainer.supervisor", description=__doc__)
    parser.add_argument("--config", type=Path, required=True, help="the run.json of this run")
    parser.add_argument("--stop", action="store_true", help="end the supervisor of this run, if there is one")
    arguments = parser.parse_args()
    config: Path = arguments.config.resolve()
    if arguments.stop:
        print("stopped" if stop(config.parent) else "not running")
        return 0
    return supervise([sys.executable, "-m", "trainer", "--config", str(config)], config.parent)


def supervise(command: List[str], folder: Path) -> int:
    """Run the command as the trainer of this folder until it has ended; returns its exit code."""
    signal.signal(signal.SIGTERM, _stop)
    (folder / _PID).write_text(f"{os.getpid()}\n", encoding="ascii")
    started_s = time.time()
    with (folder / "trainer.log").open("ab") as log:
        # a session of its own: so that all its processes can be ended together
        trainer = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            code: Optional[int] = _wait(trainer, folder / "result.json")
            status, cause = "failed", _cause(code, folder / "trainer.log")
        except _Stopped:
            code, status, cause = None, "interrupted", "stopped from outside"
        finally:
            _end_group(trainer)
    if not (folder / "result.json").exists():
        write_result(folder, status=status, cause=cause, exit_code=code, started_s=started_s)
    return 1 if code is None else code


def stop(folder: Path) -> bool:
    """End the supervisor of this folder and with it the trainer; False where none runs."""
    try:
        pid = int((folder / _PID).read_text(encoding="ascii"))
    except (OSError, ValueError):
        return False
    if not _is_supervisor_of(folder, pid):
        return False
    os.kill(pid, signal.SIGTERM)
    deadline = time.monotonic() + _STOP_LIMIT_S
    while _is_supervisor_of(folder, pid):
        if time.monotonic() > deadline:
            os.kill(pid, signal.SIGKILL)
        time.sleep(_POLL_S)
    return True


def _is_supervisor_of(folder: Path, pid: int) -> bool:
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except OSError:
        return False
    return b"trainer.supervisor" in words and str(folder / "run.json").encode() in words


def _wait(trainer: subprocess.Popen[bytes], result: Path) -> Optional[int]:
    deadline: Optional[float] = None
    while trainer.poll() is None:
        if deadline is None and result.exists():
            deadline = time.monotonic() + _EXIT_GRACE_S
        if deadline is not None and time.monotonic() > deadline:
            return 0
        time.sleep(_POLL_S)
    return trainer.returncode


def _cause(code: Optional[int], log: Path) -> str:
    if code is not None and code < 0:
        how = f"was ended by {signal.Signals(-code).name}"
    else:
        how = f"exited with code {code} and left no result"
    lines = log.read_text(encoding="utf-8", errors="replace").split("\n")
    last = next((line.strip() for line in reversed(lines) if line.strip()), "nothing")
    return f"the trainer {how}; its log ends with: {last[:300]}"


def _end_group(trainer: subprocess.Popen[bytes]) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(trainer.pid, signal.SIGKILL)
    trainer.wait()


def _stop(number: int, frame: Optional[FrameType]) -> None:
    raise _Stopped


if __name__ == "__main__":
    sys.exit(main())
