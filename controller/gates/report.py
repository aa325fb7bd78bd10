"""`python -m controller.gates.report`: judges the boards' facts on the controller.

Reads a request as JSON on standard input and prints the report as JSON: findings, waived gates, facts, and the lines to
show. roles/check collects the facts from the boards (trainer/supervise/facts.py, files/measure.py).
"""

from __future__ import annotations

import dataclasses
import json
import sys
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from controller import addresses
from controller.gates.board import REFUSE, Facts, Needs
from controller.gates.judge import judge
from controller.gates.table import lines
from trainer.contract import releases
from trainer.contract.collectives import collectives_in
from trainer.contract.config import ConfigError
from trainer.contract.reading import known, parse

_SHOWN = 200  # characters of an invalid answer


def read(answer: Mapping[str, Any], address: str) -> Facts:
    """The facts in a board's answer (direct_command's result); `address` is its ssh address."""
    if answer.get("unreachable") or answer.get("rc") != 0:
        why = answer.get("stderr") or answer.get("msg") or "no reason given"
        error = {"error": " ".join(why.replace("Task failed: ", "").split()), "address": address}
        if str(answer.get("stdout", "")).startswith('{"old_python"'):  # files/begin.py
            with suppress(ValueError, KeyError, TypeError):
                old = known(parse(answer["stdout"]), [])
                return {**error, **old, "jetpack": releases.jetpack(old["release"], None)}
        return {**error, "rc": answer.get("rc")}
    try:
        facts: Facts = known(parse(answer["stdout"]), [])
        if not isinstance(facts, dict) or "error" in facts:
            raise ValueError
    except ValueError:
        return {"error": f"it printed {answer['stdout'][:_SHOWN]!r}", "rc": 0, "address": address}
    ahead_s, behind_s = facts["ended_s"] - answer["received_s"], facts["sent_s"] - facts["began_s"]
    # the messages took time: only a difference that their delay cannot explain is a clock error
    facts["clock_error_s"] = ahead_s if ahead_s > 0 else min(0.0, -behind_s)
    facts["jetpack"] = releases.jetpack(facts["release"], facts["l4t_package"])
    return facts


def trial(answer: Mapping[str, Any]) -> dict[str, Any]:
    """The collective that ran when NCCL was asked for, and any error, from the result of all_reduce.py."""
    said = answer.get("stderr") or answer.get("msg") or ""
    last = ([line for line in said.splitlines() if line.strip()] or ["no output"])[-1].strip()
    error = {0: None, 124: "an all-reduce with NCCL did not end"}.get(answer.get("rc", 1), last)
    return {"used": collectives_in(said), "error": error}


def _judgeable(name: str, answer: Mapping[str, Any], address: str, needs: Needs) -> Facts:
    """The facts in a board's answer, or an error in place of those that no gate can judge."""
    try:
        facts = read(answer, address)
        judge({name: facts, f"{name} again": facts}, needs)  # beside itself: boards are compared, too
    except (LookupError, TypeError, ValueError, AttributeError, ArithmeticError) as error:
        return {"error": f"its facts cannot be read: {error!r:.200}", "rc": 0, "address": address}
    return facts


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
    boards = {
        name: _judgeable(name, answer, request["addresses"][name], needs) for name, answer in request["answers"].items()
    }
    for name, answer in request.get("tried", {}).items():
        boards[name]["nccl_trial"] = trial(answer)
    measured = [record for printed in request["measured"] for record in parse(printed)]
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
