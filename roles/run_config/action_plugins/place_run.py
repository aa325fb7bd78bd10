"""Gives a board its part of a run in one round trip."""

from __future__ import annotations

import io
import json
import shlex
import sys
import tarfile
from pathlib import Path
from typing import Any

from ansible.plugins.action import ActionBase

sys.path.insert(0, str(Path(__file__).resolve().parents[3]))  # the checkout

from controller.answer import ask

# whole or not at all: the board's folder of the run is there when everything is in it
_SCRIPT = """\
set -e; umask 022
mkdir -p {home}/runs {home}/trainer
incoming=$(mktemp -d {home}/.incoming.XXXXXX)
trap 'rm -rf "$incoming"' EXIT
tar -xzf - -C "$incoming"
chmod 755 "$incoming"/*
test -e {trainer}/trainer/__main__.py || mv -T "$incoming/trainer" {trainer}
mv -T "$incoming/run" {board}
"""


class ActionModule(ActionBase):
    """place_run: see plugins/modules/place_run.py."""

    def run(self, tmp: Any = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        answer: dict[str, Any] = super().run(tmp, task_vars)
        _, arguments = self.validate_argument_spec(
            {
                "run_dir": {"type": "path", "required": True},
                "board_dir": {"type": "path", "required": True},
                "home": {"type": "path", "required": True},
                "trainer": {"type": "dict", "required": True},
                "tf_config": {"type": "dict", "required": True},
                "records": {"type": "path", "default": ""},
            }
        )
        script = _SCRIPT.format(
            home=shlex.quote(arguments["home"]),
            trainer=shlex.quote(arguments["trainer"]["path"]),
            board=shlex.quote(arguments["board_dir"]),
        )
        done = ask(self, f"sh -c {shlex.quote(script)}", in_data=_packed(arguments))
        if done["rc"]:
            told = " ".join((done["stderr"] or done["stdout"]).split())
            return {**answer, "failed": True, "msg": f"the run could not be placed on the board: {told}"}
        return {**answer, "changed": True}


def _packed(arguments: dict[str, Any]) -> bytes:
    """An archive with the run's files in run/, and with trainer/."""
    run_json = (Path(arguments["run_dir"]) / "run.json").read_bytes()
    tf_config = (json.dumps(arguments["tf_config"], indent=1) + "\n").encode()
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz", compresslevel=1) as archive:
        for name, content in (("run/run.json", run_json), ("run/tf_config.json", tf_config)):
            member = tarfile.TarInfo(name)
            member.size, member.mode = len(content), 0o644
            archive.addfile(member, io.BytesIO(content))
        if arguments["records"]:
            archive.add(arguments["records"], "run", filter=_anonymous)
        with tarfile.open(arguments["trainer"]["source"]) as source:
            for member in source:
                content_file = source.extractfile(member)
                member.name = f"trainer/{member.name}"
                archive.addfile(member, content_file)
    return packed.getvalue()


def _anonymous(member: tarfile.TarInfo) -> tarfile.TarInfo:
    """Without the controller's owner, whom the board does not know."""
    member.uid = member.gid = 0
    member.uname = member.gname = ""
    member.mode = 0o755 if member.isdir() else 0o644
    return member
