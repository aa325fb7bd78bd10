#!/usr/bin/python3
"""A stand-in for the updates that a new board gives itself: has apt's locks for a while, and changes nothing."""

from __future__ import annotations

import fcntl
import time
from contextlib import ExitStack
from pathlib import Path

SECONDS = 15.0
LOCKS = ("/var/lib/dpkg/lock-frontend", "/var/lib/dpkg/lock", "/var/lib/apt/lists/lock")

with ExitStack() as stack:
    for path in LOCKS:
        fcntl.lockf(stack.enter_context(Path(path).open("w")), fcntl.LOCK_EX)
    time.sleep(SECONDS)
