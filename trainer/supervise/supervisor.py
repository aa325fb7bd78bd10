"""`python -m trainer.supervise.supervisor --config run.json`: runs the trainer in the background.

It holds the board's lock, writes the trainer's log, stops a trainer that takes too long or has lost its peers, and
writes the result if the trainer could not. With --stop it stops a run, including the remains of a dead one. Standard
library only.
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
from typing import IO, Dict, List, Optional, Tuple

from trainer.contract.causes import Cause
from trainer.contract.cluster import load_cluster
from trainer.contract.interface import interface_with
from trainer.contract.layout import HEARTBEAT, LOG, RESULT, TF_CONFIG, UNPACKED
from trainer.supervise import environment
from trainer.supervise.collective_log import Excerpt
from trainer.supervise.elastic import elastic_of
from trainer.supervise.lock import Lock, Locked
from trainer.supervise.peers import FAILED, INTERRUPTED, SUCCEEDED
from trainer.supervise.remains import PID, end_group, end_remains, stop, why_dead
from trainer.supervise.result import is_written, reserve, write_result
from trainer.supervise.telemetry import Telemetry
from trainer.supervise.watchdog import (
    POLL_S,
    Limits,
    Watchdog,
    cause_left,
    cause_of_exit,
    read_object,
)

# TensorFlow's workers wait for each other at exit; one that lost its peer may wait for ever
_EXIT_GRACE_S = 20.0
_LOG_END_S = 1.0  # for the last output; a process left by the trainer may hold the pipe open


class _Stopped(Exception):
    """The run was asked to stop."""


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m trainer.supervise.supervisor", description=__doc__)
    parser.add_argument("--config", type=Path, required=True, help="path of the run's run.json")
    parser.add_argument("--rejoin", action="store_true", help="go on with a run whose supervisor on this board is dead")
    parser.add_argument("--stop", action="store_true", help="stop this run if it is running, and write its result")
    parser.add_argument("--owner", default="unknown", help="owner of the run: user@controller")
    parser.add_argument(
        "--idle", type=float, default=0.0, metavar="SECONDS", help="idle time before the trainer starts"
    )
    parser.add_argument("--witness", default="", metavar="HOST:PORT", help="with tie_break: witness")
    for limit in fields(Limits):
        parser.add_argument(f"--{limit.name}-limit", type=float, metavar="SECONDS")
    arguments = parser.parse_args()
    config: Path = arguments.config.resolve()
    folder = config.parent
    if arguments.stop:
        print("stopped" if stop(folder) else "not running")
        return 0
    if arguments.rejoin:
        end_remains(folder)
    try:
        lock = Lock(folder.parent, folder.name, arguments.owner)
    except Locked as error:
        print(f"trainer: {error}", file=sys.stderr)
        return 3
    except OSError as error:
        print(f"trainer: the board's lock cannot be written: {error}", file=sys.stderr)
        return 1
    pid = os.fork()  # the run outlives the connection that started it
    if pid:
        try:
            (folder / PID).write_text(f"{pid}\n", encoding="ascii")
        except OSError as error:  # nobody could find this supervisor
            os.kill(pid, signal.SIGKILL)
            lock.release()
            print(f"trainer: {error}", file=sys.stderr)
            return 1
        return 0
    os.setsid()
    _leave_terminal(folder)
    limits = Limits(**{limit.name: getattr(arguments, f"{limit.name}_limit") for limit in fields(Limits)})
    try:
        command = [sys.executable, "-m", "trainer", "--config", str(config)]
        supervise(command, folder, limits, lock, arguments.idle, arguments.rejoin, arguments.witness)
    except Exception:  # the log is the only place left to report it
        with contextlib.suppress(OSError):
            traceback.print_exc()  # into the run's log
            sys.stderr.flush()
    finally:
        lock.release()
        os._exit(0)  # the parent does the interpreter's clean-up


def supervise(
    command: List[str],
    folder: Path,
    limits: Limits,
    lock: Optional[Lock] = None,
    idle_s: float = 0.0,
    rejoin: bool = False,
    witness: str = "",
) -> int:
    """Run the command as this folder's trainer until it ends; return its exit code.

    A board with power sensors idles for `idle_s` before. With `rejoin` the run goes on, after a dead supervisor.
    `witness`: see `elastic.elastic_of`.
    """
    started_s = time.time()
    result = folder / RESULT
    watchdog = Watchdog(folder, limits)
    elastic = elastic_of(folder, watchdog.peers, limits.alone, watchdog.beat, witness)
    code: Optional[int] = None
    cause: Optional[Cause] = None
    interface = interface_with(load_cluster(folder / TF_CONFIG).own_ip)
    telemetry = Telemetry(folder, interface)
    signal.signal(signal.SIGTERM, _stop)
    try:
        reserve(folder)
        if rejoin:
            cause = why_dead(read_object(folder / HEARTBEAT))
            cause = elastic.come_back(cause) if elastic else cause
        else:
            cause = watchdog.meet_peers()  # no board computes or is measured idle while another starts
        if cause:
            raise _Stopped
        telemetry.rest(0.0 if rejoin else idle_s)
        while True:
            code, cause = _run_trainer(command, watchdog, environment.of_trainer(os.environ, interface), lock)
            if elastic is None or read_object(result).get("status") == SUCCEEDED:
                break
            cause = elastic.go_on(cause or cause_left(folder, code))
            if cause:
                break
            reserve(folder)
    except _Stopped:
        # between two generations, the result is of a trainer that is to have a successor
        if not is_written(result) or (elastic and read_object(result).get("status") != SUCCEEDED):
            cause = cause or Cause(INTERRUPTED, "stopped from outside")
    finally:
        signal.signal(signal.SIGTERM, _too_late)
        telemetry.stop()
        for name in UNPACKED:  # hundreds of megabytes
            with contextlib.suppress(FileNotFoundError):
                (folder / name).unlink()
    with contextlib.suppress(OSError):
        if cause or not is_written(result):
            cause = cause or cause_of_exit(code or 0, folder)
            status = INTERRUPTED if cause.kind == INTERRUPTED else FAILED
            write_result(folder, status=status, cause=cause, exit_code=code, started_s=started_s)
    left = read_object(result)
    watchdog.farewell(left.get("status", FAILED), left.get("cause"))
    return 1 if code is None else code


def _run_trainer(
    command: List[str], watchdog: Watchdog, variables: Dict[str, str], lock: Optional[Lock]
) -> Tuple[Optional[int], Optional[Cause]]:
    """Start the trainer and wait for its end, or end it; its exit code and the cause, see `_follow`."""
    trainer: Optional[subprocess.Popen[bytes]] = None
    keeper: Optional[threading.Thread] = None
    try:
        # a session of its own, so that all its processes can be stopped together
        trainer = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=variables,
            start_new_session=True,
            pass_fds=() if lock is None else (lock.descriptor,),  # the lock lasts as long as the trainer
        )
        keeper = threading.Thread(target=_keep_log, args=(trainer.stdout, watchdog.folder / LOG), daemon=True)
        keeper.start()
        watchdog.follow(trainer.pid)
        return _follow(trainer, watchdog, keeper)
    finally:
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})  # it takes effect when all has ended
        if trainer:
            end_group(trainer.pid)
            trainer.wait()
        if keeper:
            keeper.join(_LOG_END_S)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})


def _follow(
    trainer: subprocess.Popen[bytes], watchdog: Watchdog, keeper: threading.Thread
) -> Tuple[Optional[int], Optional[Cause]]:
    """Wait for the trainer; return its exit code, and the cause if it was stopped or the watchdog knows it better."""
    result = watchdog.folder / RESULT
    deadline: Optional[float] = None
    cause: Optional[Cause] = None
    while trainer.poll() is None:
        # heartbeats continue while the trainer exits
        cause = watchdog.cause_to_end() or cause
        if is_written(result):
            deadline = deadline or time.monotonic() + _EXIT_GRACE_S
            if time.monotonic() > deadline or read_object(result).get("status") == FAILED:
                break
        elif cause:
            return None, cause
        time.sleep(POLL_S)
    code = trainer.poll()
    keeper.join(_LOG_END_S)  # the log's end tells the cause
    if is_written(result):
        kind = read_object(result).get("cause_kind")
        code = int(kind is not None) if code is None else code
    else:
        kind = cause_of_exit(code or 0, watchdog.folder).kind
    # TensorFlow's error for a lost peer gives no reason; the other boards' supervisors do
    return code, (cause or watchdog.why_peers_left()) if kind == "peer" else None


def _keep_log(printed: IO[bytes], path: Path) -> None:
    """Write the trainer's output to its log until it ends; see `collective_log.Excerpt`."""
    excerpt = Excerpt()
    with printed, path.open("ab", buffering=0) as log:
        for line in printed:
            if excerpt.keeps(line):
                with contextlib.suppress(OSError):  # a full disk must not block the trainer's output
                    log.write(line)


def _leave_terminal(folder: Path) -> None:
    nothing = os.open(os.devnull, os.O_RDWR)
    log = os.open(str(folder / LOG), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    for old, new in ((0, nothing), (1, log), (2, log)):
        os.dup2(new, old)
    os.close(nothing)
    os.close(log)


def _too_late(number: int, frame: Optional[FrameType]) -> None:
    """Ignore a signal: the run is being stopped already. Not SIG_IGN, which child processes would inherit."""


def _stop(number: int, frame: Optional[FrameType]) -> None:
    raise _Stopped


if __name__ == "__main__":
    sys.exit(main())
