"""When each task of a playbook began and ended, for benchmarks of the playbooks."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

from ansible.plugins.callback import CallbackBase

DOCUMENTATION = """
name: task_times
type: aggregate
short_description: Write down when tasks begin
description:
  - Writes a JSON object per task, with its role, its name and the time at which it began, and one for the end, to the
    file that the environment variable C(CLUSTER_KIT_TASK_TIMES) names.
"""


class CallbackModule(CallbackBase):
    """See DOCUMENTATION."""

    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "aggregate"
    CALLBACK_NAME = "task_times"
    CALLBACK_NEEDS_ENABLED = True

    def __init__(self) -> None:
        super().__init__()
        self._path = Path(os.environ["CLUSTER_KIT_TASK_TIMES"])

    def v2_playbook_on_task_start(self, task: Any, is_conditional: bool) -> None:
        role = task._role.get_name() if task._role else None
        self._write({"role": role, "name": task.get_name().rpartition(" : ")[2]})

    def v2_playbook_on_stats(self, stats: Any) -> None:
        self._write({"role": None, "name": None})

    def _write(self, what: dict[str, Any]) -> None:
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps({"time_s": time.time(), **what}) + "\n")
