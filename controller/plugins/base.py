"""What the kit's actions have in common: their options, the board's name, and check mode."""

from __future__ import annotations

from abc import abstractmethod
from pathlib import Path
from typing import Any, ClassVar

from ansible.parsing.plugin_docs import read_docstring
from ansible.plugins.action import ActionBase

from analysis.runs.errors import AnalysisError

_MODULES = Path(__file__).resolve().parents[2] / "plugins/modules"
_CHECKED = ("type", "elements", "required", "default", "choices")


class Action(ActionBase):
    """An action with the options that plugins/modules/NAME.py documents; NAME is its own module's."""

    spec: ClassVar[dict[str, dict[str, Any]]]
    board: str  # inventory name of the host
    task_vars: dict[str, Any]

    def __init_subclass__(cls) -> None:
        # here, since Ansible imports an action once, and then forks for each task and board
        cls.spec = documented(cls.__module__.rpartition(".")[2])

    def run(self, tmp: Any = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        answer: dict[str, Any] = super().run(tmp, task_vars)
        _, options = self.validate_argument_spec(self.spec)
        self.task_vars = task_vars or {}
        self.board = self.task_vars["inventory_hostname"]
        try:
            return answer | (self.preview(options) if self._task.check_mode else self.act(options))
        except AnalysisError as error:  # a sentence for people
            return answer | {"failed": True, "msg": str(error)}

    @abstractmethod
    def act(self, options: dict[str, Any]) -> dict[str, Any]:
        """Do what the task says, which check mode never does; returns the task's result. Raises AnalysisError."""

    def preview(self, options: dict[str, Any]) -> dict[str, Any]:
        """What would be done, in check mode; changes nothing on controller and board."""
        return {"changed": True}


def documented(name: str) -> dict[str, dict[str, Any]]:
    """The options of a module's DOCUMENTATION as Ansible's argument specification has them; a password is no_log."""
    options = read_docstring(str(_MODULES / f"{name}.py"), ignore_errors=False)["doc"]["options"]
    spec = {option: {key: about[key] for key in _CHECKED if key in about} for option, about in options.items()}
    if "password" in spec:
        spec["password"]["no_log"] = True
    return spec
