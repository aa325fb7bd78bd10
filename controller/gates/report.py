"""`python -m controller.gates.report`: judges the boards' facts on the controller.

Reads a request as JSON on standard input and prints the report as JSON: findings, waived gates, facts, and the lines to
show. roles/check collects the facts from the boards (trainer/supervise/facts.py, files/measure.py).
"""

from __future__ import annotations

import dataclasses
import json
import sys
from collections.abc import Mapping
from typing import Any

from controller import addresses
from controller.gates import answers
from controller.gates.board import REFUSE, Needs
from controller.gates.judge import judge
from controller.gates.table import lines
from trainer.contract.config import ConfigError


def report(request: Mapping[str, Any]) -> dict[str, Any]:
    """gates.json's content, `refused`, and the lines to show. Raises ConfigError for an invalid request."""
    wanted: Mapping[str, Any] = request["needs"]
    types = {"int": int, "float": float, "str": str, "bool": bool}
    # YAML reads 2.10 as the number 2.1
    texts = [field.name for field in dataclasses.fields(Needs) if field.type == "str"]
    numbers = {name: wanted[name] for name in texts if isinstance(wanted[name], float)}
    if numbers:
        why = "a number, and 2.10 would become 2.1: put it in quotes"
        raise ConfigError([f"check_{name} is {number}, {why}" for name, number in numbers.items()])
    needs = Needs(**{field.name: types[str(field.type)](wanted[field.name]) for field in dataclasses.fields(Needs)})
    waive = request["waive"].split(",") if isinstance(request["waive"], str) else list(request["waive"])
    odd = addresses.problems_with(list(request["answers"]), request.get("training_addresses", {}), request["addresses"])
    if odd:
        raise ConfigError(odd)
    boards = {name: answers.read(answer, request["addresses"][name]) for name, answer in request["answers"].items()}
    for name, answer in request.get("tried", {}).items():
        boards[name]["nccl_trial"] = answers.trial(answer)
    for name, answer in request.get("torch_tried", {}).items():
        boards[name]["torch_trial"] = answers.torch_trial(answer)
    answered = [name for name, facts in boards.items() if "error" not in facts]
    measured = [record for printed in request["measured"] for record in answers.measured(printed, answered)]
    findings = judge(boards, needs, waive, measured)
    found = [dataclasses.asdict(finding) for finding in findings]
    return {
        "findings": found,
        "waived": waive,
        "needs": dataclasses.asdict(needs),
        "boards": boards,
        "measured": measured,
        "refused": any(finding.severity == REFUSE and not finding.waived for finding in findings),
        "lines": lines(found, list(boards), measured),
    }


def main() -> int:
    try:
        answer: dict[str, Any] = report(json.load(sys.stdin))
    except ConfigError as error:
        answer = {"refused": True, "lines": error.problems}
    print(json.dumps(answer))
    return 0


if __name__ == "__main__":
    sys.exit(main())
