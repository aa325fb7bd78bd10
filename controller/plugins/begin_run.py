"""Creates a run's folder on the controller."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from controller.plugins.base import Action
from trainer.contract.layout import GATES, PREDICTION, RUN, write_json


class ActionModule(Action):
    """begin_run: see plugins/modules/begin_run.py."""

    def act(self, options: dict[str, Any]) -> dict[str, Any]:
        folder = Path(options["run_dir"])
        if not options["resume"]:
            try:
                folder.mkdir(parents=True)
            except OSError as error:
                why = "another run started in the same second" if folder.exists() else str(error)
                return {"failed": True, "msg": f"{folder} cannot be created: {why}"}
            write_json(folder / RUN, options["run"])
        for name, found in ((GATES, options["gates"]), (PREDICTION, options["prediction"])):
            if found:
                write_json(folder / name, found)
        return {"changed": True}
