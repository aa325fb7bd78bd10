"""Stops a run on a board, fetches its files and deletes them there."""

from __future__ import annotations

import contextlib
import re
import shlex
from pathlib import Path
from typing import Any

from ansible.errors import AnsibleActionFail, AnsibleError

from analysis.runs.unpacking import MAX_BYTES, UnpackError, unpack
from controller.answer import ask, fetch
from controller.plugins.base import Action
from trainer.contract.layout import BOARDS, OF_BOARD

# Read from standard input, so that the shell's own command line does not match the run. A trainer with a result only
# waits for others to exit and is terminated; otherwise the supervisor stops it and writes a result.
_STOP_AND_PACK = """\
board={board}
test -d "$board" || exit 0
busy() {{ grep -qsF "$board/run.json" /proc/[0-9]*/cmdline; }}
if test -e "$board/tf_config.json"; then
  if test -s "$board/result.json" && busy; then
    kill -TERM "$(cat "$board/supervisor.pid")" 2>/dev/null
    left=100
    while busy && test $left -gt 0; do sleep 0.1; left=$((left - 1)); done
  fi
  if busy || ! test -s "$board/result.json"; then
    supervisor=trainer.supervise.supervisor
    test -e {trainer}/trainer/supervise || supervisor=trainer.supervisor # a run of the version before
    (cd {trainer} && {python} -m $supervisor --config "$board/run.json" --stop)
  fi
fi
# in memory, because the disk may be full; by a name that no other account can have taken
rm -f /dev/shm/{run_id}.*.tar.gz # of an attempt to fetch it that was cut
archive=$(umask 077; mktemp /dev/shm/{run_id}.XXXXXX.tar.gz) || exit 1
if tar --use-compress-program="gzip -1" --exclude=./run.json --exclude=./supervisor.pid --exclude=./heartbeat.json \
  --exclude=./progress --exclude=./reserve --exclude=./peers.key --exclude=./generation.json \
  --exclude=./membership.json --exclude=./grant.json --exclude='*.part' -cf "$archive" -C "$board" .
then echo {packed} "$(stat -c %s "$archive")" "$archive"; else rm -f "$archive"; exit 1; fi
"""
_PACKED = "the run is packed"


class ActionModule(Action):
    def act(self, options: dict[str, Any]) -> dict[str, Any]:
        home = Path(options["run_dir"]) / BOARDS / self.board
        home.mkdir(parents=True, exist_ok=True)
        run_id = Path(options["board_dir"]).name
        script = _STOP_AND_PACK.format(
            board=shlex.quote(options["board_dir"]),
            run_id=shlex.quote(run_id),
            trainer=shlex.quote(options["trainer_dir"]),
            python=shlex.quote(options["python"]),
            packed=shlex.quote(_PACKED),
        )
        done = ask(self, "sh -s", in_data=script.encode())
        if _PACKED not in done["stdout"]:
            if done["rc"] == 0:
                return {"changed": False}  # the board has no files of the run
            raise AnsibleActionFail(
                f"the run cannot be packed on the board ({' '.join(done['stderr'].split())}): it stays in "
                f"{options['board_dir']} there; correct that, then run playbooks/collect.yml -e "
                f"run_id={run_id}"
            )
        size, _, archive = done["stdout"].rpartition(_PACKED)[2].strip().partition(" ")
        if not re.fullmatch("[0-9]{1,15}", size) or int(size) > MAX_BYTES:
            raise AnsibleActionFail(
                f"the board says that its packed run has {size[:40]!r} bytes; at most {MAX_BYTES} are fetched: it "
                f"stays in {options['board_dir']} there; delete what is large in it, then run playbooks/collect.yml -e "
                f"run_id={run_id}"
            )
        try:
            left_out = self._unpack(archive, int(size), home, run_id)
        except AnsibleError:
            with contextlib.suppress(AnsibleError):  # it occupies memory that the board needs
                ask(self, f"rm -f -- {shlex.quote(archive)}")
            raise
        # only now: files that could not be fetched stay on the board
        ask(self, f"rm -rf -- {shlex.join([archive, options['board_dir']])}")
        warnings = [f"{self.board} has {sentence}: left out of the run" for sentence in left_out]
        return {"changed": True, "warnings": warnings}

    def _unpack(self, archive: str, size: int, home: Path, run_id: str) -> list[str]:
        """Fetch and unpack the archive; returns a sentence for each member that was left out."""
        local = home.with_name(f"{home.name}.tar.gz")  # a board's name may contain dots
        try:
            with local.open("wb") as file:
                fetch(self, archive, size, file.write)
            return unpack(local, home, wanted=_foreign, strict=False)  # one invalid member must not lose the logs
        except (OSError, UnpackError) as error:
            raise AnsibleActionFail(
                f"the board's logs arrived incomplete ({error}): run playbooks/collect.yml -e run_id={run_id}"
            ) from error
        finally:
            local.unlink(missing_ok=True)


def _foreign(parts: tuple[str, ...]) -> str | None:
    return None if parts[:1] in [(), *((name,) for name in OF_BOARD)] else "no file that the kit writes on a board"
