"""Prepares an interrupted or failed run to be resumed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ansible.utils.display import Display

from controller import resume
from controller.plugins.base import Action
from trainer.contract.checkpoints import START
from trainer.contract.config import ConfigError

_display = Display()


class ActionModule(Action):
    """resume_run: see plugins/modules/resume_run.py."""

    def act(self, options: dict[str, Any]) -> dict[str, Any]:
        folder = Path(options["run_dir"])
        try:
            place = resume.begin(folder, options["replace"])
        except ConfigError as error:
            return {"failed": True, "msg": "\n".join(error.problems)}
        after = (
            f"after {place}" if place != START else "from its beginning: there is no checkpoint that every board has"
        )
        _display.display(f"  {folder.name} resumes {after}")
        return {"changed": True, "epoch": place.epoch, "images": place.images}
