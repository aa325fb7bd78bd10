"""Follows the trainer on one board; the followers of all boards run in parallel on the controller."""

from __future__ import annotations

import functools
import json
import os
import shlex
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from ansible.errors import AnsibleConnectionFailure
from ansible.utils.display import Display

from analysis.runs.progress import ODD, Progress
from controller.answer import ask
from controller.mirror import Look, Mirror
from controller.plugins import shared
from controller.plugins.base import Action
from controller.plugins.clock_offset import ask_time
from trainer.contract import clocks, layout, records
from trainer.contract.causes import REMEDIES, Cause
from trainer.contract.cluster import dispensable
from trainer.contract.layout import BOARDS, LEFT, LOST, RUN, entries, write_json
from trainer.contract.reading import printable, read

_GONE = 2  # consecutive looks without a supervisor or result
_RESTARTS, _RESTARTS_S = 3, 600.0  # a board's supervisor is started again at most 3 times in 600 s
_VERDICT_S = 20.0  # time for the other boards to report how they ended
_display = Display()


class ActionModule(Action):
    def act(self, options: dict[str, Any]) -> dict[str, Any]:
        run_dir = Path(options["run_dir"])
        run = read(run_dir / RUN)
        local = run_dir / BOARDS / self.board
        local.mkdir(parents=True, exist_ok=True)
        self._restarts: list[float] = []
        self._named_for = 0
        chief, goes_on = run["boards"][0], run["config"].get("on_board_loss") == "continue"
        # of a run that goes on without lost boards, another one may become chief
        speaks = shared.watched().exists() and (goes_on or self.board == chief)
        servers = run["config"].get("servers", 0)
        progress = Progress(run["config"]["epochs"], run["workers"] - servers, chief) if speaks else None
        options = {**options, "restart": options["restart"] if goes_on else []}
        started = options["started"]
        if started.get("rc", 0) != 0:
            said = " ".join((started.get("stderr") or started.get("msg") or "no reason given").split())
            result = _lost(local, "never_started", f"its supervisor ended with code {started['rc']}: {said}")
        else:
            clock = local / layout.CLOCK
            self._note_clock(clock, "start")
            mirror = Mirror(local, options["board_dir"], options["poll_s"])
            result = self._follow(options, run_dir, mirror, progress)
            mirror.end()
            self._note_clock(clock, "end")
        if result["status"] == "succeeded":
            return {"changed": True, "status": "succeeded"}
        spare = run["boards"].index(self.board) in dispensable(run["workers"], servers)
        if result["status"] == "failed" and (spare or (goes_on and not _is_last(run_dir, self.board, run["workers"]))):
            lost = f"{self.board} is lost, and the others go on without it: {result['cause']}"
            _display.display(printable(f"  {lost}"))
            return {"changed": True, "status": "failed", "msg": lost}
        if result["status"] == "failed":
            _claim(run_dir / LOST, self.board)
        return {"failed": True, "status": result["status"], "msg": f"{self.board}: {result['cause']}"}

    def _follow(
        self, options: dict[str, Any], run_dir: Path, mirror: Mirror, progress: Progress | None
    ) -> dict[str, Any]:
        """Look until this board has ended or must be stopped; returns its result, or what is known instead."""
        local = run_dir / BOARDS / self.board
        controller = os.getppid()
        seen_s, gone, end_s = time.monotonic(), 0, None
        while True:
            look = self._look(mirror)
            now = time.monotonic()
            if look is not None:
                seen_s = now
                if look.asks is not None:
                    self._name(options, run_dir, look.asks)
                if progress:
                    _tell(run_dir, progress, look.lines, self.board)
                # the supervisor may find a better cause once it has heard the other boards
                result = look.result
                if result is not None and look.whole and (result["status"] == "succeeded" or not look.running):
                    return result
                gone = 0 if look.running or result is not None else gone + 1
                if gone >= _GONE and self._restart(options):
                    gone = 0
                if gone >= _GONE:  # the collect stage finds out what happened
                    return {"status": "failed", "cause": "no process and no result of the run is left"}
            elif now - seen_s > options["unreachable_limit_s"]:
                return _lost(local, "unreachable", f"the board has been unreachable for {now - seen_s:.0f} s")
            if os.getppid() != controller:
                sys.exit(1)  # killed: the boards continue, and playbooks/collect.yml collects them
            if shared.interrupted().exists():
                return {"status": "interrupted", "cause": "stopped from the controller"}
            if (run_dir / LOST).exists():
                end_s = end_s or now + _VERDICT_S
                if now > end_s:
                    if look is None:
                        return _lost(local, "unreachable", f"the board has been unreachable for {now - seen_s:.0f} s")
                    return {"status": "lost", "cause": f"stopped, because {_first(run_dir / LOST)} failed"}
            time.sleep(options["poll_s"])

    def _name(self, options: dict[str, Any], run_dir: Path, number: int) -> None:
        """Name this board for a generation, between two halves of the boards, unless another one was named for it."""
        note = run_dir / f"{layout.GRANTED}{number}"
        if self._named_for != number and _named(note, self.board) == self.board:
            grant = shlex.quote(f"{options['board_dir']}/{layout.GRANT}")
            content = json.dumps({"number": number}).encode()
            with suppress(AnsibleConnectionFailure):  # it asks again
                done = ask(self, f"cat > {grant}.part && mv {grant}.part {grant}", in_data=content)
                if done["rc"] == 0:
                    self._named_for = number

    def _restart(self, options: dict[str, Any]) -> bool:
        """Start the supervisor of a board again that has none any more; whether that was possible."""
        key, argv = shared.peers_key(), options["restart"]
        now = time.monotonic()
        self._restarts = [at for at in self._restarts if now - at < _RESTARTS_S]
        if not argv or len(self._restarts) >= _RESTARTS or not key.exists():  # another controller's key
            return False
        self._restarts.append(now)
        environment, source = self._compute_environment_string({}), options["trainer_dir"]
        command = f"cd {shlex.quote(source)} && {environment} {shlex.join([*argv, '--rejoin'])}"
        placed = shlex.quote(f"{options['board_dir']}/{layout.PEERS_KEY}")
        try:
            ask(self, f"umask 077; cat > {placed}", in_data=key.read_bytes())
            done = ask(self, command)
        except AnsibleConnectionFailure:
            return True  # it counts as unreachable now
        said = "" if done["rc"] == 0 else f", in vain: {' '.join((done['stderr'] or done['stdout']).split())}"
        _display.display(printable(f"  {self.board} had lost its supervisor, and was started again{said}"))
        return bool(done["rc"] == 0)

    def _note_clock(self, path: Path, moment: str) -> None:
        """Record the board's clock offset at the start or end of the run, unless the board is gone."""
        known = read(path) if path.exists() else {}
        try:
            known[moment] = clocks.measure(functools.partial(ask_time, self))
        except AnsibleConnectionFailure as error:
            _display.vv(f"cannot read the time of {path.parent.name}: {error}")
        else:
            with suppress(OSError):  # a full disk here must not end a run
                write_json(path, known)

    def _look(self, mirror: Mirror) -> Look | None:
        """The result of a look at the board; None if it cannot be reached."""
        try:
            done = ask(self, mirror.command(), sudoable=False)
        except AnsibleConnectionFailure as error:
            # training continues: look again
            _display.vv(f"cannot reach {self.board}: {error}")
            mirror.lose(str(error))
            return None
        return mirror.take(done["stdout"])


def _named(note: Path, board: str) -> str | None:
    """The board that was named, this one if none was; None if that cannot be written."""
    try:
        draft = note.with_name(f"{note.name}-{board}")
        draft.write_text(board, encoding="utf-8")
        with suppress(FileExistsError):
            os.link(draft, note)  # whole or not at all, and once only
        draft.unlink()
        return note.read_text(encoding="utf-8")
    except OSError:
        return None


def _is_last(run_dir: Path, board: str, workers: int) -> bool:
    """Whether all other boards of the run have failed, now that this one has."""
    with suppress(OSError):  # of a full disk: the manifest tells it all the same
        (run_dir / BOARDS / board / LEFT).touch()
    return len(list((run_dir / BOARDS).glob(f"*/{LEFT}"))) >= workers


def _tell(run_dir: Path, progress: Progress, lines: list[bytes], board: str) -> None:
    """Print a line per epoch of the chief, with the latest samples of all boards."""
    for line in lines:
        with suppress(*ODD):
            said = progress.take(records.parse_record(line), _latest_samples(run_dir))
            if said and progress.chief == board:
                _display.display(printable(f"  {said}"))


def _latest_samples(run_dir: Path) -> dict[str, dict[str, Any]]:
    """Latest samples by board, from the copies of all followers."""
    found = {home.name: records.last_sample(home / layout.TELEMETRY) for home in entries(run_dir / BOARDS)}
    return {board: sample for board, sample in found.items() if sample}


def _lost(local: Path, kind: str, sentence: str) -> dict[str, Any]:
    """Record the controller's view of a board that cannot write a result."""
    cause = Cause(kind, sentence)
    result: dict[str, Any] = {
        "status": "failed",
        "cause": cause.sentence,
        "exit_code": None,
        "started_s": time.time(),
        "ended_s": time.time(),
        "epochs_completed": 0,
        "facts": {},
        "cause_kind": cause.kind,
        "remedy": REMEDIES[cause.kind],
    }
    with suppress(OSError):  # of a full disk: the result is shown all the same
        write_json(local / LOST, result)
    return result


def _claim(path: Path, board: str) -> None:
    """Note that this board failed first, unless another one did."""
    with suppress(OSError), path.open("x", encoding="utf-8") as file:  # it is there, or the disk is full
        json.dump({"board": board}, file)


def _first(path: Path) -> str:
    """The board that failed first; of a disk that was full, the note is empty."""
    try:
        return printable(str(read(path)["board"]))
    except (OSError, ValueError, KeyError, TypeError):
        return "another board"
