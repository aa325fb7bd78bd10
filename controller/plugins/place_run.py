"""Copies a board's part of a run to it in one round trip."""

from __future__ import annotations

import io
import json
import shlex
import tarfile
from pathlib import Path
from typing import Any

from controller.answer import ask
from controller.plugins import shared
from controller.plugins.base import Action
from trainer.contract.layout import PEERS_KEY, RUN, TF_CONFIG

# atomic: the run's folder appears on the board when it is complete
_SCRIPT = """\
set -e; umask 022
mkdir -p {home}/runs {home}/trainer
# beside its target, so that it is moved there in one step
incoming=$(mktemp -d {home}/.incoming.XXXXXX)
trap 'rm -rf "$incoming"' EXIT
tar -xzf - -C "$incoming"
chmod 755 "$incoming"/*
if test -e {trainer} && ! diff -r --no-dereference -x __pycache__ "$incoming/trainer" {trainer} >/dev/null 2>&1; then
  mv -T {trainer} "$incoming/other"; echo {other}
fi
test -e {trainer} || mv -T "$incoming/trainer" {trainer}
mv -T "$incoming/run" {board}
"""
_OTHER = "another trainer was there"


class ActionModule(Action):
    """place_run: see plugins/modules/place_run.py."""

    def act(self, options: dict[str, Any]) -> dict[str, Any]:
        script = _SCRIPT.format(
            home=shlex.quote(options["home"]),
            trainer=shlex.quote(options["trainer"]["path"]),
            board=shlex.quote(options["board_dir"]),
            other=shlex.quote(_OTHER),
        )
        done = ask(self, f"sh -c {shlex.quote(script)}", in_data=_packed(options))
        if done["rc"]:
            told = " ".join((done["stderr"] or done["stdout"]).split())
            return {"failed": True, "msg": f"the run cannot be copied to the board: {told}"}
        if _OTHER not in done["stdout"]:
            return {"changed": True}
        path = options["trainer"]["path"]
        return {"changed": True, "warnings": [f"somebody has changed {path} on {self.board}: it has been replaced"]}


def _packed(options: dict[str, Any]) -> bytes:
    """An archive with the run's files in run/, and with trainer/."""
    run_json = (Path(options["run_dir"]) / RUN).read_bytes()
    tf_config = (json.dumps(options["tf_config"], indent=1) + "\n").encode()
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz", compresslevel=1) as archive:
        for name, content, mode in (
            (RUN, run_json, 0o644),
            (TF_CONFIG, tf_config, 0o644),
            (PEERS_KEY, shared.peers_key().read_bytes(), 0o600),
        ):
            member = tarfile.TarInfo(f"run/{name}")
            member.size, member.mode = len(content), mode
            archive.addfile(member, io.BytesIO(content))
        if options["records"]:
            archive.add(options["records"], "run", filter=_anonymous)
        with tarfile.open(options["trainer"]["source"]) as source:
            for member in source:
                content_file = source.extractfile(member)
                member.name = f"trainer/{member.name}"
                archive.addfile(member, content_file)
    return packed.getvalue()


def _anonymous(member: tarfile.TarInfo) -> tarfile.TarInfo:
    """The member without the controller's owner, which the board does not know."""
    member.uid = member.gid = 0
    member.uname = member.gname = ""
    member.mode = 0o755 if member.isdir() else 0o644
    return member
