"""The parts of a step's time: computing, communication, waiting for other boards; and payload bytes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Optional, Protocol


@dataclass(frozen=True)
class StepTimes:
    """Sums since the start, or between two moments. null: not measured."""

    communication_s: Optional[float]  # steps stalled while bytes were on the wire
    waiting_s: Optional[float]  # steps stalled until the slowest board was ready; null: within communication_s
    overlapped_s: Optional[float]  # communication hidden behind computing
    payload_bytes: int  # handed to collectives on this board

    def since(self, before: StepTimes) -> StepTimes:
        return StepTimes(
            _less(self.communication_s, before.communication_s),
            _less(self.waiting_s, before.waiting_s),
            _less(self.overlapped_s, before.overlapped_s),
            self.payload_bytes - before.payload_bytes,
        )

    def of(self, seconds: float) -> Optional[float]:
        """The part of these seconds that was computed."""
        return None if self.communication_s is None else seconds - self.communication_s - (self.waiting_s or 0.0)


class Timer(Protocol):
    """What sums the times of an engine's steps."""

    def read(self) -> StepTimes:
        """The sums since the start."""


def _less(now: Optional[float], before: Optional[float]) -> Optional[float]:
    return None if now is None else now - (before or 0.0)
