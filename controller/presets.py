"""Presets: experiments/*.yml, which may extend each other and differ by the number of boards."""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from controller import strict_yaml
from trainer.contract import layout
from trainer.contract.config import ConfigError
from trainer.contract.fields import closest, shown, whole_number

_BY_WORKERS = "give fields by the number of boards from which they hold, such as 8: {sync: {period: 8}}"
_EXAMPLE = '-e \'{"override": {"epochs": 3}}\''


def _presets(project: Path) -> dict[str, Path]:
    return {path.stem: path for path in layout.entries(project / "experiments", "*.yml")}


def configuration(
    request: Mapping[str, Any], project: Path, problems: list[str], workers: int | None = None
) -> dict[str, Any]:
    """The request's preset for `workers` boards with its override on top, not yet checked.

    If `workers` is null (unknown or invalid), the preset's by_workers is ignored.
    """
    parts = _preset(str(request["experiment"]), "experiment", _presets(project), problems, workers)
    if isinstance(request["override"], dict):
        parts.append(request["override"])
    else:
        problems.append(f"override is {brief(request['override'])}; give a mapping of fields, such as {_EXAMPLE}")
    return functools.reduce(merged, parts, {})


def _preset(
    name: str, asked_by: str, known: Mapping[str, Path], problems: list[str], workers: int | None
) -> list[Mapping[str, Any]]:
    """The preset of this name on top of those that it extends."""
    if name not in known:
        known_ones = ", ".join(known) or "none"
        problems.append(f"{asked_by} is {brief(name)}; presets in experiments/: {known_ones}{closest(name, known)}")
        return []
    file = f"experiments/{name}.yml"
    if asked_by == "experiment" and not re.fullmatch(r"[\w.+-]{1,100}", name):
        problems.append(f"{file}: its name becomes part of the run's id; use up to 100 letters, digits, '_', '-', '.'")
    try:
        preset = strict_yaml.read(known[name], file)
    except ConfigError as error:
        problems += error.problems
        return []
    if not isinstance(preset, (dict, type(None))):
        problems.append(f"{file} is {shown(preset)}; give a mapping of fields, such as epochs: 3")
        return []
    preset = preset or {}
    below = preset.pop("extends", None)
    own = [preset, *_for_workers(preset.pop("by_workers", None), file, problems, workers)]
    if below is None:
        return own
    if not isinstance(below, str):
        problems.append(f"extends in {file} is {shown(below)}; give the name of one preset")
        return own
    others = {other: path for other, path in known.items() if other != name}  # prevents cycles
    return [*_preset(str(below), f"extends in {file}", others, problems, workers), *own]


def _for_workers(given: Any, file: str, problems: list[str], workers: int | None) -> list[Mapping[str, Any]]:
    """The entries of by_workers that apply to `workers` boards, ascending: later ones override earlier ones."""
    if given is None:
        return []
    if not isinstance(given, dict):
        problems.append(f"by_workers in {file} is {shown(given)}; {_BY_WORKERS}")
        return []
    found: dict[int, Mapping[str, Any]] = {}
    for least, fields in given.items():
        number = whole_number(least)
        if number is None or number < 1:
            problems.append(f"by_workers in {file} has the key {brief(least)}; {_BY_WORKERS}")
        elif not isinstance(fields, dict):
            problems.append(f"by_workers: {number} in {file} is {shown(fields)}; give a mapping of fields")
        else:
            found[number] = fields
    return [found[number] for number in sorted(found) if workers is not None and number <= workers]


def merged(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """`below` updated with `above`, nested mappings included."""
    both = dict(below)
    for key, value in above.items():
        nested = isinstance(value, dict) and isinstance(below.get(key), dict)
        both[key] = merged(below[key], value) if nested else value
    return both


def brief(value: Any) -> str:
    """A value as text for a message, cut off where it is long."""
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:80]}..."
