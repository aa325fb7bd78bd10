"""Follows the trainer on one board; every board's follower runs at the same time, on the controller."""

from __future__ import annotations

import json
import shlex
import time
from pathlib import Path
from typing import Any

from ansible.errors import AnsibleConnectionFailure
from ansible.plugins.action import ActionBase
from ansible.utils.display import Display

_MARK = "---result---"
_LOST = "lost.json"  # in the run's folder while it is followed: which board failed first
_display = Display()


class ActionModule(ActionBase):
    """follow_run: see library/follow_run.py."""

    def run(self, tmp: Any = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        answer: dict[str, Any] = super().run(tmp, task_vars)
        _, arguments = self.validate_argument_spec(
            {
                "board_dir": {"type": "path", "required": True},
                "run_dir": {"type": "path", "required": True},
                "timeout_s": {"type": "float", "required": True},
                "poll_s": {"type": "float", "default": 2.0},
            }
        )
        board = (task_vars or {})["inventory_hostname"]
        run_dir = Path(arguments["run_dir"])
        run = json.loads((run_dir / "run.json").read_text(encoding="utf-8"))
        local = run_dir / "boards" / board
        local.mkdir(parents=True, exist_ok=True)
        records = _Records(local / "events.jsonl", run["config"]["epochs"], board == run["boards"][0])
        lost = run_dir / _LOST
        deadline = time.monotonic() + arguments["timeout_s"]
        while True:
            result = self._look(arguments["board_dir"], records)
            if result is not None:
                break
            if lost.exists():
                first = json.loads(lost.read_text(encoding="utf-8"))["board"]
                return {
                    **answer,
                    "failed": True,
                    "status": "lost",
                    "msg": f"stopped, because {first} failed",
                }
            if time.monotonic() > deadline:
                result = {
                    "status": "lost",
                    "cause": f"no result after {arguments['timeout_s']:.0f} s",
                }
                break
            time.sleep(arguments["poll_s"])
        if result["status"] != "succeeded":
            _claim(lost, board)
            return {
                **answer,
                "failed": True,
                "status": result["status"],
                "msg": f"{board}: {result['cause']}",
            }
        return {**answer, "changed": True, "status": "succeeded"}

    def _look(self, board_dir: str, records: _Records) -> dict[str, Any] | None:
        """Take over what is new; returns the result once there is one."""
        folder = shlex.quote(board_dir)
        command = (
            f"tail -c +{records.size + 1} {folder}/events.jsonl 2>/dev/null; "
            f"echo {_MARK}; cat {folder}/result.json 2>/dev/null; true"
        )
        try:
            done = self._low_level_execute_command(command, sudoable=False)
        except AnsibleConnectionFailure as error:
            # training goes on without us: look again
            _display.vv(f"lost sight of {board_dir}: {error}")
            return None
        new, _, result = done["stdout"].partition(_MARK)
        records.take(new)
        return json.loads(result) if result.strip() else None


class _Records:
    """The controller's copy of a board's events.jsonl while it grows."""

    def __init__(self, path: Path, epochs: int, talk: bool) -> None:
        self._path, self._epochs, self._talk = path, epochs, talk
        self.size = path.stat().st_size if path.exists() else 0
        self._rest = ""
        self._first_epoch_s: float | None = None

    def take(self, text: str) -> None:
        with self._path.open("ab") as file:
            content = text.encode()
            file.write(content)
            self.size += len(content)
        *lines, self._rest = (self._rest + text).split("\n")
        for line in lines:
            if self._talk and line:
                self._tell(json.loads(line))

    def _tell(self, record: dict[str, Any]) -> None:
        if record["event"] == "start":
            _display.display(
                f"  {record['workers']} board(s), {record['steps_per_epoch']} steps of {record['board_batch']} images "
                f"an epoch on each; {record['gradient_bytes'] / 1e6:.1f} MB of gradient a step"
            )
        elif record["event"] == "epoch":
            left = (self._epochs - record["epoch"]) * record["epoch_s"]
            _display.display(
                f"  epoch {record['epoch']:>3}/{self._epochs}  loss {record['loss']:.3f}  "
                f"val_accuracy {record['val_accuracy']:.3f}  {record['epoch_s']:.1f} s  about {left:.0f} s left"
            )


def _claim(path: Path, board: str) -> None:
    """Say that this board failed first, unless another one did."""
    try:
        with path.open("x", encoding="utf-8") as file:
            json.dump({"board": board}, file)
    except FileExistsError:
        pass
