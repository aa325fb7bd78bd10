# Runs survey.py (standard input) where this Python can, else tells what keeps it from that: `python3 -c ...`.
# In the Python of any board, 2.7 too: nothing of what a newer one brought.
import json
import platform
import sys


def said(path):
    try:
        with open(path) as file:
            return file.read().strip()
    except (IOError, OSError):
        return None


if sys.version_info < (3, 8):
    print(json.dumps({"old_python": platform.python_version(), "release": said("/etc/nv_tegra_release")}))
    sys.exit(1)
exec(compile(sys.stdin.read(), "survey.py", "exec"))
