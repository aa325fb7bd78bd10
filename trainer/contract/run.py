"""run.json: one execution of a configuration on boards in rank order. Standard library only, Python 3.8 syntax."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Dict, List, Optional

from trainer.contract import reading, schema1
from trainer.contract.config import Config, ConfigError, parse
from trainer.contract.fields import shown

# train; without training: probe (times a step and an all-reduce), trial (times every method in turn), predict (measures
# what a prediction needs)
TASKS = ("train", "probe", "trial", "predict")


@dataclass(frozen=True)
class Run:
    """The content of run.json: one execution of a configuration on boards in rank order."""

    run_id: str
    task: str  # one of TASKS
    experiment: str  # name of the preset in experiments/
    workers: int
    seed: int
    boards: List[str]  # inventory names in rank order; the first is chief
    config: Config
    assets: Dict[str, Dict[str, Any]]  # dataset, weights: path on the board, sha256
    trainer_sha256: str  # of the trainer's source as staged
    git_commit: Optional[str]
    git_dirty: Optional[bool]
    study: Optional[str] = None  # study/arm/repeat; null outside a study
    git_changed: Optional[List[str]] = None  # files of code with uncommitted changes
    speeds: Optional[List[float]] = None  # of the boards, relative to each other, as the inventory gives them
    # of its study: factors, the fields that its arms differ in; primary, the arm that was named beforehand
    design: Optional[Dict[str, Any]] = None


def load_run(path: Path) -> Run:
    """The run described by a run.json. Raises ConfigError where the file does not describe one."""
    try:
        raw = reading.read(path)
    except (OSError, ValueError) as error:
        raise ConfigError([f"{path} cannot be read as a run: {error}"]) from error
    if not isinstance(raw, dict):
        raise ConfigError([f"{path} is {shown(raw)}, not a run: write it with playbooks/run_experiment.yml"])
    names = [item.name for item in dataclasses.fields(Run)]
    needed = [item.name for item in dataclasses.fields(Run) if item.default is dataclasses.MISSING]
    missing = [name for name in needed if name not in raw]
    if missing:
        raise ConfigError([f"{path} lacks {', '.join(missing)}: write it with playbooks/run_experiment.yml"])
    raw = schema1.run(raw)
    own = {name: raw[name] for name in names if name in raw and name != "config"}
    problems = [f"{path}: {name} is {shown(raw[name.partition('.')[0]])}" for name in reading.fit(Run, own)]
    problems += [f"{path}: {name} is null" for name in needed if raw[name] is None and not name.startswith("git_")]
    if not problems:
        nameless = [name for name in (own["run_id"], *own["boards"]) if not reading.is_name(name)]
        problems += [f"{path}: {shown(name)} is not the name of a folder" for name in nameless]
        if not own["workers"] == len(own["boards"]) == len(set(own["boards"])):
            problems.append(f"{path}: workers is {own['workers']}, but boards lists {len(set(own['boards']))}")
    if problems:
        raise ConfigError(problems)
    return Run(**own, config=parse(raw["config"]))
