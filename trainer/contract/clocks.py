"""The offset between a board's clock and the controller's, and conversion of times. Standard library only."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any, Callable, Dict, List

ASK = "date +%s.%N"  # starts in a millisecond, which adds to the uncertainty


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
        """Seconds by which the board's clock is ahead, if both directions took equally long.

        NTP's formula (RFC 5905, section 8), the two times of the board being one. If they did not, the error is at most
        half the delay.
        """
        return self.board_s - (self.sent_s + self.received_s) / 2


def summary(rounds: List[Round]) -> Dict[str, Any]:
    """The offset from the round with the smallest delay."""
    best = min(rounds, key=lambda each: each.delay_s)
    return {
        "offset_s": round(best.offset_s, 6),
        "uncertainty_s": round(best.delay_s / 2, 6),
        "rounds": len(rounds),
        "board_s": round(best.board_s, 6),
        "measured_at": datetime.fromtimestamp(best.sent_s, timezone.utc).isoformat(timespec="seconds"),
    }


def measure(ask: Callable[[], Round], rounds: int = 8) -> Dict[str, Any]:
    """The summary of `count` rounds; a round before them opens the connection and is not counted."""
    ask()
    return summary([ask() for _ in range(rounds)])
