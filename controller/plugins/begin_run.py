"""Creates a run's folder on the controller, and the key of its boards' heartbeats."""

from __future__ import annotations

import os
import secrets
from pathlib import Path
from typing import Any

from controller.plugins import shared
from controller.plugins.base import Action
from trainer.contract.layout import GATES, PEERS_KEY_BYTES, PREDICTION, RUN, write_json


class ActionModule(Action):
    """begin_run: see plugins/modules/begin_run.py."""

    def act(self, options: dict[str, Any]) -> dict[str, Any]:
        folder = Path(options["run_dir"])
        if not options["resume"]:
            try:
                folder.mkdir(parents=True)
            except OSError as error:
                return {"failed": True, "msg": f"{folder} cannot be created: {error.strerror}"}
            write_json(folder / RUN, options["run"])
        for name, found in ((GATES, options["gates"]), (PREDICTION, options["prediction"])):
            if found:
                write_json(folder / name, found)
        _make_key(shared.peers_key())
        return {"changed": True}


def _make_key(path: Path) -> None:
    """A new key for each start, which never passes through Ansible's variables and results."""
    path.unlink(missing_ok=True)
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(secrets.token_bytes(PEERS_KEY_BYTES))
