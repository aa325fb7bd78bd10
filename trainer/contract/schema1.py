"""The names of the version before, whose run folders have schema 1, and what they are now. Nothing else knows them.

manifest.json and result.json have no other names than before. Standard library only, Python 3.8 syntax.
"""

from __future__ import annotations

import json
from typing import Any, Dict, Mapping, Optional

SCHEMA = 1
_SECTION = "sync"
_OPTIONS = {"way": "method"}  # fields of `Sync`
_RECORDS = {"average": {"stood_s": "stall_s"}, "choice": {"way": "method"}}  # by event
_VALUES = {"trial": {"sync": {"no exchange": "no_sync"}}}  # by event and field


def run(raw: Mapping[str, Any]) -> Dict[str, Any]:
    """The content of a run.json of either schema, with the names of this one."""
    config = raw.get("config")
    if not made(raw) or not isinstance(config, dict) or not isinstance(config.get(_SECTION), dict):
        return dict(raw)
    section = {_OPTIONS.get(name, name): value for name, value in config[_SECTION].items()}
    return {**raw, "config": {**config, _SECTION: section}}


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


def renamed(key: str, value: Any) -> Optional[str]:
    """What to write instead of a key of the configuration, such as sync.way; null where it was never one."""
    section, _, name = key.rpartition(".")
    if section != _SECTION or name not in _OPTIONS:
        return None
    written = value if isinstance(value, str) else json.dumps(value, default=str)
    return f"{key} is now {section}.{_OPTIONS[name]}: write {section}: {{{_OPTIONS[name]}: {written}}}"
