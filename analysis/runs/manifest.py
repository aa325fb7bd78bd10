"""manifest.json: a run's outcome, its boards, and the checksums of its files.

Ansible's collect stage writes it into the run's folder; `load` reads it. Without it, `load` derives the outcome from
the boards' files (`describe`), but not the energy.
"""

from __future__ import annotations

import dataclasses
import hashlib
import os
import shutil
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from analysis.runs.energy import of_board, of_cluster, training
from analysis.runs.generations import generations
from analysis.runs.timeline import read_clock
from trainer.contract import layout, schema1, strategies
from trainer.contract.causes import first_cause
from trainer.contract.cluster import dispensable
from trainer.contract.collectives import other_than_asked
from trainer.contract.config import ConfigError
from trainer.contract.layout import BOARDS, CHECKPOINTS, EVENTS, LOG, LOST, RESULT, RUN, SCHEMA, write_json
from trainer.contract.reading import fit, is_name, is_number, known, listed, opened, read
from trainer.contract.records import is_moment, read_records
from trainer.contract.results import ENDED, as_result
from trainer.contract.run import Run, load_run

COSTS = ("energy_j", "mean_power_mw", "temperature_max_c")  # of a board, as tables have them
_LOG_END = 1 << 16  # bytes
_STOPPED = "stopped from the controller"


def write_manifest(folder: Path, *, interrupted: bool = False, switch_w: float | None = None) -> dict[str, Any]:
    """Write the manifest of a collected run and return it.

    `interrupted`: whether the controller stopped the run. `switch_w`: see `energy.of_cluster`. Raises ConfigError if
    run.json does not describe a run, OSError if the folder cannot be read or written.
    """
    described = from_records(folder, interrupted=interrupted, switch_w=switch_w)
    boards = [board["name"] for board in described["boards"]]
    for board in boards:
        (folder / BOARDS / board / layout.LIVE).unlink(missing_ok=True)
    if described["status"] == "succeeded":
        for attempt in (folder, *layout.attempts(folder)):
            for checkpoints in (attempt / BOARDS / board / CHECKPOINTS for board in boards):
                if checkpoints.is_dir():
                    shutil.rmtree(checkpoints)  # no longer needed
    sums = checksums(folder, layout.files(folder, boards))
    sums.pop(layout.MANIFEST, None)
    manifest = {**described, "sha256": sums}
    write_json(folder / layout.MANIFEST, manifest)
    return manifest


def from_records(
    folder: Path, run: Run | None = None, *, interrupted: bool = False, switch_w: float | None = None
) -> dict[str, Any]:
    """A manifest without checksums, which follows from the other files of the folder; see `write_manifest`.

    `run`: of a folder without run.json, as an earlier attempt's.
    """
    run = run or load_run(folder / RUN)
    gates, _ = read_object(folder / layout.GATES, ["findings", "waived"])
    return {
        **_of_boards(folder, run, interrupted, switch_w),
        "attempts": [_attempt(attempt) for attempt in layout.attempts(folder)],
        "gates": gates,
    }


def _of_boards(folder: Path, run: Run, interrupted: bool, switch_w: float | None) -> dict[str, Any]:
    """The part that follows from the boards' files."""
    results: dict[str, dict[str, Any] | None] = {}
    starts: dict[str, dict[str, Any]] = {}
    records = {board: _records(folder / BOARDS / board / EVENTS) for board in run.boards}
    for board in run.boards:
        home = folder / BOARDS / board
        results[board] = read_result(home / RESULT)[0] or read_result(home / LOST)[0]
        start = next((record for record in records[board] if record["event"] == "start"), None)
        if start:
            starts[board] = start
    described = describe(run, results, starts, interrupted, generations(run.boards, records))
    return {**described, **_costs(folder, described, switch_w)}


def add_energy(folder: Path, *, switch_w: float | None, wall_meter: Path | None) -> dict[str, Any]:
    """Recompute a run's energy with what boards cannot measure, save it in the manifest, and return the manifest.

    Omitted values are kept from an earlier call. Raises ConfigError if there is no manifest, if the wall meter's file
    cannot be read or does not cover the run, or if values are given for a run whose time is unknown.
    """
    manifest, problem = read_manifest(folder)
    if manifest is None:
        raise ConfigError([f"{folder / layout.MANIFEST} {problem}: collect the run first, with playbooks/collect.yml"])
    given = {"switch_energy_j": switch_w is not None, "wall_energy_j": wall_meter is not None}
    reasons = [_untimed(folder / BOARDS / board["name"]) for board in manifest["boards"]] if any(given.values()) else []
    if all(reasons) and reasons:
        told = "; ".join(reason for reason in reasons if reason)
        raise ConfigError(
            [f"the time of {folder.name}'s training is unknown, so no switch or wall meter can be added: {told}"]
        )
    before = manifest.get("cost") or {}
    manifest |= _costs(folder, manifest, switch_w, wall_meter)
    manifest["cost"] |= {name: before.get(name) for name, now in given.items() if not now}
    write_json(folder / layout.MANIFEST, manifest)
    return manifest


def _costs(
    folder: Path, described: Mapping[str, Any], switch_w: float | None, wall_meter: Path | None = None
) -> dict[str, Any]:
    """The manifest's `boards`, each with cost and clock, and the total cost."""
    boards: list[dict[str, Any]] = []
    trained: list[float] = []  # first steps and ends of last epochs on the controller's clock
    for board in described["boards"]:
        home = folder / BOARDS / board["name"]
        records, clock = _records(home / EVENTS), read_clock(home)
        # copied during the run: the board left no result, so it was not collected
        partial = (home / EVENTS).exists() and not (home / RESULT).exists()
        cost, interval = of_board(_records(home / layout.TELEMETRY), records), training(records)
        boards.append({**board, "partial": partial, "cost": cost, "clock": clock.to_dict() if clock else None})
        if interval and clock:
            trained += clock.on_controller(interval)
    interval = (min(trained), max(trained)) if trained else None
    cluster = of_cluster([board["cost"] for board in boards], interval, switch_w, wall_meter)
    return {"boards": boards, "cost": cluster}


def _untimed(home: Path) -> str | None:
    """Why this board's records do not give the training's time; None if they do."""
    records = _records(home / EVENTS)
    if any(record["event"] == "resume" for record in records):
        return f"{home.name} was resumed, and the time between its attempts is not training"
    if training(records) is None:
        return f"{home.name} ended no epoch"
    return None if read_clock(home) else f"the clock of {home.name} was not measured"


def describe(
    run: Run,
    results: Mapping[str, Mapping[str, Any] | None],
    starts: Mapping[str, Mapping[str, Any]],
    interrupted: bool = False,
    found: Sequence[Mapping[str, Any]] = (),
) -> dict[str, Any]:
    """The manifest's fields without checksums, from the boards' files.

    `results`: result.json by board, None without one; `starts`: the start record by board; `found`: the run's
    generations. A run that went on without boards has succeeded if the last generation's chief has: it has the weights.
    """
    spare = dispensable(run.workers, run.config.servers)  # the others went on without them
    needed = [board for rank, board in enumerate(run.boards) if rank not in spare]
    if len(found) > 1:
        needed = found[-1]["boards"][:1]
    status, cause, culprit = _outcome(needed, results, interrupted)
    if status != "succeeded":
        status, cause, culprit = _outcome(run.boards, results, interrupted)
    first = (results[culprit] if culprit else None) or {}
    ended = [result for result in results.values() if result]
    emulated = [result["facts"].get("emulated") for result in ended]
    synthetic = [start["synthetic"] for start in starts.values() if start["synthetic"] is not None]
    strategy = run.config.strategy_on(run.workers)
    collectives = strategies.found(run.config.engine, strategy).collectives
    asked = run.config.sync.implementation if collectives else None
    ran = [result["facts"].get("collective_used") for result in ended]
    started_s = min((result["started_s"] for result in ended), default=None)
    ended_s = max((result["ended_s"] for result in ended), default=None)
    return {
        "schema": SCHEMA,
        "run_id": run.run_id,
        "experiment": run.experiment,
        "engine": run.config.engine,
        "strategy": strategy,
        "workers": run.workers,
        "seed": run.seed,
        "status": status,
        "cause": cause,
        "culprit": culprit,
        "cause_kind": first.get("cause_kind"),
        "remedy": first.get("remedy"),
        "generations": list(found) or generations(run.boards, {}),
        "boards": [_board(name, rank, results[name], asked) for rank, name in enumerate(run.boards)],
        # the collective that ran, if it is not the one asked for
        "collective": next(filter(None, (other_than_asked(asked, name) for name in ran)), None),
        # null: no board reported it
        "rehearsal": None if set(emulated) <= {None} else any(emulated),
        "synthetic": any(synthetic) if synthetic else None,
        "git_commit": run.git_commit,
        "git_dirty": run.git_dirty,
        "started": _utc(started_s),
        "ended": _utc(ended_s),
        "started_s": started_s,
        "ended_s": ended_s,
    }


def _records(path: Path) -> list[dict[str, Any]]:
    return read_records(path)[0] if path.is_file() else []


def _attempt(folder: Path) -> dict[str, Any]:
    """The outcome of an earlier attempt."""
    manifest, _ = read_manifest(folder)
    names = ("status", "cause", "culprit", "cause_kind", "started", "ended")
    return {name: (manifest or {}).get(name) for name in names}


def log_tail(folder: Path, board: str, lines: int = 8) -> list[str]:
    """The last non-empty lines of a board's log; none without a log."""
    try:
        with opened(folder / BOARDS / board / LOG) as file:
            file.seek(max(0, os.fstat(file.fileno()).st_size - _LOG_END))
            log = file.read(_LOG_END).decode("utf-8", errors="replace")
    except OSError:
        return []
    return [line.rstrip() for line in log.split("\n") if line.strip()][-lines:]


def read_result(path: Path) -> tuple[dict[str, Any] | None, str | None]:
    """A board's result.json, or None, and its problem; see `as_result`."""
    result, problem = read_object(path)
    if result is None:
        return None, problem
    try:
        result, odd = as_result(result)
    except ValueError as error:
        return None, str(error)
    return result, problem or _of_another_kind(odd)


def read_manifest(folder: Path) -> tuple[dict[str, Any] | None, str | None]:
    """A run's manifest.json, or None, and its problem."""
    manifest, problem = read_object(folder / layout.MANIFEST, [item.name for item in dataclasses.fields(_Outcome)])
    if manifest is None:
        return None, problem
    if manifest["schema"] not in (schema1.SCHEMA, SCHEMA):
        return None, f"has schema {manifest['schema']}, but this version reads {schema1.SCHEMA} and {SCHEMA}"
    odd = fit(_Outcome, manifest)
    odd += [name for name in ("started_s", "ended_s") if not (manifest[name] is None or is_moment(manifest[name]))]
    odd += [] if manifest["status"] in ENDED else ["status"]
    odd += [] if _are_boards(manifest["boards"]) else ["boards"]
    return (None if odd else manifest), problem or _of_another_kind(odd)


@dataclasses.dataclass(frozen=True)
class _Outcome:
    """What every manifest has, and what is read of it."""

    schema: int
    status: str
    cause: str | None
    boards: Any
    rehearsal: bool | None
    synthetic: bool | None
    started_s: float | None
    ended_s: float | None


def _are_boards(value: Any) -> bool:
    """Whether these are a manifest's boards: names, and costs that are numbers or null."""
    return isinstance(value, list) and all(
        isinstance(board, dict)
        and is_name(board.get("name"))
        and isinstance(cost := board.get("cost") or {}, dict)
        and all(cost.get(name) is None or is_number(cost[name]) for name in COSTS)
        and _are_numbers(cost.get("energy_by_epoch_j"))
        for board in value
    )


def _are_numbers(value: Any) -> bool:
    """Whether this is null or a list of numbers and nulls."""
    return value is None or (isinstance(value, list) and all(item is None or is_number(item) for item in value))


def read_object(path: Path, names: Sequence[str] = ()) -> tuple[dict[str, Any] | None, str | None]:
    """The JSON object in a file, or None, and its problem; it must have the fields `names`.

    Numbers that are not finite or too large are null, and named in the problem.
    """
    odd: list[str] = []
    try:
        value = known(read(path), odd)
    except FileNotFoundError:
        return None, "is missing"
    except (OSError, ValueError) as error:
        return None, f"cannot be read ({error})"
    if not isinstance(value, dict):
        return None, "is not a JSON object"
    missing = [name for name in names if name not in value]
    if missing:
        return None, f"lacks {', '.join(missing)}"
    return value, _of_another_kind(odd)


def _of_another_kind(names: Sequence[str]) -> str | None:
    """The problem of a file with such values."""
    return f"has values of another kind, which are not used: {listed(names)}" if names else None


def was_stopped(manifest: Mapping[str, Any]) -> bool:
    """Whether a manifest is of a run that the controller stopped."""
    return str(manifest.get("cause")).startswith(_STOPPED)


def _outcome(
    boards: Sequence[str], results: Mapping[str, Mapping[str, Any] | None], interrupted: bool
) -> tuple[str, str | None, str | None]:
    """Status and cause of a run, and the board that failed first.

    Boards abort when another one does: `causes.first_cause` finds the first. A board without a result may have been
    killed before the others noticed, so it is named too. A run that all boards finished has succeeded, even if its
    collection was interrupted.
    """
    ended = [(name, result) for name in boards if (result := results[name])]
    silent = [name for name in boards if not results[name]]
    unfinished = {name: result for name, result in ended if result["status"] != "succeeded"}
    if not unfinished and not silent:
        return "succeeded", None, None
    status, causes, culprit = "failed", [], first_cause(unfinished)
    if culprit:
        first = unfinished[culprit]
        status = first["status"]
        why = first["cause"] or f"exit code {first['exit_code']}"
        causes.append(f"{culprit} {'was interrupted' if status == 'interrupted' else status}: {why}")
    if silent:
        causes.append(f"{', '.join(silent)} left no result")
        culprit = culprit or silent[0]
    if interrupted:
        return "interrupted", "; ".join([_STOPPED, *causes]), None
    return status, "; ".join(causes), culprit


def _board(name: str, rank: int, result: Mapping[str, Any] | None, asked: str | None) -> dict[str, Any]:
    left = result or {"status": None, "cause": "left no result"}
    return {
        "name": name,
        "rank": rank,
        "status": left["status"],
        "cause": left["cause"],
        "collective_asked": asked,  # the collective that ran is among the facts
        "facts": result["facts"] if result else {},
    }


def _utc(unix_s: float | None) -> str | None:
    if unix_s is None:
        return None
    return datetime.fromtimestamp(unix_s, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def checksums(folder: Path, paths: Iterable[Path] | None = None) -> dict[str, str]:
    """SHA-256 of all files in the folder, or of the given ones, by path relative to it."""
    every = (path for path in sorted(folder.rglob("*")) if path.is_file()) if paths is None else paths
    return {path.relative_to(folder).as_posix(): digest(path) for path in every}


def digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
