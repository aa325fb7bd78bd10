"""Resolves an experiment and the user's overrides to a complete run, or to all of its problems.

It does not reach a board. Afterwards, the files that boards need (the trainer's source, data set, weights) are on the
controller.
"""

from __future__ import annotations

import contextlib
import fcntl
import gzip
import hashlib
import io
import math
import secrets
import tarfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from analysis.runs.provenance import git_state
from controller import addresses, assets, foretell, resume, witness
from controller.presets import brief, configuration
from trainer.contract import layout, pytorch_limits
from trainer.contract.config import Config, ConfigError, parse, to_dict
from trainer.contract.fields import closest, number, whole_number
from trainer.contract.layout import SCHEMA
from trainer.contract.run import TASKS, Run
from trainer.contract.strategies import MULTI_WORKER_MIRRORED, NONE, PYTORCH

LARGEST_SEED = 2**32 - 1  # limit of NumPy and Keras


def resolve(request: Mapping[str, Any]) -> dict[str, Any]:
    """The requested run: `run` is the content of run.json, the rest are paths and assets.

    `request` has task, experiment, override, workers, seed, project (the checkout), runs_dir, board_home (the kit's
    folder on the boards), boards (all names in rank order), and for each board its relative speed (speeds), its address
    in the training network (addresses) and for ssh (ssh_addresses). A run of a study has its place in it as `study`,
    and the study's factors and primary arm as `design`. To resume a run, `resume` is its name, `given` the options
    that the user gave with it, and `replace` new boards by the names of lost ones; to follow and collect an earlier
    run, `run_id` is its name. `witness` names a host that breaks ties, one of `hosts`. With `check`, nothing is written
    or fetched, and files that would be fetched are missing from the answer. Raises ConfigError with every problem
    found.
    """
    if request.get("run_id") is not None:
        return resume.adopt(request)
    check = bool(request.get("check"))
    with contextlib.nullcontext() if check else _one_at_a_time(Path(request["project"])):
        return resume.plan(request) if request.get("resume") is not None else _begun(request)


def _begun(request: Mapping[str, Any]) -> dict[str, Any]:
    project, home = Path(request["project"]), str(request["board_home"])
    problems: list[str] = []
    boards = [str(name) for name in request["boards"]]
    workers = _whole_number(request, "workers", problems)
    seed = _whole_number(request, "seed", problems)
    if workers is not None and not 1 <= workers <= len(boards):
        problems.append(
            f"workers is {workers}, but there are {len(boards)} boards: give 1 to {len(boards)}, or add "
            "boards to the group 'boards' in the inventory's hosts.yml (--limit excludes some)"
        )
    if request.get("replace"):
        problems.append("replace is given without resume: give resume, the id of the run to resume on other boards")
    if seed is not None and not 0 <= seed <= LARGEST_SEED:
        problems.append(f"seed is {seed}; give 0 to {LARGEST_SEED}, such as -e seed=1")
    task, experiment = str(request["task"]), str(request["experiment"])
    if task not in TASKS:
        problems.append(f"run_config_task is {task!r}; give one of {', '.join(TASKS)}{closest(task, TASKS)}")
    speeds = _speeds(request, boards, problems)
    problems += addresses.problems_in(request, boards[:workers] if workers and workers > 0 else boards)
    before = len(problems)
    raw = configuration(request, project, problems, workers)
    understood = len(problems) == before
    config = _section(raw, "", problems, partly=not understood)
    if config is not None and understood and workers is not None and workers > 0:
        problems += config.problems_with(workers)
        problems += witness.problems(config, boards[:workers], request)
        strategy = config.strategy_on(workers)
        if config.engine == PYTORCH:
            if task in TASKS and task not in pytorch_limits.TASKS:
                problems.append(
                    f"run_config_task is {task}, which engine pytorch does not have: give one of "
                    f"{', '.join(pytorch_limits.TASKS)}"
                )
        elif task != "train" and strategy not in (NONE, MULTI_WORKER_MIRRORED):
            problems.append(f"run_config_task is {task}, which measures no strategy {strategy}: leave strategy out")
    staged: dict[str, assets.Asset] = {}
    if understood:
        try:
            # also look for files if other fields are wrong, so that one message has all problems
            data, model = _section(raw, "data", []), _section(raw, "model", [])
            sections = (data.data if data else None, model.model if model else None)
            staged = assets.prepare(*sections, project, download=config is not None and not request.get("check"))
        except ConfigError as error:
            problems += error.problems
    if problems or config is None or workers is None or seed is None:
        raise ConfigError(problems)
    source, trainer_sha256 = _pack_trainer(project, write=not request.get("check"))
    commit, changed = git_state(project)
    began = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
    run = Run(
        run_id=f"{began}-{experiment}{'' if task == 'train' else '-' + task}-w{workers}-s{seed}-{secrets.token_hex(3)}",
        task=task,
        experiment=experiment,
        workers=workers,
        seed=seed,
        boards=boards[:workers],
        config=config,
        assets={kind: {"path": asset.board_path(home), "sha256": asset.sha256} for kind, asset in staged.items()},
        trainer_sha256=trainer_sha256,
        git_commit=commit,
        git_dirty=None if changed is None else bool(changed),
        git_changed=changed,
        study=request.get("study") or None,
        speeds=speeds[:workers],
        design=request.get("design") or None,
    )
    return {
        "run": {"schema": SCHEMA, **asdict(run), "config": to_dict(config)},
        "run_dir": str(Path(request["runs_dir"]) / run.run_id),
        "board_dir": f"{home}/runs/{run.run_id}",
        "trainer": {"source": str(source), "path": f"{home}/trainer/{trainer_sha256[:16]}"},
        "assets": [asset.staging(home) for asset in staged.values()],
        "witness": witness.host(config, request),
        "prediction": _prediction(run, [Path(request["runs_dir"]), project / ".cache" / "probes"]),
    }


def _prediction(run: Run, places: Sequence[Path]) -> dict[str, Any] | None:
    found = foretell.expected(run.config, run.workers, run.boards, places) if run.task == "train" else None
    return None if found is None else asdict(found)


def _whole_number(request: Mapping[str, Any], name: str, problems: list[str]) -> int | None:
    found = whole_number(request[name])  # Ansible passes -e workers=2 as text
    if found is None:
        wanted = f"a whole number from 0 to {LARGEST_SEED}" if name == "seed" else "a whole number"
        problems.append(f"{name} is {brief(request[name])}; give {wanted}, such as -e {name}=1")
    return found


def _speeds(request: Mapping[str, Any], boards: Sequence[str], problems: list[str]) -> list[float]:
    found = []
    for board, given in zip(boards, request.get("speeds") or [1] * len(boards), strict=False):
        speed = number(given) or math.nan
        if not 0 < speed < math.inf:
            problems.append(f"relative_speed of {board} is {given!r}; give a number above 0, such as 0.5")
        found.append(speed)
    return found


def _section(raw: dict[str, Any], name: str, problems: list[str], partly: bool = False) -> Config | None:
    """The configuration, or one with a single section; None and the problems if it is invalid."""
    try:
        return parse({name: raw[name]} if name and name in raw else {} if name else raw, partly)
    except ConfigError as error:
        problems.extend(error.problems)
        return None


@contextlib.contextmanager
def _one_at_a_time(project: Path) -> Iterator[None]:
    """A lock for runs that start at the same time on other boards: they share the cache."""
    path = project / ".cache" / "lock"
    path.parent.mkdir(exist_ok=True)
    with path.open("w", encoding="ascii") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _pack_trainer(project: Path, write: bool) -> tuple[Path, str]:
    """An archive of the trainer's source, and the checksum of its content."""
    packed, digest = io.BytesIO(), hashlib.sha256()
    with tarfile.open(fileobj=packed, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        for path in (path for path in layout.files(project / "trainer") if path.suffix == ".py"):
            member = tarfile.TarInfo(str(path.relative_to(project)))
            content = path.read_bytes()
            member.size, member.mode = len(content), 0o644
            archive.addfile(member, io.BytesIO(content))
            digest.update(f"{member.name} {member.size}\n".encode() + content)
    target = project / ".cache" / f"trainer-{digest.hexdigest()[:16]}.tar.gz"
    if write and not target.exists():
        target.parent.mkdir(exist_ok=True)
        draft = target.with_suffix(".part")
        draft.write_bytes(gzip.compress(packed.getvalue(), mtime=0))
        draft.replace(target)
    return target, digest.hexdigest()
