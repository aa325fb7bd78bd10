"""The names and values of older versions, and what they are now. Nothing else knows them.

Run folders of schema 1 have other names; those of schema 2 may have a truth value in model.xla, and sync.one_board
instead of strategy.

manifest.json and result.json have no other names than before. Standard library only, Python 3.8 syntax.
"""

from __future__ import annotations

import json
from typing import Any, Dict, Mapping, Optional

SCHEMA = 1
_SECTION = "sync"
_OPTIONS = {"way": "method"}  # fields of `Sync`
_RECORDS = {"average": {"stood_s": "stall_s"}, "choice": {"way": "method"}}  # by event
_ONE_BOARD, _STRATEGY = "one_board", {"plain": "none", "mwms": "multi_worker_mirrored"}  # sync.one_board, strategy
_XLA = {False: "none", True: "autoclustering"}
_VALUES: Dict[str, Dict[str, Dict[Any, str]]] = {  # by event and field
    "trial": {"sync": {"no exchange": "no_sync"}},
    "start": {"xla": _XLA},
}


def run(raw: Mapping[str, Any]) -> Dict[str, Any]:
    """The content of a run.json of either schema, with the names of this one."""
    config = raw.get("config")
    if not isinstance(config, dict):
        return dict(raw)
    model, section = config.get("model"), config.get(_SECTION)
    if isinstance(model, dict) and isinstance(model.get("xla"), bool):
        config = {**config, "model": {**model, "xla": _XLA[model["xla"]]}}
    if made(raw) and isinstance(section, dict):
        section = {_OPTIONS.get(name, name): value for name, value in section.items()}
        config = {**config, _SECTION: section}
    if isinstance(section, dict) and _ONE_BOARD in section:
        # on several boards it said nothing, and plain is what one board does without a strategy's name
        alone = raw.get("workers") == 1 and section[_ONE_BOARD] == "mwms"
        config = {**config, _SECTION: {name: value for name, value in section.items() if name != _ONE_BOARD}}
        config["strategy"] = _STRATEGY["mwms"] if alone else None
    return {**raw, "config": config}


def made(raw: Mapping[str, Any]) -> bool:
    """Whether the version before wrote this run.json, so that the run's trainer is that version's."""
    return raw.get("schema") == SCHEMA


def translate_record(record: Dict[str, Any]) -> None:
    """Give a record of events.jsonl the names of this schema, those that are values too.

    Records carry no number, and have no need of one: no kind has an old name for something else.
    """
    for old, new in _RECORDS.get(record["event"], {}).items():
        if old in record:
            record[new] = record.pop(old)
    for field, values in _VALUES.get(record["event"], {}).items():
        if record.get(field) in values:
            record[field] = values[record[field]]


def replaced(key: str, value: Any) -> Optional[str]:
    """What to write instead of a field's value that older versions took; null where it was never one."""
    truth = {"true": True, "false": False, "yes": True, "no": False, "on": True, "off": False}
    meant = truth.get(value.lower()) if isinstance(value, str) else value
    if key != "model.xla" or not isinstance(meant, bool):
        return None
    written = json.dumps(value) if isinstance(value, bool) else value
    return f"{key} is {written}; it now names how to compile: write model: {{xla: {_XLA[meant]}}}"


def renamed(key: str, value: Any) -> Optional[str]:
    """What to write instead of a key of the configuration, such as sync.way; null where it was never one."""
    section, _, name = key.rpartition(".")
    if section == _SECTION and name == _ONE_BOARD:
        strategy = _STRATEGY.get(str(value), "none")
        return f"{key} is now strategy: write strategy: {strategy}, and leave {key} out"
    if section != _SECTION or name not in _OPTIONS:
        return None
    written = value if isinstance(value, str) else json.dumps(value, default=str)
    return f"{key} is now {section}.{_OPTIONS[name]}: write {section}: {{{_OPTIONS[name]}: {written}}}"
