"""`python -m trainer.supervise.supervisor --config run.json`: runs the trainer in the background, and sees to a result.

It holds the board's lock, keeps the trainer's log, ends a trainer that takes too long or whose peers are gone, and
writes the result that the trainer could not. With --stop it ends a run, also what is left of a dead one.
Standard library only.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
import traceback
from dataclasses import fields
from pathlib import Path
from types import FrameType
from typing import IO, List, Optional, Tuple

from trainer.contract.causes import Cause
from trainer.contract.cluster import load_cluster
from trainer.contract.interface import interface_with
from trainer.contract.layout import HEARTBEAT, LOG, RESERVE, RESULT, RUN, TF_CONFIG
from trainer.supervise import environment
from trainer.supervise.collective_log import Excerpt
from trainer.supervise.lock import Lock, Locked, read
from trainer.supervise.peers import FAILED, INTERRUPTED
from trainer.supervise.result import write_result
from trainer.supervise.telemetry import Telemetry
from trainer.supervise.watchdog import POLL_S, Limits, Watchdog, boot, cause_of_exit, process_state, read_object

# TensorFlow's workers wait for each other when they exit; one whose peer is gone may wait for ever
_EXIT_GRACE_S = 20.0
_STOP_LIMIT_S = 30.0
_LOG_END_S = 1.0  # for what was printed last; a process that the trainer left behind may hold the pipe open
_RESERVED = 64 * 1024  # bytes
_PID = "supervisor.pid"


class _Stopped(Exception):
    """Somebody asked the run to end."""


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m trainer.supervise.supervisor", description=__doc__)
    parser.add_argument("--config", type=Path, required=True, help="the run.json of this run")
    parser.add_argument("--stop", action="store_true", help="end this run, if it goes on, and leave its result")
    parser.add_argument("--owner", default="unknown", help="who runs it: user@controller")
    parser.add_argument("--idle", type=float, default=0.0, metavar="SECONDS", help="that a board measures before")
    for limit in fields(Limits):
        parser.add_argument(f"--{limit.name}-limit", type=float, metavar="SECONDS")
    arguments = parser.parse_args()
    config: Path = arguments.config.resolve()
    folder = config.parent
    if arguments.stop:
        print("stopped" if stop(folder) else "not running")
        return 0
    try:
        lock = Lock(folder.parent, folder.name, arguments.owner)
    except Locked as error:
        print(f"trainer: {error}", file=sys.stderr)
        return 3
    pid = os.fork()  # the run outlives the connection that began it
    if pid:
        (folder / _PID).write_text(f"{pid}\n", encoding="ascii")
        return 0
    os.setsid()
    _leave_terminal(folder)
    limits = Limits(**{limit.name: getattr(arguments, f"{limit.name}_limit") for limit in fields(Limits)})
    try:
        supervise([sys.executable, "-m", "trainer", "--config", str(config)], folder, limits, lock, arguments.idle)
    except Exception:  # nobody is left to catch it: the log is the only place to tell
        with contextlib.suppress(OSError):
            traceback.print_exc()  # into the run's log
            sys.stderr.flush()
    finally:
        lock.release()
        os._exit(0)  # the parent has done the interpreter's cleaning


def supervise(
    command: List[str],
    folder: Path,
    limits: Limits,
    lock: Optional[Lock] = None,
    idle_s: float = 0.0,
) -> int:
    """Run the command as the trainer of this folder until it has ended; returns its exit code.

    A board that measures its power is left idle for `idle_s` before.
    """
    started_s = time.time()
    result = folder / RESULT
    (folder / RESERVE).write_bytes(bytes(_RESERVED))  # so that a full disk has room for the result
    watchdog = Watchdog(folder, limits)
    code: Optional[int] = None
    cause: Optional[Cause] = None
    trainer: Optional[subprocess.Popen[bytes]] = None
    keeper: Optional[threading.Thread] = None
    interface = interface_with(load_cluster(folder / TF_CONFIG).own_ip)
    telemetry = Telemetry(folder, interface)
    signal.signal(signal.SIGTERM, _stop)
    try:
        cause = watchdog.meet_peers()  # so that no board computes, and none is measured idle, while another begins
        if cause:
            raise _Stopped
        telemetry.rest(idle_s)
        # a session of its own: so that all its processes can be ended together
        trainer = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=environment.of_trainer(os.environ, interface),
            start_new_session=True,
            pass_fds=() if lock is None else (lock.descriptor,),  # while it lives, the board is taken
        )
        keeper = threading.Thread(target=_keep_log, args=(trainer.stdout, folder / LOG), daemon=True)
        keeper.start()
        watchdog.trainer = trainer.pid
        code, cause = _follow(trainer, watchdog, keeper)
    except _Stopped:
        if not result.exists():
            cause = cause or Cause(INTERRUPTED, "stopped from outside")
    finally:
        signal.signal(signal.SIGTERM, _too_late)
        if trainer:
            _end_group(trainer.pid)
            trainer.wait()
        if keeper:
            keeper.join(_LOG_END_S)
        telemetry.stop()
    with contextlib.suppress(OSError):
        if cause or not result.exists():
            cause = cause or cause_of_exit(code or 0, folder)
            status = INTERRUPTED if cause.kind == INTERRUPTED else FAILED
            write_result(folder, status=status, cause=cause, exit_code=code, started_s=started_s)
    left = read_object(result)
    watchdog.farewell(left.get("status", FAILED), left.get("cause"))
    return 1 if code is None else code


def stop(folder: Path) -> bool:
    """End the run of this folder, also a trainer whose supervisor is gone; False where none runs.

    A run that began and left no result gets one.
    """
    supervisor = _number(folder / _PID)
    running = supervisor is not None and _is_of(folder, supervisor, b"trainer.supervise.supervisor")
    if supervisor is not None and running:
        _signal(supervisor, signal.SIGTERM)
        deadline = time.monotonic() + _STOP_LIMIT_S
        while _is_of(folder, supervisor, b"trainer.supervise.supervisor"):
            if time.monotonic() > deadline:
                _signal(supervisor, signal.SIGKILL)
            time.sleep(POLL_S)
    beat = read_object(folder / HEARTBEAT)
    if beat and _is_of(folder, beat["trainer"], b"trainer"):
        running = True
        _end_group(beat["trainer"])
    if beat and not (folder / RESULT).exists():
        rebooted = beat["boot"] != boot()
        cause = (
            Cause("reboot", "the board was restarted during the run")
            if rebooted
            else Cause("killed", "the trainer's supervisor was killed")
        )
        write_result(
            folder, status=FAILED, cause=cause, exit_code=None, started_s=beat["time_s"], ended_s=beat["time_s"]
        )
    if (read(folder.parent) or {}).get("run_id") == folder.name:  # a reboot leaves the file
        with contextlib.suppress(Locked):
            Lock(folder.parent, folder.name, "").release()
    return running


def _follow(
    trainer: subprocess.Popen[bytes], watchdog: Watchdog, keeper: threading.Thread
) -> Tuple[Optional[int], Optional[Cause]]:
    """Wait for the trainer; its exit code, and the cause where it must be ended or is known better from outside."""
    result = watchdog.folder / RESULT
    deadline: Optional[float] = None
    cause: Optional[Cause] = None
    while trainer.poll() is None:
        # the other boards hear of this one, and are heard, also while it takes its time to exit
        cause = watchdog.cause_to_end() or cause
        if result.exists():
            deadline = deadline or time.monotonic() + _EXIT_GRACE_S
            if time.monotonic() > deadline or read_object(result).get("status") == FAILED:
                break
        elif cause:
            return None, cause
        time.sleep(POLL_S)
    code = trainer.poll()
    keeper.join(_LOG_END_S)  # the log's end tells the cause
    if result.exists():
        kind = read_object(result).get("cause_kind")
        code = int(kind is not None) if code is None else code
    else:
        kind = cause_of_exit(code or 0, watchdog.folder).kind
    # TensorFlow's words for a lost peer say nothing of why: the other boards' supervisors do
    return code, (cause or watchdog.why_peers_left()) if kind == "peer" else None


def _keep_log(printed: IO[bytes], path: Path) -> None:
    """Write what the trainer prints to its log, until it ends: see `collective_log.Excerpt`."""
    excerpt = Excerpt()
    with printed, path.open("ab", buffering=0) as log:
        for line in printed:
            if excerpt.keeps(line):
                with contextlib.suppress(OSError):  # a full disk must not stop a trainer that prints
                    log.write(line)


def _leave_terminal(folder: Path) -> None:
    nothing = os.open(os.devnull, os.O_RDWR)
    log = os.open(str(folder / LOG), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    for old, new in ((0, nothing), (1, log), (2, log)):
        os.dup2(new, old)
    os.close(nothing)
    os.close(log)


def _is_of(folder: Path, pid: int, module: bytes) -> bool:
    """Whether this process is what was started for this run: numbers are used again."""
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
    with contextlib.suppress(ProcessLookupError):  # it has ended by itself meanwhile
        os.kill(process, number)


def _end_group(leader: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(leader, signal.SIGKILL)


def _too_late(number: int, frame: Optional[FrameType]) -> None:
    """The run is being ended already. Not SIG_IGN, which other programs would inherit."""


def _stop(number: int, frame: Optional[FrameType]) -> None:
    raise _Stopped


if __name__ == "__main__":
    sys.exit(main())
