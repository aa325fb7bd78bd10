#!/usr/bin/python3
"""A stand-in for reboot, and for `shutdown -r 0`, on an emulated board: its first process ends, and the
process outside that started it boots the board again.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path


def main() -> None:
    name = Path(sys.argv[0]).name
    if os.geteuid():
        sys.exit(f"Failed to set wall message, ignoring: Interactive authentication required.\n{name}: Must be root.")
    # In another PID namespace, as that of this machine, process 1 would be another one.
    if os.readlink("/proc/self") != str(os.getpid()) or not Path("/run/cluster-kit/boot_id").exists():
        sys.exit(f"{name}: this is not the emulated board itself, so nothing is done")
    if name != "reboot" and sys.argv[1:3] != ["-r", "0"]:
        sys.exit(f"{name}: an emulated board only reboots, and at once: use reboot, or shutdown -r 0")
    subprocess.Popen(
        # A moment, so that who asked for it still gets the answer. SIGTERM is what power.sh boots again after.
        ["sh", "-c", "sleep 0.3; kill -s TERM 1"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )


if __name__ == "__main__":
    main()
