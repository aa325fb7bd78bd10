"""Why a worker ended: the kinds of causes, how they are told from what is left, what to do, and which came first.

Standard library only: the trainer and its supervisor name causes with it, `analysis` ranks them.
"""

from __future__ import annotations

import errno
import signal
from dataclasses import dataclass
from typing import Any, Mapping, Optional

# the kinds, and what to do about each
REMEDIES = {
    "killed": "if nobody killed it, the board was out of memory (dmesg | grep -i oom): lower batch_size",
    "stalled": "look at the board's load, power and temperature, and at the end of its log",
    "stopped": "something on the board sent it SIGSTOP: a debugger, or a shell's Ctrl-Z",
    "never_started": "look at the end of its log; playbooks/provision.yml --tags python_env repairs the environment",
    "slow_start": "give train_start_limit_s more seconds; if the boards' load was low, look at the ends of all logs",
    "disk_full": "delete what the board needs no more (df -h /opt/cluster-kit), then run again",
    "nan": "lower optimizer.learning_rate, or look at the data",
    "port_taken": "playbooks/check.yml names the process that holds it",
    "data": "run again: what is staged is checked and replaced",
    "reboot": "look at the board's power supply and temperature (last -x reboot; journalctl -b -1)",
    "unreachable": "is the board on, is its cable in? When it is back, playbooks/collect.yml fetches its logs",
    "error": "the end of its log says where",
    "timeout": "give train_limit_s more seconds, or the experiment fewer epochs",
    "network": "look at the cables and the switch between them; playbooks/check.yml measures each pair",
    "peer": "",
    "interrupted": "",
}
# what a board tells of others weighs less than what it tells of itself: its own causes are before these
_SECOND_HAND = ("unreachable", "stalled", "network", "slow_start", "peer", "interrupted")
_OF_PEERS = (
    "Connection reset by peer",
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


def weight(kind: Optional[str]) -> int:
    """How late a cause of this kind stands: 0 for what a board has of its own, more for what follows from others."""
    return _SECOND_HAND.index(kind) + 1 if kind in _SECOND_HAND else 0


def first_cause(results: Mapping[str, Mapping[str, Any]]) -> Optional[str]:
    """The board whose end is the cause of the others', of the results (by board) of those that did not succeed.

    A board's own failure is before what it noticed of others; among equals the earlier one counts, by the boards'
    clocks.
    """
    if not results:
        return None
    return min(results, key=lambda name: (weight(results[name].get("cause_kind")), results[name]["ended_s"]))


def of_exception(error: BaseException) -> Cause:
    """The cause that an exception of the trainer is."""
    lines = str(error).strip().splitlines()
    sentence = f"{type(error).__name__}: {lines[0][:300] if lines else 'no message'}"
    if isinstance(error, FloatingPointError):
        return Cause("nan", lines[0])
    if isinstance(error, OSError) and error.errno == errno.ENOSPC:
        return Cause("disk_full", f"no space is left on the disk ({error.filename or 'while writing records'})")
    kind = _kind(str(error))
    if kind is None and type(error).__name__ in ("UnavailableError", "AbortedError", "CancelledError"):
        kind = "peer"
    return Cause(kind or "error", sentence)


def of_exit(code: int, log: str) -> Cause:
    """The cause of a trainer that left no result: its exit code, negative for a signal, and the end of its log."""
    if code < 0:
        sentence = f"the trainer was ended by {signal.Signals(-code).name}"
        if -code in (signal.SIGKILL, signal.SIGTERM, signal.SIGINT):
            return Cause("killed", sentence)  # its log cannot know
        sentence += f"; {log_end(log)}"
    else:
        sentence = f"the trainer exited with code {code} and left no result; {log_end(log)}"
    return Cause(_kind(log) or "error", sentence)


def log_end(log: str) -> str:
    """Its last line that says something, as half a sentence."""
    last = next((line.strip() for line in reversed(log.split("\n")) if line.strip()), "nothing")
    return f"its log ends with: {last[:300]}"


def _kind(text: str) -> Optional[str]:
    if "No space left on device" in text:
        return "disk_full"
    if "Could not start gRPC server" in text or "Address already in use" in text:
        return "port_taken"
    return "peer" if any(words in text for words in _OF_PEERS) else None
