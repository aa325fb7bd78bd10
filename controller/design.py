"""A study's design: the fields that its arms differ in (factors), and the arm that the verdict judges (primary).

Both are part of every run's run.json, so that they are known to have been fixed before the first run was made.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from controller.presets import configuration
from trainer.contract.config import Config, ConfigError, known_keys, parse, to_dict
from trainer.contract.fields import closest, shown

_FACTS = ("power_mode",)  # of boards, which may be a factor too
_IMAGES = "data."  # fields that no factor may be: other images are another task


def declared(raw: Mapping[str, Any]) -> dict[str, Any]:
    """The design as a run keeps it; empty if the study declares nothing."""
    return {key: raw[key] for key in ("factors", "primary") if key in raw}


def problems(raw: Mapping[str, Any], arms: Mapping[Any, Any], project: Path) -> Iterator[str]:
    """Factors that cannot be, a primary arm that is none, and fields that differ without being factors."""
    primary, factors = raw.get("primary"), raw.get("factors", [])
    if isinstance(primary, str) and primary not in arms:
        yield f"primary is {primary!r}; give one of the arms: {', '.join(map(str, arms))}"
    if not isinstance(factors, list):
        return
    known = [*(key for key in known_keys(Config) if not key.startswith(_IMAGES)), *_FACTS]
    for factor in factors:
        if str(factor).startswith(_IMAGES):
            yield f"factors has {factor}, but arms that differ in images are not comparable: leave it out"
        elif factor not in known:
            near = closest(factor, known) if isinstance(factor, str) else ""
            yield f"factors has {shown(factor)}; give fields of experiments/reference.yml, or power_mode{near}"
    undeclared = sorted(_differing(raw, arms, project) - set(map(str, factors)))
    if undeclared:
        yield (
            f"the arms differ in {', '.join(undeclared)}, so that their runs would not be compared: list "
            f"{'it' if len(undeclared) == 1 else 'them'} under factors, or give all arms the same"
        )


def _differing(raw: Mapping[str, Any], arms: Mapping[Any, Any], project: Path) -> set[str]:
    """Fields in which arms differ though `compare` takes them for equal; arms that cannot be read are passed over."""
    # imported late: pandas takes a second
    from analysis.comparison.compare import MAY_DIFFER
    from analysis.runs.loading import flatten

    values: dict[str, set[str]] = {}
    for arm in arms.values():
        request = {
            "experiment": raw.get("experiment", "paper"),
            "override": {},
            **(arm if isinstance(arm, dict) else {}),
        }
        unread: list[str] = []
        try:
            config = parse(configuration(request, project, unread))
        except ConfigError:
            continue
        if unread:
            continue
        for name, value in flatten("config", to_dict(config)).items():
            values.setdefault(name, set()).add(shown(value))
    differ = (name for name, own in values.items() if len(own) > 1 and not name.startswith(MAY_DIFFER))
    return {name.removeprefix("config.") for name in differ}
