#!/usr/bin/python3
"""A stand-in for shutdown, reboot, poweroff and halt on an emulated board: its first process ends, and
the process outside that started it boots the board again, or does not.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

PENDING = Path("/run/cluster-kit/shutdown")  # the pid of a planned one
REBOOT, POWEROFF = "TERM", "USR1"  # what the first process passes on, and power.sh tells apart


def delay_s(when: str) -> int:
    if when == "now":
        return 0
    if when.lstrip("+").isdigit():
        return 60 * int(when.lstrip("+"))
    sys.exit(f"Failed to parse time specification: {when}")


def main() -> None:
    name, arguments = Path(sys.argv[0]).name, sys.argv[1:]
    if os.geteuid():
        sys.exit(f"Failed to set wall message, ignoring: Interactive authentication required.\n{name}: Must be root.")
    # In another PID namespace, as that of this machine, process 1 would be another one.
    if os.readlink("/proc/self") != str(os.getpid()) or not Path("/run/cluster-kit/boot_id").exists():
        sys.exit(f"{name}: this is not the emulated board itself, so nothing is done")
    options = [word for word in arguments if word.startswith("-")]
    words = [word for word in arguments if not word.startswith("-")]
    if "-c" in options:
        if PENDING.exists():
            os.killpg(int(PENDING.read_text()), signal.SIGTERM)
            PENDING.unlink()
        return
    again = name == "reboot" or "-r" in options or "--reboot" in options
    # `shutdown` waits a minute where no time is given, the others do not wait.
    wait_s = delay_s(words[0] if words else "+1") if name == "shutdown" else 0
    process = subprocess.Popen(
        # A moment, so that who asked for it still gets the answer.
        ["sh", "-c", f"sleep {max(wait_s, 0.3)}; kill -s {REBOOT if again else POWEROFF} 1"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    PENDING.write_text(str(process.pid))


if __name__ == "__main__":
    main()
