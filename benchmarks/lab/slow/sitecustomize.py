"""Makes a board slower by the same time at every step, however many images it has, as a GPU's launches do.

Python imports it where it is on PYTHONPATH. LAB_STEP_COST_S: the seconds.
"""

import os
import sys
import time
from pathlib import Path
from typing import Any

_words = Path("/proc/self/cmdline").read_bytes().decode().split("\0")
if _words[1:4] == ["-m", "trainer", "--config"]:
    sys.path.insert(0, str(Path.cwd()))  # the trainer's source: where the supervisor starts it
    from trainer.loop.recorder import Recorder

    _cost_s, _counted = float(os.environ["LAB_STEP_COST_S"]), Recorder.end_step

    def _end_step(self: Recorder, *told: Any) -> None:
        time.sleep(_cost_s)
        _counted(self, *told)

    Recorder.end_step = _end_step  # type: ignore[assignment, method-assign]
