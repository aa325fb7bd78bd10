"""Continues earlier runs: resumes one that failed or was interrupted, and collects one that was left running.

A run resumes from the last place with a complete checkpoint on every board, or from the beginning without one. The
earlier attempt's files are kept in attempts/N/; the new attempt starts with the records up to that place.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import MappingProxyType
from typing import Any

from analysis.runs.manifest import read_object, write_manifest
from controller import addresses, assets, replacement, witness
from trainer.contract import checkpoints, layout, schema1, strategies
from trainer.contract.checkpoints import START, Place, as_place
from trainer.contract.config import ConfigError
from trainer.contract.events import NewGeneration, Served
from trainer.contract.fields import closest
from trainer.contract.layout import (
    ATTEMPTS,
    BOARDS,
    CHECKPOINTS,
    EVENTS,
    GRANTED,
    LEFT,
    LOST,
    MANIFEST,
    RESUME_DRAFT,
    RESUME_READY,
    RUN,
)
from trainer.contract.reading import opened, parse, read
from trainer.contract.records import begins_at, counted, lines_of, place_of
from trainer.contract.run import Run, load_run


def plan(request: Mapping[str, Any]) -> dict[str, Any]:
    """controller.resolve's answer for the run named by the request's `resume`.

    Raises ConfigError with all reasons why it cannot resume.
    """
    project, home, run_id = Path(request["project"]), str(request["board_home"]), str(request["resume"])
    runs_dir = Path(request["runs_dir"])
    folder, run = _named("resume", run_id, runs_dir)
    if not request.get("check"):
        finish(folder)  # a resume that was cut, before anything else is written there
    problems = [f"{name} is given, but {run_id} keeps its own: leave {name} out" for name in request.get("given", [])]
    replaced = replacement.read(request.get("replace") or {}, run.boards, problems)
    boards = [replaced.get(board, board) for board in run.boards]
    problems += _reasons_against(run, folder, boards, [str(name) for name in request["boards"]])
    problems += addresses.problems_in(request, boards)
    problems += witness.problems(run.config, boards, request)
    source = project / ".cache" / f"trainer-{run.trainer_sha256[:16]}.tar.gz"
    if schema1.made(read(folder / RUN)):
        problems.append(
            f"{run_id} was started with the previous version of the kit, {_version(run)}, whose trainer "
            "this one cannot start: check that version out in this folder, run 'make setup' and the same "
            "command (docs/upgrade.md), or start a new run"
        )
    elif not source.is_file():
        problems.append(
            f"the trainer of {run_id} is no longer in {source.parent}: check out commit {run.git_commit} "
            "and resolve a run there, or start a new run"
        )
    staged: dict[str, assets.Asset] = {}
    try:
        staged = assets.prepare(run.config.data, run.config.model, project, download=not request.get("check"))
    except ConfigError as error:
        problems += error.problems
    problems += [
        f"the {kind} of {run_id} has checksum {run.assets[kind]['sha256']}, but {asset.source} has {asset.sha256}: "
        "restore the original file, or start a new run"
        for kind, asset in staged.items()
        if asset.sha256 != run.assets[kind]["sha256"]
    ]
    if problems:
        raise ConfigError(problems)
    answer = _answer(request, folder, run, home, [asset.staging(home) for asset in staged.values()], source)
    return {**answer, "run": {**answer["run"], "boards": boards}}


def adopt(request: Mapping[str, Any]) -> dict[str, Any]:
    """controller.resolve's answer for the run named by the request's `run_id`, which this controller started.

    Notes about lost boards are deleted, since the boards may be back. Raises ConfigError if there is no such run.
    """
    folder, run = _named("run_id", str(request["run_id"]), Path(request["runs_dir"]))
    if not request.get("check"):
        finish(folder)
        for home in (folder, *(folder / BOARDS / board for board in run.boards)):
            (home / LOST).unlink(missing_ok=True)
            (home / LEFT).unlink(missing_ok=True)
    return _answer(request, folder, run, str(request["board_home"]), [], None)


def _named(asked_by: str, run_id: str, runs_dir: Path) -> tuple[Path, Run]:
    """The folder and the run of this name. Raises ConfigError without one."""
    folder = runs_dir / run_id
    plain = run_id == Path(run_id).name and run_id.isprintable() and len(run_id) < 256
    if not plain or not (folder / RUN).is_file():
        near = closest(run_id, (path.name for path in layout.run_folders(sorted(runs_dir.glob("*")))))
        raise ConfigError(
            [
                f"{asked_by} is {run_id!r}, but {folder} is not the folder of a run: "
                f"give the name of one in {runs_dir}{near or ', such as 20261121T120000Z-paper-w2-s1-3f9a1c'}"
            ]
        )
    run = load_run(folder / RUN)
    if run.run_id != run_id:
        raise ConfigError([f"{asked_by} is {run_id!r}, but that folder has the run {run.run_id}: give that name"])
    return folder, run


def _answer(
    request: Mapping[str, Any], folder: Path, run: Run, home: str, staged: list[Any], source: Path | None
) -> dict[str, Any]:
    path = f"{home}/trainer/{run.trainer_sha256[:16]}"
    return {
        "run": read(folder / RUN),
        "run_dir": str(folder),
        "board_dir": f"{home}/runs/{run.run_id}",
        "trainer": {"path": path, **({"source": str(source)} if source else {})},
        "assets": staged,
        "witness": witness.host(run.config, request),
        "prediction": None,  # the first prediction is kept
    }


def _version(run: Run) -> str:
    if run.git_commit is None:
        return "one that was not in git"
    return f"commit {run.git_commit}" + (" with uncommitted changes" if run.git_dirty else "")


def _reasons_against(run: Run, folder: Path, wanted: Sequence[str], boards: Sequence[str]) -> list[str]:
    """Why it cannot resume on the wanted boards, where these are those of the inventory."""
    problems = []
    if run.task != "train":
        problems.append(f"{run.run_id} is a {run.task}, which cannot be resumed: run it again")
    missing = [board for board in wanted if board not in boards]
    if missing:
        ran = f"{run.run_id} ran on {', '.join(run.boards)}" if wanted == run.boards else f"replace names {missing[0]}"
        problems.append(
            f"{ran}, but {', '.join(missing)} is not among the boards: add it to the inventory, leave out --limit, or "
            f"""replace it by another board, such as -e '{{"replace": {{"{run.boards[-1]}": "NAME"}}}}'"""
        )
    return problems + _ended_well(run, folder)


def _ended_well(run: Run, folder: Path) -> list[str]:
    """Why it cannot resume if it has succeeded; unknown until it is collected."""
    succeeded = _status(folder) == "succeeded"
    return [f"{run.run_id} has succeeded: there is nothing to resume"] if succeeded else []


def _status(folder: Path) -> str | None:
    """The status in the run's manifest; None if it was not collected."""
    manifest, _ = read_object(folder / MANIFEST, ["status"])
    return str(manifest["status"]) if manifest else None


def begin(folder: Path, replaced: Mapping[str, str] = MappingProxyType({})) -> Place:
    """Put the previous attempt aside; returns the place at which the run resumes.

    `replaced`: new boards by the names of the lost ones; they are the run's from here on.
    Each board's folder then has its records up to that place and the checkpoint. Wherever it is cut, a later call
    comes to the same end. Raises ConfigError if the run turns out to have succeeded.
    """
    run = load_run(folder / RUN)
    if finish(folder) is None:
        write_manifest(folder, interrupted=_status(folder) == "interrupted")  # boards may have reported more since
        problems = _ended_well(run, folder)
        if problems:
            raise ConfigError(problems)
        _prepare(folder, run, replaced)
    ready = finish(folder)
    if ready is not None:
        shutil.rmtree(ready)  # from here on the attempt counts as begun
    return _common_place(folder, load_run(folder / RUN))


def _prepare(folder: Path, run: Run, replaced: Mapping[str, str]) -> None:
    """Copy what the next attempt begins with to a folder of its own, which has its final name once it is whole."""
    place, draft = _common_place(folder, run, replaced), folder / RESUME_DRAFT
    if draft.exists():
        shutil.rmtree(draft)  # of a resume that was cut
    donor = next(folder / BOARDS / board for board in run.boards if board not in replaced)
    for rank, board in enumerate(run.boards):
        old, new = folder / BOARDS / board, draft / BOARDS / replaced.get(board, board)
        new.mkdir(parents=True)
        if place == START:
            continue
        lacks = board in replaced and place not in checkpoints.whole(old / CHECKPOINTS)
        source = (donor if lacks else old) / CHECKPOINTS
        if source.is_dir():
            kept = checkpoints.path_of(new / CHECKPOINTS, place)
            kept.parent.mkdir()
            with checkpoints.path_of(source, place).open("rb") as content, kept.open("wb") as file:
                shutil.copyfileobj(content, file)
                file.flush()
                os.fsync(file.fileno())
        text = _records_until(place, old / EVENTS) if (old / EVENTS).is_file() else ""
        if board in replaced:
            text = replacement.taken_over(text, new.name, rank, _records_until(place, donor / EVENTS), place)
        if text:
            layout.write_text(new / EVENTS, text)
    if replaced:
        boards = [replaced.get(board, board) for board in run.boards]
        layout.write_json(draft / RUN, {**read(folder / RUN), "boards": boards})
    before = [int(path.name) for path in layout.attempts(folder)]
    draft.rename(folder / f"{RESUME_READY}{1 + max(before, default=0)}")


def finish(folder: Path) -> Path | None:
    """Put the previous attempt aside where the next one's files are ready; their folder, None without. Repeatable."""
    ready = next(folder.glob(f"{RESUME_READY}*"), None)
    if ready is None:
        return None
    attempt, new = folder / ATTEMPTS / ready.name.removeprefix(RESUME_READY), ready / BOARDS
    attempt.mkdir(parents=True, exist_ok=True)
    if new.exists():
        if (folder / BOARDS).exists() and not (attempt / BOARDS).exists():
            (folder / BOARDS).rename(attempt / BOARDS)
        new.rename(folder / BOARDS)
    if (ready / RUN).exists():  # of other boards than before
        if not (attempt / RUN).exists():
            layout.write_text(attempt / RUN, (folder / RUN).read_text(encoding="utf-8"))
        (ready / RUN).rename(folder / RUN)
    for name in (MANIFEST, LOST):  # an old failure would stop the new attempt's boards
        if (folder / name).exists():
            # a second one is of collecting what had not begun
            (folder / name).unlink() if (attempt / name).exists() else (folder / name).rename(attempt / name)
    for note in folder.glob(f"{GRANTED}*"):
        note.unlink()  # generations are counted anew
    for folder_of in (attempt / BOARDS).glob(f"*/{CHECKPOINTS}"):
        shutil.rmtree(folder_of)  # large, and no longer needed
    return ready


def _common_place(folder: Path, run: Run, without: Collection[str] = ()) -> Place:
    """The last place with a record and a complete checkpoint on every board that has them; START without one.

    Boards `without` need have none.
    """
    strategy = strategies.found(run.config.engine, run.config.strategy_on(run.workers))
    # with parameter servers, the chief has the whole model, and keeps the run's time
    homes = [folder / BOARDS / board for board in (run.boards[:1] if strategy.servers else run.boards)]
    homes = [home for home in homes if home.name not in without]
    known = [set(checkpoints.whole(home / CHECKPOINTS)) for home in homes]
    known += [_recorded(home / EVENTS) for home in homes]
    return max(set.intersection(*known), default=START) if known else START


def _recorded(events: Path) -> set[Place]:
    """The places with a record: of a board that computes, or of a parameter server's epochs."""
    with suppress(OSError), opened(events) as file:
        records = [_record(line) for line in lines_of(file)]
        served = {Place(record["epoch"]) for record in records if record["event"] == Served.KIND}
        return served | {place for record in records if (place := place_of(record))}
    return set()


def _records_until(place: Place, path: Path) -> str:
    """The records up to the place's, a line each, as they count: those of generations of boards among them do not."""
    kept: list[dict[str, Any]] = []
    with opened(path) as file:
        for line in lines_of(file):
            record = {**_record(line), "line": line.decode("utf-8", "replace").rstrip("\n")}
            if record["event"] == NewGeneration.KIND:
                kept = counted(kept, begins_at(record))
            else:
                kept.append(record)
    ends = [number for number, record in enumerate(kept, 1) if (at := place_of(record)) and at <= place]
    return "".join(f"{record['line']}\n" for record in kept[: ends[-1] if ends else None])


def _record(line: bytes) -> dict[str, Any]:
    """The kind and the place of the record in a line; a kind of None for other lines."""
    try:
        record = parse(line)
        images = record.get("images", 0)
        place = as_place([record.get("epoch") or 0, images if isinstance(images, int) else 0])
        return {"event": str(record["event"]), "epoch": place.epoch, "images": place.images}
    except (ValueError, KeyError, TypeError, AttributeError):
        return {"event": None, "epoch": 0, "images": 0}
