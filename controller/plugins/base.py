"""Base class of the kit's actions: options, the board's name, check mode."""

from __future__ import annotations

from abc import abstractmethod
from pathlib import Path
from typing import Any, ClassVar

from ansible.errors import AnsibleActionFail, AnsibleConnectionFailure
from ansible.parsing.plugin_docs import read_docstring
from ansible.plugins.action import ActionBase

from analysis.runs.errors import AnalysisError
from trainer.contract.reading import printable

_MODULES = Path(__file__).resolve().parents[2] / "plugins/modules"
_CHECKED = ("type", "elements", "required", "default", "choices")


class Action(ActionBase):
    """An action with the options documented in plugins/modules/NAME.py, NAME being its module's name."""

    spec: ClassVar[dict[str, dict[str, Any]]]
    board: str  # inventory name of the host
    task_vars: dict[str, Any]

    def __init_subclass__(cls) -> None:
        # imported once here: Ansible forks for each task and board
        cls.spec = documented(cls.__module__.rpartition(".")[2])

    def run(self, tmp: Any = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        answer: dict[str, Any] = super().run(tmp, task_vars)
        _, options = self.validate_argument_spec(self.spec)
        self.task_vars = task_vars or {}
        self.board = self.task_vars["inventory_hostname"]
        try:
            answer |= self.preview(options) if self._task.check_mode else self.act(options)
        except AnalysisError as error:  # the message is a sentence for the user
            answer |= {"failed": True, "msg": str(error)}
        except (AnsibleActionFail, AnsibleConnectionFailure) as error:
            raise type(error)(printable(str(error), keep="\n")) from None
        # a board may have written parts of them
        if "msg" in answer:
            answer["msg"] = printable(str(answer["msg"]), keep="\n")
        if "warnings" in answer:
            answer["warnings"] = list(map(printable, answer["warnings"]))
        return answer

    @abstractmethod
    def act(self, options: dict[str, Any]) -> dict[str, Any]:
        """Do the task and return its result; not called in check mode. Raises AnalysisError."""

    def preview(self, options: dict[str, Any]) -> dict[str, Any]:
        """The result in check mode; changes nothing on controller or board."""
        return {"changed": True}


def documented(name: str) -> dict[str, dict[str, Any]]:
    """A module's documented options as an Ansible argument spec; passwords are no_log."""
    options = read_docstring(str(_MODULES / f"{name}.py"), ignore_errors=False)["doc"]["options"]
    spec = {option: {key: about[key] for key in _CHECKED if key in about} for option, about in options.items()}
    if "password" in spec:
        spec["password"]["no_log"] = True
    return spec
