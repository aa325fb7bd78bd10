"""`python -m controller.rehearsal`: see rehearse.py."""

import os
import sys
from pathlib import Path

from controller.rehearsal.rehearse import rehearse

if __name__ == "__main__":
    sys.exit(rehearse(Path.cwd(), keep_boards=bool(os.environ.get("KEEP_LAB"))))
