"""Reads what boards answer to the gates' questions, as if strangers had written it.

An answer is taken if it is JSON of the declared shape; what else is in it is kept. A shape is a type, None, a tuple of
alternatives, `[shape]` for a list, `{...: shape}` for a mapping of any names, or an object's fields by name, of which
those with a question mark may be missing.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from controller.gates.board import Facts
from trainer.contract import releases
from trainer.contract.collectives import collectives_in
from trainer.contract.config import ConfigError
from trainer.contract.reading import Unreadable, is_number, known, parse

_SHOWN = 200  # characters of an invalid answer
_MOST_BYTES = 1_000_000  # of an answer
_Shape = Any
_TEXT, _COUNT, _NUMBER = (str, None), (int, None), (float, None)
_PORT: _Shape = {"free": bool, "pid": _COUNT, "command": _TEXT}
_FACTS: _Shape = {  # of trainer.supervise.facts.survey
    **dict.fromkeys(("release", "l4t_package", "module", "power_mode", "power_mode_id"), _TEXT),
    **dict.fromkeys(("disk_free_bytes", "memory_available_bytes", "swap_used_bytes", "cores"), _COUNT),
    **dict.fromkeys(("sent_s", "began_s", "ended_s"), float),
    **dict.fromkeys(("machine?", "python?", "os?"), _TEXT),
    "emulated": ({"link_rate_bit_per_s?": _COUNT}, None),
    "nccl": ({"tensorflow?": _TEXT, "capable?": (bool, None), "evidence?": _TEXT}, None),
    "clock": ({}, None),
    "venv": ({"python?": _TEXT, "tensorflow?": _TEXT, "pytorch?": _TEXT, "packages?": {...: str}}, None),
    "home": (
        {
            **dict.fromkeys(("path", "missing", "kind", "source", "inside"), _TEXT),
            **dict.fromkeys(("device", "inode", "changed_ns"), _COUNT),
        },
        None,
    ),
    "gpu_mask": ({...: str}, None),
    "frequencies_hz": ({...: [int]}, None),
    "temperature_c": _NUMBER,
    "throttles": [str],
    "lock": ({"run_id?": _TEXT, "owner?": _TEXT, "since_s?": float}, None),
    "port": _PORT,
    "server_ports": {...: _PORT},
    "tpus": [str],
    "trainers": [{"pid": int, "command": str}],
    "routes": {...: ({"dev": str, "wireless": bool}, None)},
    "addresses": ({...: [str]}, None),
    "own_address": {"given": str, "address": _TEXT},
    "firewall": {"ports": ([int], None), "unit": _TEXT},
    "link": ({"dev": str, "mtu_bytes": _COUNT, "bit_per_s": _COUNT, "duplex": _TEXT}, None),
}
_OLD_PYTHON: _Shape = {"old_python": str, "release": _TEXT}  # of files/begin.py
_MEASURED: _Shape = [  # of files/measure.py
    {"from": str, "to": str, "error?": str, "bit_per_s?": float, "round_trip_s?": float, "tool?": str}
]


def read(answer: Mapping[str, Any], address: str) -> Facts:
    """The facts in a board's answer (direct_command's result); `address` is its ssh address."""
    printed = str(answer.get("stdout", ""))
    if answer.get("unreachable") or answer.get("rc") != 0:
        why = answer.get("stderr") or answer.get("msg") or "no reason given"
        error = {"error": " ".join(why.replace("Task failed: ", "").split()), "address": address}
        old, problem = _parsed(printed, _OLD_PYTHON)
        if not problem:
            return {**error, **old, "jetpack": releases.jetpack(old["release"], None)}
        return {**error, "rc": answer.get("rc")}
    facts, problem = _parsed(printed, _FACTS)
    clocks = {} if problem else facts["frequencies_hz"] or {}
    if not problem and not all(len(limits) == 2 for limits in clocks.values()):
        problem = "printed facts with an odd frequencies_hz:"
    if problem:
        return {"error": f"it {problem} {printed[:_SHOWN]!r}", "rc": 0, "address": address}
    ahead_s, behind_s = facts["ended_s"] - answer["received_s"], facts["sent_s"] - facts["began_s"]
    # the messages took time: only a difference that their delay cannot explain is a clock error
    facts["clock_error_s"] = ahead_s if ahead_s > 0 else min(0.0, -behind_s)
    facts["jetpack"] = releases.jetpack(facts["release"], facts["l4t_package"])
    return dict(facts)


def measured(printed: str, boards: Collection[str]) -> list[dict[str, Any]]:
    """The links that a board has measured to others. Raises ConfigError where it printed something else."""
    records, problem = _parsed(printed, _MEASURED)
    for record in [] if problem else records:
        complete = "error" in record or {"bit_per_s", "round_trip_s", "tool"} <= record.keys()
        if not {record["from"], record["to"]} <= set(boards) or not complete:
            problem = "lacks what was measured, or names a board that was not asked:"
    if problem:
        raise ConfigError(
            [f"a board's measurement of its links {problem} {printed[:_SHOWN]!r}; check its python3 and repeat"]
        )
    return [dict(record) for record in records]


def trial(answer: Mapping[str, Any]) -> dict[str, Any]:
    """The collective that ran when NCCL was asked for, and any error, from the result of all_reduce.py."""
    said = answer.get("stderr") or answer.get("msg") or ""
    last = ([line for line in said.splitlines() if line.strip()] or ["no output"])[-1].strip()
    error = {0: None, 124: "an all-reduce with NCCL did not end"}.get(answer.get("rc", 1), last)
    return {"used": collectives_in(said), "error": error}


def torch_trial(answer: Mapping[str, Any]) -> dict[str, Any]:
    """Any error of an all-reduce by PyTorch, from the result of torch_all_reduce.py."""
    said = answer.get("stderr") or answer.get("msg") or ""
    last = ([line for line in said.splitlines() if line.strip()] or ["no output"])[-1].strip()
    return {"error": {0: None, 124: "an all-reduce did not end"}.get(answer.get("rc", 1), last[:_SHOWN])}


def _parsed(printed: str, shape: _Shape) -> tuple[Any, str]:
    """The JSON in an answer, and why it is not of the shape, or nothing."""
    if len(printed) > _MOST_BYTES:
        return None, f"printed {len(printed)} characters, which begin with"
    try:
        value = known(parse(printed), [])
    except Unreadable:
        return None, "printed"
    odd = _misfit(value, shape)
    return value, f"printed facts with an odd {odd}:" if odd else ""


def _misfit(value: Any, shape: _Shape, name: str = "form") -> str:
    """The name of the first value that is not of its shape; empty where all are."""
    if isinstance(shape, tuple):
        misfits = [_misfit(value, each, name) for each in shape]
        return "" if "" in misfits else max(misfits, key=len)
    if isinstance(shape, list):
        if not isinstance(value, list):
            return name
        return next((odd for each in value if (odd := _misfit(each, shape[0], name))), "")
    if isinstance(shape, dict):
        return _misfit_in(value, shape, name)
    if shape is None:
        return "" if value is None else name
    if shape in (int, float):
        return "" if is_number(value) and (shape is float or isinstance(value, int)) else name
    return "" if isinstance(value, shape) else name


def _misfit_in(value: Any, shape: Mapping[Any, _Shape], name: str) -> str:
    if not isinstance(value, dict):
        return name
    if ... in shape:
        return next((odd for key, each in value.items() if (odd := _misfit(each, shape[...], name))), "")
    for key, expected in shape.items():
        field = key.rstrip("?")
        if field in value or field == key:
            odd = _misfit(value[field], expected, field) if field in value else field
            if odd:
                return odd
    return ""
