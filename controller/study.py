"""Studies: arms x repeats. Reads a study, finds its runs, and estimates the time of the missing ones.

A repeat has one run of every arm, all with the same seed, so that arms can be compared in pairs; within a repeat the
arms come in a random order (a randomised complete block design: Box, Hunter, Hunter, "Statistics for Experimenters",
2005, chapter 4), so that a drift over time, such as the room's temperature, does not look like an effect of an arm.
A run's run.json has its place: study/arm/repeat, and the study's design: `factors`, the fields that its arms differ in
beside boards and synchronisation, and `primary`, the arm that the verdict judges, both fixed before the first run.
"""

from __future__ import annotations

import difflib
import os
import random
import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from analysis.runs.errors import AnalysisError
from analysis.runs.manifest import read_manifest
from controller import design, strict_yaml
from controller.foretell import expected
from controller.presets import configuration
from controller.resolve import LARGEST_SEED
from trainer.contract import schema1
from trainer.contract.config import Config, ConfigError, parse, to_dict
from trainer.contract.fields import closest, shown, whole_number
from trainer.contract.layout import RUN, entries, run_folders
from trainer.contract.reading import read

_STUDY = {"experiment": str, "repeats": int, "order_seed": int, "arms": dict, "factors": list, "primary": str}
_MOST_REPEATS = 1000
_ARM = {"workers": int, "experiment": str, "override": dict}


@dataclass(frozen=True)
class Slot:
    """A planned run of a study."""

    study: str
    arm: str
    repeat: int  # from 1; also the run's seed
    workers: int
    experiment: str
    override: dict[str, Any]
    design: dict[str, Any] = field(default_factory=dict)  # factors and primary, as far as the study gives them

    @property
    def name(self) -> str:
        return f"{self.study}/{self.arm}/{self.repeat}"


@dataclass(frozen=True)
class State:
    """The runs found for a slot."""

    slot: Slot
    succeeded: Path | None  # the run that counts: the latest one that succeeded
    tried: list[Path]  # its other collected runs


def slots(name: str, project: Path, boards: Sequence[str], repeats: int | None = None) -> list[Slot]:
    """The planned runs of studies/NAME.yml, or of the file at the path `name`, in order.

    `repeats` replaces the study's number. Raises AnalysisError with all problems, including those of the arms'
    configurations.
    """
    known = {path.stem: path for path in entries(project / "studies", "*.yml")}
    path = Path(os.path.expanduser(name))  # noqa: PTH111  Path's own raises where there is no such user
    if path.suffix == ".yml" and os.path.lexists(path):  # Path.exists raises if a name is too long
        known, name = {path.stem: path}, path.stem
    if name not in known:
        listed = ", ".join(known)
        near = closest(name, known)
        raise AnalysisError(
            f"study is {name!r}; studies in studies/: {listed}; give one, or the path of a .yml file{near}"
        )
    file = known[name].name
    try:
        raw = strict_yaml.read(known[name], file)
    except ConfigError as error:
        raise AnalysisError("\n".join(error.problems)) from error
    if repeats is not None and isinstance(raw, dict):
        raw = {**raw, "repeats": repeats}
    problems = [f"{file}: {problem}" for problem in _problems(raw, project, boards)]
    if problems:
        raise AnalysisError("\n".join(problems))
    order = random.Random(raw["order_seed"])
    declared = design.declared(raw)
    planned = []
    for repeat in range(1, raw["repeats"] + 1):
        for arm in order.sample(sorted(raw["arms"]), len(raw["arms"])):
            fields = raw["arms"][arm]
            experiment = fields.get("experiment", raw.get("experiment", "paper"))
            planned.append(Slot(name, arm, repeat, fields["workers"], experiment, fields.get("override", {}), declared))
    return planned


def rounds(planned: Sequence[Slot], runs_dir: Path, project: Path) -> int:
    """How often the study, as it is now, was completed."""
    found = _by_slot(runs_dir)
    made = [
        [folder for folder, run in found.get(slot.name, []) if not _different(slot, run, project)] for slot in planned
    ]
    return min(sum(_status(folder) == "succeeded" for folder in folders) for folders in made)


def states(planned: Sequence[Slot], runs_dir: Path, project: Path, skip: int | None = None) -> list[State]:
    """The runs in runs_dir for each slot.

    `skip`: the number of successful runs per slot that belong to earlier rounds; runs with another configuration do
    too. Without it, a run with another configuration raises AnalysisError.
    """
    found = _by_slot(runs_dir)
    if skip is not None:
        return [
            _state(
                slot, _later([it for it, run in found.get(slot.name, []) if not _different(slot, run, project)], skip)
            )
            for slot in planned
        ]
    problems = [
        f"{folder.name} is a run of {slot.name}, but with another {', '.join(different)}: move its folder "
        "away to repeat it, or give the study another name"
        for slot in planned
        for folder, run in found.get(slot.name, [])
        if (different := _different(slot, run, project))
    ]
    if problems:
        raise AnalysisError("\n".join(problems))
    return [_state(slot, [folder for folder, _ in found.get(slot.name, [])]) for slot in planned]


def _by_slot(runs_dir: Path) -> dict[str, list[tuple[Path, dict[str, Any]]]]:
    found: dict[str, list[tuple[Path, dict[str, Any]]]] = {}
    for folder, run in _labelled(runs_dir):
        found.setdefault(run["study"], []).append((folder, run))
    return found


def _later(folders: list[Path], skip: int) -> list[Path]:
    """The runs that started after `skip` had succeeded."""
    for index, folder in enumerate(folders):
        if skip == 0:
            return folders[index:]
        skip -= _status(folder) == "succeeded"
    return []


def _status(folder: Path) -> str | None:
    return (read_manifest(folder)[0] or {}).get("status")


def lost(study: str, runs_dir: Path) -> list[Path]:
    """Runs of the study, including measurements, that were started and not collected."""
    of_study = [folder for folder, run in _labelled(runs_dir) if run["study"].startswith(f"{study}/")]
    return [folder for folder in of_study if read_manifest(folder)[0] is None]


def seconds_of(folder: Path) -> float | None:
    """Seconds of a collected run, from its start on the controller to the end of its last board.

    None if no board reported its end, or if the folder was renamed. The manifest's time is not used: it may be
    rewritten later.
    """
    ended_s = (read_manifest(folder)[0] or {}).get("ended_s")
    try:
        began = datetime.strptime(folder.name.partition("-")[0], "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
    except ValueError:
        return None
    return None if ended_s is None else float(ended_s) - began.timestamp()


def left_s(found: Sequence[State], expected_s: Mapping[str, float]) -> float | None:
    """Seconds for the missing runs: the median of the arm's runs, else the expected time.

    None if nothing is known about an arm.
    """
    by_arm: dict[str, list[float]] = {}
    for state in found:
        seconds = seconds_of(state.succeeded) if state.succeeded else None
        if seconds is not None:
            by_arm.setdefault(state.slot.arm, []).append(seconds)
    known = {**expected_s, **{arm: statistics.median(seconds) for arm, seconds in by_arm.items()}}
    missing = [state.slot.arm for state in found if not state.succeeded]
    return sum(known[arm] for arm in missing) if set(missing) <= known.keys() else None


def expected_s(slot: Slot, project: Path, boards: Sequence[str], runs_dir: Path) -> float | None:
    """Predicted seconds of the slot's run, from earlier measurements; None without matching ones.

    The controller's time before and after is not included.
    """
    found = expected(_config(slot, project), slot.workers, boards, [runs_dir, project / ".cache" / "probes"])
    return None if found is None else found.total_s


def _config(slot: Slot, project: Path) -> Config:
    return parse(configuration({"experiment": slot.experiment, "override": slot.override}, project, [], slot.workers))


def _state(slot: Slot, folders: list[Path]) -> State:
    status = {folder: _status(folder) for folder in folders}
    succeeded = [folder for folder in folders if status[folder] == "succeeded"]
    tried = [folder for folder in folders if status[folder] and folder not in succeeded[-1:]]
    return State(slot, succeeded[-1] if succeeded else None, tried)


def _labelled(runs_dir: Path) -> Iterator[tuple[Path, dict[str, Any]]]:
    """Runs of any study with their run.json."""
    for folder in run_folders(entries(runs_dir)):
        try:
            run = schema1.run(read(folder / RUN))
        except (OSError, ValueError):
            continue  # `load` reports it
        if isinstance(run.get("study"), str) and run["study"]:
            yield folder, run


def _different(slot: Slot, run: Mapping[str, Any], project: Path) -> list[str]:
    """Fields in which a run differs from its slot."""
    wanted = to_dict(_config(slot, project))
    try:
        made = to_dict(parse(run.get("config") or {}))  # a field newer than the run has its default
    except ConfigError:
        return ["version of the configuration"]
    pairs = {"workers": (slot.workers, run.get("workers")), "seed": (slot.repeat, run.get("seed"))}
    pairs |= {name: (wanted[name], made[name]) for name in wanted}
    return [name for name, (now, then) in pairs.items() if now != then]


def _problems(raw: Any, project: Path, boards: Sequence[str]) -> Iterator[str]:
    if not isinstance(raw, dict):
        yield f"is {shown(raw)}; give a mapping of {', '.join(_STUDY)}"
        return
    yield from _fields("", raw, _STUDY, ["repeats", "order_seed", "arms"])
    repeats, order_seed, arms = (raw.get(key) for key in ("repeats", "order_seed", "arms"))
    if isinstance(repeats, int) and repeats < 1:
        yield f"repeats is {repeats}; give 1 or more, and 3 or more for intervals"
    if isinstance(repeats, int) and repeats > _MOST_REPEATS:
        yield f"repeats is {repeats}, each of them a run of every arm; give {_MOST_REPEATS} or less"
    if isinstance(order_seed, int) and not 0 <= order_seed <= LARGEST_SEED:
        yield f"order_seed is {order_seed}; give 0 to {LARGEST_SEED}"
    if not isinstance(arms, dict):
        return
    yield from design.problems(raw, arms, project)
    if not arms:
        yield "arms is empty; give one or more, such as one_board: {workers: 1}"
    for name, arm in arms.items():
        if not isinstance(name, str) or not name.strip() or "/" in name or not name.isprintable():
            yield f"arms has {name!r}; give a name without / and line breaks"
        elif not isinstance(arm, dict):
            yield f"arms.{name} is {shown(arm)}; give a mapping of {', '.join(_ARM)}"
        else:
            yield from _fields(f"arms.{name}.", arm, _ARM, ["workers"])
            yield from (f"arms.{name}: {problem}" for problem in _arm_problems(arm, raw, project, boards))


def _arm_problems(arm: Mapping[str, Any], raw: Mapping[str, Any], project: Path, boards: Sequence[str]) -> list[str]:
    problems: list[str] = []
    workers = arm.get("workers")
    if isinstance(workers, int) and not 1 <= workers <= len(boards):
        problems.append(f"workers is {workers}, but there are {len(boards)} boards: give 1 to {len(boards)}")
    request = {
        "experiment": arm.get("experiment", raw.get("experiment", "paper")),
        "override": arm.get("override", {}),
    }
    before = len(problems)
    fields = configuration(request, project, problems, whole_number(workers))
    try:
        config = parse(fields, partly=len(problems) > before)
    except ConfigError as error:
        problems += error.problems
    else:
        problems += config.problems_with(workers) if isinstance(workers, int) and workers > 0 else []
    return problems


def _fields(prefix: str, raw: Mapping[Any, Any], known: Mapping[str, type], needed: Sequence[str]) -> Iterator[str]:
    for key, value in raw.items():
        if key not in known:
            close = difflib.get_close_matches(str(key), known, n=1)
            meant = f"did you mean {close[0]}?" if close else f"known keys: {', '.join(known)}"
            yield f"unknown key {prefix}{key}; {meant}"
        elif not isinstance(value, known[key]) or isinstance(value, bool):
            words = {str: "text", int: "a whole number", dict: "a mapping", list: "a list"}
            yield f"{prefix}{key} is {shown(value)}; give {words[known[key]]}"
    yield from (f"{prefix}{key} is missing" for key in needed if key not in raw)
