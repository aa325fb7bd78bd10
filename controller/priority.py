"""How much of the processor the controller's processes get, where emulated boards share it with them.

Real boards have processors of their own. Emulated ones would be slower the more of them train, since beside one board a
core is left for the controller, and beside two none is.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

_LEAST = 19


def give_way(pid: int) -> None:
    """Let a process, and what it starts in its session, have the processor only where nobody else wants it."""
    os.setpriority(os.PRIO_PROCESS, pid, _LEAST)
    # Linux weighs sessions against each other before the processes in them (man 7 sched, "The autogroup feature")
    with contextlib.suppress(OSError):
        Path(f"/proc/{pid}/autogroup").write_text(f"{_LEAST}\n", encoding="ascii")


def likewise(pid: int) -> None:
    """Let a process that this one has started in a session of its own give way as this one does."""
    if os.getpriority(os.PRIO_PROCESS, 0) == _LEAST:
        give_way(pid)
