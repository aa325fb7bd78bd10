"""Runs TensorFlow's tasks of a board in a run with parameter servers, each in a process of its own.

A server that ends takes a part of the model with it and so ends the run. A worker may end: the chief gives its steps to
the others, and the board's server or chief goes on. Standard library only.
"""

from __future__ import annotations

import contextlib
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Dict, Optional

from trainer.contract.causes import Cause, log_end
from trainer.contract.cluster import CHIEF, SERVER, WORKER, Cluster
from trainer.contract.interface import listens
from trainer.contract.layout import LOG
from trainer.contract.run import Run
from trainer.supervise.relay import Relay

_POLL_S = 0.1
_WORDS = {CHIEF: "the chief", SERVER: "the parameter server", WORKER: "the worker"}
_LOOK_S = 1.0
_END_S = 10.0  # for the chief to end after it has told the end


def run_tasks(config: Path, run: Run, cluster: Cluster) -> Optional[Cause]:
    """Run this board's tasks until the chief has told the end; return the cause of a failure, or None."""
    folder = config.parent
    relay = Relay(folder, run, cluster)
    processes: Dict[str, subprocess.Popen[bytes]] = {}
    try:
        for task, _ in cluster.own_tasks(run.config.servers):
            # in this process's group and with its output, so that the supervisor stops and logs them all
            processes[task] = subprocess.Popen(
                [sys.executable, "-m", "trainer", "--config", str(config), "--task", task], stdin=subprocess.DEVNULL
            )
        return _follow(processes, relay, run, cluster, folder)
    finally:
        relay.close()
        for process in processes.values():
            process.kill()
            process.wait()


def _follow(
    processes: Dict[str, subprocess.Popen[bytes]], relay: Relay, run: Run, cluster: Cluster, folder: Path
) -> Optional[Cause]:
    board = run.boards[cluster.rank]
    seen_s = time.monotonic()
    while not relay.ended:
        ended = {task: process.returncode for task, process in processes.items() if process.poll() is not None}
        relay.poll()  # afterwards: a task's last words are there
        if relay.cause:
            return relay.cause
        for task, code in ended.items():
            if relay.ended:
                break
            del processes[task]
            cause = _cause(task, code, board, folder)
            alone = not processes or run.config.computing(cluster.workers) == 1
            if task != WORKER or alone or not relay.started:  # the chief waits for all workers before it starts
                return cause
            print(f"{cause.sentence}; the other workers go on", flush=True)
            relay.lose(cause.sentence)
        if WORKER not in processes and time.monotonic() - seen_s > _LOOK_S and relay.started:
            seen_s = time.monotonic()
            # without a worker, a board makes progress as long as there is a chief; the chief shows its own
            if not cluster.is_chief and listens(cluster.addresses[0]):
                relay.progress()
        time.sleep(_POLL_S)
    if CHIEF in processes:
        with contextlib.suppress(subprocess.TimeoutExpired):
            processes[CHIEF].wait(_END_S)
    return None


def _cause(task: str, code: int, board: str, folder: Path) -> Cause:
    """Why a task of this board ended."""
    name = f"{_WORDS[task]} of {board}"
    if code < 0:
        return Cause("killed", f"{name} was ended by {signal.Signals(-code).name}")
    log = (folder / LOG).read_text(encoding="utf-8", errors="replace") if (folder / LOG).exists() else ""
    return Cause("error", f"{name} ended with code {code}; {log_end(log)}")
