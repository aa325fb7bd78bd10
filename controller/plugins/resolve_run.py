"""Resolves a run on the controller, or reports all problems."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml
from ansible.errors import AnsibleError
from ansible.module_utils.common.validation import check_type_list
from ansible.utils.display import Display

from analysis.runs.progress import duration
from controller import inputs, notes, resolve
from controller.gates.judge import unknown_gates
from controller.plugins.base import Action
from controller.plugins.shared import notes_folder
from trainer.contract.config import ConfigError

_display = Display()


class ActionModule(Action):
    """resolve_run: see plugins/modules/resolve_run.py."""

    def act(self, options: dict[str, Any]) -> dict[str, Any]:
        return self._answer(options, check=False)

    def preview(self, options: dict[str, Any]) -> dict[str, Any]:
        return self._answer(options, check=True)

    def _answer(self, options: dict[str, Any], check: bool) -> dict[str, Any]:
        stages = [*self._problems(Path(options["project"]), options["stages"], options["boards"])]
        notes.folder = notes_folder()  # notes of long steps, for the callback elapsed
        try:
            # with other problems, nothing is downloaded or created
            request = {**options, "check": check or bool(stages), "hosts": self.task_vars.get("groups", {}).get("all")}
            answer = resolve.resolve(request)
            problems = stages
        except ConfigError as error:
            problems = error.problems + stages
        except OSError as error:  # of .cache
            problems = [
                f"the checkout cannot be used ({error}): check its owner and the free space of its disk",
                *stages,
            ]
        if problems:
            return {"failed": True, "msg": "\n".join(problems)}
        if answer["prediction"]:
            expected = answer["prediction"]
            _display.display(
                f"  expected: {expected['epoch_s']:.1f} s per epoch, {duration(expected['total_s'])} in total "
                f"(measured in {', '.join(expected['measured_in'])})"
            )
        return {"changed": False, **answer}

    def _problems(self, project: Path, roles: list[str], boards: list[str]) -> Iterator[str]:
        """A sentence for each invalid input of these roles on any board, without duplicates."""
        specs: dict[str, dict[str, Any]] = {}
        for role in roles:
            about = yaml.safe_load((project / f"roles/{role}/meta/argument_specs.yml").read_text(encoding="utf-8"))
            # inputs without a default come from earlier stages
            defaults = yaml.safe_load((project / f"roles/{role}/defaults/main.yml").read_text(encoding="utf-8"))
            entries = about["argument_specs"].values()
            options = {name: option for entry in entries for name, option in entry.get("options", {}).items()}
            specs |= {name: option for name, option in options.items() if name in defaults}
        told: dict[str, None] = {}
        for board in boards:
            own = self.task_vars["hostvars"][board]
            values = {}
            for name in specs:
                try:
                    values[name] = own[name] if name in own else self._templar.template(self.task_vars[name])
                except AnsibleError as error:
                    told[f"{name} cannot be resolved: {error}"] = None
            told |= dict.fromkeys(inputs.problems_with(specs, values))
            with contextlib.suppress(TypeError):  # not a list, which is among the problems already
                told |= dict.fromkeys(unknown_gates(check_type_list(values.get("check_waive") or [])))
        yield from told
