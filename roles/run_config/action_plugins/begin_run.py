"""Makes a run's folder on the controller."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from ansible.plugins.action import ActionBase

sys.path.insert(0, str(Path(__file__).resolve().parents[3]))  # the checkout

from trainer.contract.layout import write_json


class ActionModule(ActionBase):
    """begin_run: see plugins/modules/begin_run.py."""

    def run(self, tmp: Any = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        answer: dict[str, Any] = super().run(tmp, task_vars)
        _, arguments = self.validate_argument_spec(
            {
                "run_dir": {"type": "path", "required": True},
                "run": {"type": "dict", "required": True},
                "gates": {"type": "dict", "default": {}},
                "resume": {"type": "bool", "default": False},
            }
        )
        folder = Path(arguments["run_dir"])
        if not arguments["resume"]:
            try:
                folder.mkdir(parents=True)
            except OSError as error:
                why = "another run began in the same second" if folder.exists() else str(error)
                return {**answer, "failed": True, "msg": f"{folder} cannot be made: {why}"}
            write_json(folder / "run.json", arguments["run"])
        if arguments["gates"]:
            write_json(folder / "gates.json", arguments["gates"])
        return {**answer, "changed": True}
