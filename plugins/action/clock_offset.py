"""Measures a board's clock against the controller's, over the connection that Ansible keeps open."""

from __future__ import annotations

import json
import shlex
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from ansible.errors import AnsibleConnectionFailure
from ansible.plugins.action import ActionBase

# The board's part of a round. A program that starts in a millisecond: what it takes is in the uncertainty.
_ASK = "date +%s.%N"


@dataclass(frozen=True)
class Round:
    """One question and its answer, in seconds since 1970."""

    sent_s: float  # the controller's clock
    board_s: float  # the board's clock, when it answered
    received_s: float  # the controller's clock

    @property
    def delay_s(self) -> float:
        return self.received_s - self.sent_s

    @property
    def offset_s(self) -> float:
        """By how much the board's clock is ahead, if both ways took the same time.

        NTP's formula (RFC 5905, section 8), the two times of the board being one. Where the ways differ, it is wrong
        by half the delay at most.
        """
        return self.board_s - (self.sent_s + self.received_s) / 2


def summary(rounds: list[Round]) -> dict[str, Any]:
    """Returns what the round of the smallest delay says."""
    best = min(rounds, key=lambda each: each.delay_s)
    return {
        "offset_s": round(best.offset_s, 6),
        "uncertainty_s": round(best.delay_s / 2, 6),
        "rounds": len(rounds),
        "measured_at": datetime.fromtimestamp(best.sent_s, UTC).isoformat(timespec="seconds"),
    }


class ActionModule(ActionBase):
    """clock_offset: see plugins/modules/clock_offset.py."""

    def run(self, tmp: Any = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        answer: dict[str, Any] = super().run(tmp, task_vars)
        _, arguments = self.validate_argument_spec(
            {"rounds": {"type": "int", "default": 8}, "dest": {"type": "path", "default": ""}}
        )
        if arguments["rounds"] < 1:
            return {**answer, "failed": True, "msg": f"rounds is {arguments['rounds']}: give 1 or more"}
        self._ask()  # opens the connection, which must not count
        clock = summary([self._ask() for _ in range(arguments["rounds"])])
        if arguments["dest"] and not self._task.check_mode:
            self._write(arguments["dest"], json.dumps(clock))
        # The file says when it was measured, so it differs every time, and yet nothing of the board has changed.
        return {**answer, "changed": False, **clock, "ansible_facts": {"clock_offset": clock}}

    def _ask(self) -> Round:
        sent = time.time()
        done = self._low_level_execute_command(_ASK, sudoable=False)  # sudo would only add to the delay
        received = time.time()
        try:
            return Round(sent, float(done["stdout"]), received)
        except ValueError:
            told = (done["stdout"] + done.get("stderr", "")).strip()
            raise AnsibleConnectionFailure(f"the board was asked for its time ({_ASK}) and said: {told!r}") from None

    def _write(self, path: str, text: str) -> None:
        """Writes a file on the board whole or not at all."""
        target, part = shlex.quote(path), shlex.quote(f"{path}.part")
        done = self._low_level_execute_command(f"echo {shlex.quote(text)} >{part} && mv {part} {target}")
        if done["rc"]:
            raise AnsibleConnectionFailure(f"{path} could not be written: {done.get('stderr', '').strip()}")
