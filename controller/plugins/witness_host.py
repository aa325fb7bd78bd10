"""Starts and ends the host that breaks ties between halves of a run's boards; see trainer/supervise/witness.py."""

from __future__ import annotations

import io
import re
import shlex
import tarfile
from pathlib import Path
from typing import Any

from controller.answer import ask
from controller.plugins import shared
from controller.plugins.base import Action

_SOURCE = "trainer/supervise/witness.py"  # in an archive of the trainer
_HOME = "cd && umask 077 && home=.cluster-kit/witness/{run}"
_END = 'pid=$(cat "$home/pid" 2>/dev/null) && grep -q witness.py "/proc/$pid/cmdline" 2>/dev/null && kill "$pid"'
_START = 'mkdir -p "$home" && tar -xzf - -C "$home" && {python} "$home/witness.py" "$home" {limit_s:g} {address}'


class ActionModule(Action):
    """witness_host: see plugins/modules/witness_host.py."""

    def act(self, options: dict[str, Any]) -> dict[str, Any]:
        home = _HOME.format(run=shlex.quote(options["run_id"]))
        # what an earlier attempt of the run left had another key
        ended = f'{home} && {{ {_END}; rm -rf -- "$home"; }}'
        if options["state"] == "absent":
            return {"changed": ask(self, ended)["rc"] == 0, "address": ""}
        python, address = shlex.quote(options["python"]), shlex.quote(options["address"])
        start = _START.format(python=python, limit_s=options["limit_s"], address=address)
        done = ask(self, f"{ended} && {start}", in_data=_packed(Path(options["trainer"])))
        port = done["stdout"].strip()
        if done["rc"] or not re.fullmatch("[0-9]{1,5}", port):
            told = " ".join((done["stderr"] or done["stdout"]).split())
            return {"failed": True, "msg": f"the witness does not start: {told}; it needs Python 3.8 and tar"}
        return {"changed": True, "address": options["address"] + f":{port}"}


def _packed(trainer: Path) -> bytes:
    """An archive with the witness' program and the key."""
    with tarfile.open(trainer) as archive:
        program = archive.extractfile(_SOURCE)
        assert program is not None
        contents = {"witness.py": program.read(), "key": shared.peers_key().read_bytes()}
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as archive:
        for name, content in contents.items():
            member = tarfile.TarInfo(name)
            member.size, member.mode = len(content), 0o600
            archive.addfile(member, io.BytesIO(content))
    return packed.getvalue()
