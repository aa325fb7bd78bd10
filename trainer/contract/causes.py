"""Causes of a worker's end: their kinds, how a log or exit code shows them, their remedies, and which came first.

Standard library only: the trainer and its supervisor name causes, `analysis` ranks them.
"""

from __future__ import annotations

import errno
import signal
from dataclasses import dataclass
from typing import Any, Mapping, Optional

# remedy by kind of cause
REMEDIES = {
    "killed": "if nobody killed it, the board was out of memory (dmesg | grep -i oom): lower batch_size",
    "stalled": "check the board's load, power and temperature, and read the end of its log",
    "stopped": "something on the board sent it SIGSTOP: a debugger, or a shell's Ctrl-Z",
    "never_started": "read the end of its log; playbooks/provision.yml --tags python_env repairs the environment",
    "slow_start": "raise train_start_limit_s; if the boards' load was low, read the ends of all logs",
    "disk_full": "free space on the board (df -h /opt/cluster-kit), then run again",
    "nan": "lower optimizer.learning_rate, or check the data",
    "not_learning": "set model.precision to float32 or mixed_bfloat16, or lower optimizer.learning_rate",
    "keras": "playbooks/provision.yml --tags python_env installs it; pip does by hand, in the boards' environment",
    "port_taken": "run playbooks/check.yml: it names the process that uses the port",
    "data": "run again: corrupt files are staged again",
    "reboot": "check the board's power supply and temperature (last -x reboot; journalctl -b -1)",
    "unreachable": "check the board's power and cable; when it is back, playbooks/collect.yml fetches its logs",
    "error": "the end of its log shows where",
    "timeout": "raise train_limit_s, or lower epochs",
    "network": "check the cables and the switch between them; playbooks/check.yml measures each pair",
    "alone": "check the cables and the switch; with -e resume=RUN_ID the run resumes on all boards",
    "outside": "the others finish the run without it; check its power, cable and log",
    "joining": "",
    "peer": "",
    "interrupted": "",
}
# causes that a board reports of other boards rank after its own
_SECOND_HAND = ("unreachable", "stalled", "network", "slow_start", "alone", "outside", "joining", "peer", "interrupted")
_OF_PEERS = (
    "Connection reset by peer",
    "Connection closed by peer",
    "originated at tensorpipe",
    "Connection was likely closed",  # by the chief's store, as PyTorch's workers meet
    "Timed out waiting",  # gloo, after sync.timeout_s
    "remote process exited or there was a network error",  # NCCL
    "Socket closed",
    "failed to connect to all addresses",
    "Broken pipe",
    "heartbeat timeout",
    "in error status",
    "Collective ops is aborted",
    "No route to host",
)


@dataclass(frozen=True)
class Cause:
    kind: str  # one of REMEDIES
    sentence: str


class NotLearningError(RuntimeError):
    """The optimizer applied no step."""


class KerasError(RuntimeError):
    """The environment has no Keras 2."""


def weight(kind: Optional[str]) -> int:
    """Rank of a cause of this kind: 0 for a board's own failure, higher where it follows from another board's."""
    return _SECOND_HAND.index(kind) + 1 if kind in _SECOND_HAND else 0


def first_cause(results: Mapping[str, Mapping[str, Any]]) -> Optional[str]:
    """The board that failed first, from the results by board of those that did not succeed.

    A board's own failure comes before what it noticed of others; among equals, the earlier one by the boards' clocks.
    """
    if not results:
        return None
    return min(results, key=lambda name: (weight(results[name].get("cause_kind")), results[name]["ended_s"]))


def of_exception(error: BaseException) -> Cause:
    """The cause for an exception of the trainer."""
    lines = str(error).strip().splitlines()
    sentence = f"{type(error).__name__}: {lines[0][:300] if lines else 'no message'}"
    if isinstance(error, FloatingPointError):
        return Cause("nan", lines[0])
    if isinstance(error, NotLearningError):
        return Cause("not_learning", lines[0])
    if isinstance(error, KerasError):
        return Cause("keras", lines[0])
    if isinstance(error, OSError) and error.errno == errno.ENOSPC:
        return Cause("disk_full", f"no space is left on the disk ({error.filename or 'while writing records'})")
    kind = _kind(str(error))
    names = {base.__name__ for base in type(error).__mro__}
    if kind is None and names & {"UnavailableError", "AbortedError", "CancelledError"}:
        kind = "peer"
    return Cause(kind or "error", sentence)


def of_exit(code: int, log: str) -> Cause:
    """The cause of a trainer that left no result: its exit code, negative for a signal, and the end of its log."""
    if code < 0:
        sentence = f"the trainer was ended by {signal.Signals(-code).name}"
        if -code in (signal.SIGKILL, signal.SIGTERM, signal.SIGINT):
            return Cause("killed", sentence)  # the log cannot show it
        sentence += f"; {log_end(log)}"
    else:
        sentence = f"the trainer exited with code {code} and left no result; {log_end(log)}"
    return Cause(_kind(log) or "error", sentence)


def log_end(log: str) -> str:
    """The last line that is not empty, as half a sentence."""
    last = next((line.strip() for line in reversed(log.split("\n")) if line.strip()), "nothing")
    return f"its log ends with: {last[:300]}"


def _kind(text: str) -> Optional[str]:
    if "No space left on device" in text:
        return "disk_full"
    if "Could not start gRPC server" in text or "Address already in use" in text:
        return "port_taken"
    return "peer" if any(words in text for words in _OF_PEERS) else None
