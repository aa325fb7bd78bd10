"""Times steps: computing, communication, waiting for other boards; and counts payload bytes."""

from __future__ import annotations

import threading
import time
from typing import Optional

from trainer.loop.step_times import StepTimes
from trainer.pytorch.compute import Compute


class StepTimer:
    """Sums what methods of synchronising add; the recorder reads it."""

    def __init__(self, compute: Compute, on: bool = True) -> None:
        """`on`: whether methods time parts of a step; otherwise they only add bytes."""
        self.on, self._compute = on, compute
        self._waiting_apart = True
        self._communication_s = self._waiting_s = self._overlapped_s = 0.0
        self._payload_bytes = 0
        self._lock = threading.Lock()  # averages and buckets end in other threads

    def now(self) -> float:
        """Seconds of the clock at which the device has computed what it was given."""
        self._compute.finish()
        return time.monotonic()

    def add(
        self,
        communication_s: float = 0.0,
        waiting_s: Optional[float] = 0.0,
        overlapped_s: float = 0.0,
        payload_bytes: int = 0,
    ) -> None:
        """Add seconds and bytes; `waiting_s` None: waiting is not known and included in communication."""
        with self._lock:
            if waiting_s is None:
                self._waiting_apart, waiting_s = False, 0.0
            self._communication_s += communication_s
            self._waiting_s += waiting_s
            self._overlapped_s += overlapped_s
            self._payload_bytes += payload_bytes

    def read(self) -> StepTimes:
        with self._lock:
            if not self.on:
                return StepTimes(None, None, None, self._payload_bytes)
            waiting_s = self._waiting_s if self._waiting_apart else None
            return StepTimes(self._communication_s, waiting_s, self._overlapped_s, self._payload_bytes)
