"""Loads runs into tidy DataFrames. Reads only runs/<run_id>/.

Not named load.py: such a module would replace the function `analysis.load` once imported.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from analysis.runs.errors import AnalysisError
from analysis.runs.eventlog import Columns, elapsed_s, first_epochs, read_but_windows
from analysis.runs.generations import generations, made_by, sentences
from analysis.runs.manifest import COSTS, describe, read_manifest, read_result
from trainer.contract import layout
from trainer.contract.config import ConfigError, to_dict
from trainer.contract.events import KINDS, Epoch, Start, Window, fields_of
from trainer.contract.layout import BOARDS, EVENTS, RESULT, RUN
from trainer.contract.records import read_records
from trainer.contract.results import BoardFacts
from trainer.contract.run import Run, load_run

_FACTS = fields_of(BoardFacts)  # from a board's result; null without one
_STARTED = [name for name in fields_of(Start) if name not in ("board", "rank", "workers")]


@dataclass(frozen=True)
class Runs:
    """Tidy tables of some runs. Field names and units are those of trainer.contract.events.

    runs: a row per run: run_id, folder, experiment, repeat (of the study it belongs to: "study/3"; null without one),
        factors (a list, what its study declares that its arms differ in), primary (whether its study named its arm
        beforehand), workers, computing (boards that are not dedicated parameter servers), speeds (a list, of the boards
        in rank order), seed, status, cause, rehearsal, synthetic, started_s, ended_s, steadfast (how many of those that
        compute were never lost), generations (a list of sentences, one for each time that the boards began anew),
        git_commit, git_dirty, trainer_sha256, the configuration flattened as config.batch_size, config.sync.method,
        ..., and assets.dataset.sha256, ...
    boards: a row per run and board: status, cause, facts.tensorflow, facts.module, ..., cost.energy_j, ... (see
        `analysis.runs.energy`), and the fields of the start record; null where the board left nothing. `rank` is that
        of the run's last generation; boards outside come last.
    epochs: a row per record, with run_id, board, the rank of the board in the generation that made the epoch, and
        together: how many boards that had; `begins`: whether it is the first of an attempt (a resumed run has
        several); `elapsed_s`: from the process's start to its end, see `analysis.runs.eventlog.elapsed_s`.
    problems: a sentence for everything skipped or inconsistent; problems in windows are added when they are read.
    """

    runs: pd.DataFrame
    boards: pd.DataFrame
    epochs: pd.DataFrame
    problems: list[str]

    @cached_property
    def windows(self) -> pd.DataFrame:
        """The windows of all runs: a row per record, with run_id, board and rank. Large for long runs."""
        return self.windows_of(self.runs["run_id"] if len(self.runs) else [])

    def windows_of(self, run_ids: Iterable[str]) -> pd.DataFrame:
        """The windows of some runs, read now."""
        columns, found = Columns(Window), []
        folders = {} if self.runs.empty else self.runs.set_index("run_id")["folder"].to_dict()
        for run_id in run_ids:
            for board, rank in self.boards.loc[self.boards["run_id"] == run_id, ["board", "rank"]].itertuples(
                index=False
            ):
                path = Path(folders[run_id]) / BOARDS / board / EVENTS
                with suppress(OSError):  # `load` has reported it
                    records, problems = read_records(path)
                    windows = [record for record in records if record["event"] == Window.KIND]
                    columns.extend({"run_id": run_id, "board": board, "rank": rank}, windows)
                    found += [f"{run_id}: {problem}" for problem in problems]
        table = columns.frame(["epoch", "first_step"], found)
        self.problems.extend(problem for problem in found if problem not in self.problems)
        return table


def load(paths: Iterable[Path | str]) -> Runs:
    """Read the run folders among `paths`.

    Skips files, folders without run.json, copies of runs, and probes. Unreadable files are reported in `problems`, and
    the rest is used. Raises AnalysisError for a path that does not exist.
    """
    tables, given = _Tables(), list(map(Path, paths))
    folders = run_folders(given)
    tables.problems += _copies(given, folders)
    for folder in folders:
        try:
            _add_run(tables, folder)
        except (ConfigError, OSError) as error:
            tables.problems.append(f"{folder.name}: skipped: {error}")
    runs, boards = pd.DataFrame(tables.runs), pd.DataFrame(tables.boards)
    epochs = tables.epochs.frame(["epoch"], tables.problems)
    first = pd.MultiIndex.from_tuples(tables.first, names=["run_id", "rank", "epoch"])
    places = epochs.set_index(first.names).index
    epochs["begins"] = places.isin(first)
    epochs["elapsed_s"] = np.array([tables.elapsed_s.get(place, np.nan) for place in places], dtype=float)
    if not runs.empty:
        tables.problems += _oddities(epochs)
    return Runs(runs, boards, epochs, tables.problems)


@dataclass
class _Tables:
    """The tables while runs are read."""

    runs: list[dict[str, Any]] = field(default_factory=list)
    boards: list[dict[str, Any]] = field(default_factory=list)
    epochs: Columns = field(default_factory=lambda: Columns(Epoch, ["together"]))
    # the first epochs of all attempts: run_id, rank, epoch
    first: list[tuple[str, int, int]] = field(default_factory=list)
    elapsed_s: dict[tuple[str, int, int], float] = field(default_factory=dict)  # by run_id, rank, epoch
    problems: list[str] = field(default_factory=list)


def run_folders(paths: Iterable[Path | str]) -> list[Path]:
    """The run folders among `paths` (see `layout.run_folders`). Raises AnalysisError for a path that does not exist."""
    folders = []
    for path in map(Path, paths):
        try:
            junk = layout.is_junk(path.name)
            if not path.exists() and not (junk and path.is_symlink()):  # Emacs' locks are dangling links
                raise AnalysisError(f"{path} does not exist: give run folders, such as runs/*")
            if not junk and (path / layout.RUN).is_file():
                folders.append(path)
        except OSError as error:
            raise AnalysisError(f"{path} cannot be read ({error}): check its permissions") from error
    return sorted(layout.run_folders(folders), key=lambda folder: folder.name)


def _copies(paths: Iterable[Path], runs: Iterable[Path]) -> Iterator[str]:
    """A sentence for each run that exists only in folders named as copies or backups."""
    known = {layout.run_id(folder) for folder in runs}
    for path in paths:
        run_id = layout.run_id(path) if layout.is_junk(path.name) else None
        if run_id and run_id not in known:
            yield f"{path}: skipped, since its name is that of a copy or backup: to use it, rename it to {run_id}"


def _add_run(tables: _Tables, folder: Path) -> None:
    run = load_run(folder / RUN)
    if run.task != "train":
        return
    # first, so that an unreadable run leaves nothing in the tables
    absent = [board for board in run.boards if not (folder / BOARDS / board).is_dir()]
    if run.run_id in [row["run_id"] for row in tables.runs]:
        tables.problems.append(f"{folder}: skipped, since run {run.run_id} was already given")
        return
    results: dict[str, dict[str, Any] | None] = {}
    starts: dict[str, dict[str, Any]] = {}
    problems = [f"nothing was collected from {board}" for board in absent]
    events = {board: _read(folder / BOARDS / board / EVENTS) for board in run.boards}
    computing = run.boards[: run.config.computing(run.workers)]  # without dedicated parameter servers
    since = generations(computing, {board: records for board, (records, _) in events.items()})
    last = since[-1]["boards"]
    order = sorted(run.boards, key=lambda board: board not in last)  # lost boards last, each part in rank order
    speeds = run.speeds and [run.speeds[run.boards.index(board)] for board in order]
    run = dataclasses.replace(run, boards=order, speeds=speeds)
    for rank, board in enumerate(run.boards):
        home = folder / BOARDS / board
        results[board], problem = read_result(home / RESULT)
        start, found = _add_events(tables, run, rank, *events[board], since)
        if problem:
            found.append(f"result.json of {board} {problem}")
        if start:
            starts[board] = start
        problems += found if board not in absent else []
    manifest, problem = read_manifest(folder)
    if manifest is None:
        problems.append(f"manifest.json {problem}; the boards' files are used instead")
        manifest = describe(run, results, starts)
    elif problem:
        problems.append(f"manifest.json {problem}")
    costs = {board["name"]: board.get("cost") or {} for board in manifest["boards"]}
    for rank, board in enumerate(run.boards):
        row = _board_row(run, rank, results[board], starts.get(board), costs.get(board, {}))
        tables.boards.append(row)
    steadfast = set.intersection(*(set(generation["boards"]) for generation in since))
    went = {"steadfast": len(steadfast), "generations": list(sentences(since))}
    tables.runs.append({**_run_row(run, folder, manifest), **went})
    tables.problems += [f"{run.run_id}: {sentence}" for sentence in problems]


def _read(path: Path) -> tuple[list[dict[str, Any]], list[str]]:
    """A board's records, without the windows, and the problems found in them."""
    try:
        return read_but_windows(path)
    except OSError as error:
        return [], [f"events.jsonl of {path.parent.name} cannot be read ({error.strerror})"]


def _add_events(
    tables: _Tables,
    run: Run,
    rank: int,
    records: list[dict[str, Any]],
    problems: list[str],
    since: Sequence[Mapping[str, Any]],
) -> tuple[dict[str, Any] | None, list[str]]:
    """Add a board's records to the tables; returns its start record and the problems. `since`: the generations."""
    board, problems = run.boards[rank], list(problems)
    kinds: dict[str, list[dict[str, Any]]] = {kind: [] for kind in KINDS}
    for record in records:
        kinds[record["event"]].append(record)
    ranks: dict[int, int] = {}  # by epoch; what a board made at last before it was lost, others have made again
    for record in kinds["epoch"]:
        boards = made_by(since, record["epoch"])["boards"]
        if board in boards:
            ranks[record["epoch"]] = boards.index(board)
            placed = {**record, "rank": ranks[record["epoch"]], "together": len(boards)}
            tables.epochs.extend({"run_id": run.run_id, "board": board}, [placed])
    tables.first += [(run.run_id, ranks[epoch], epoch) for epoch in first_epochs(records) if epoch in ranks]
    tables.elapsed_s |= {
        (run.run_id, ranks[epoch], epoch): seconds for epoch, seconds in elapsed_s(records).items() if epoch in ranks
    }
    problems += [f"epoch {lost['epoch']}: {lost['cause']}, and the others went on" for lost in kinds["lost"]]
    made = sum(board in made_by(since, epoch)["boards"] for epoch in range(1, run.config.epochs + 1))
    if len(ranks) < made:
        problems.append(f"{board} recorded {len(ranks)} of {made} epochs")
    if len(kinds["start"]) > 1:
        problems.append(f"{board} has {len(kinds['start'])} start records in one events.jsonl")
    return kinds["start"][-1] if kinds["start"] else None, problems


def _oddities(epochs: pd.DataFrame) -> Iterator[str]:
    """Problems: losses that are not finite."""
    lost = epochs[~np.isfinite(epochs["loss"])].drop_duplicates(["run_id", "rank"])
    for run_id, board, epoch in lost[["run_id", "board", "epoch"]].itertuples(index=False):
        yield f"{run_id}: the loss of {board} is not a finite number from epoch {epoch} on"


def _run_row(run: Run, folder: Path, manifest: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "run_id": run.run_id,
        "folder": str(folder),
        "experiment": run.experiment,
        "repeat": _repeat(run.study),
        **_design(run),
        "workers": run.workers,
        "computing": run.config.computing(run.workers),
        "speeds": run.speeds,
        "seed": run.seed,
        **{name: manifest[name] for name in ("status", "cause", "rehearsal", "synthetic", "started_s", "ended_s")},
        "git_commit": run.git_commit,
        "git_dirty": run.git_dirty,
        "trainer_sha256": run.trainer_sha256,
        **flatten("config", to_dict(run.config)),
        **flatten("assets", run.assets),
    }


def _repeat(study: str | None) -> str | None:
    """ "paper/3" for the label "paper/two boards/3": the repeat, which runs of several arms share."""
    name, _, rest = (study or "").partition("/")
    return f"{name}/{rest.rpartition('/')[2]}" if rest else None


def _design(run: Run) -> dict[str, Any]:
    """What the run's study declared before it was made."""
    design = run.design if isinstance(run.design, dict) else {}
    factors, arm = design.get("factors"), (run.study or "").partition("/")[2].rpartition("/")[0]
    known = [factor for factor in factors if isinstance(factor, str)] if isinstance(factors, list) else []
    return {"factors": known, "primary": bool(arm) and design.get("primary") == arm}


def _board_row(
    run: Run,
    rank: int,
    result: Mapping[str, Any] | None,
    start: Mapping[str, Any] | None,
    cost: Mapping[str, Any],
) -> dict[str, Any]:
    left = result or {}
    facts = left.get("facts") or {}
    return {
        "run_id": run.run_id,
        "board": run.boards[rank],
        "rank": rank,
        **{name: left.get(name) for name in ("status", "cause", "epochs_completed")},
        **{f"facts.{name}": facts.get(name) for name in _FACTS},
        **{f"cost.{name}": cost.get(name) for name in (*COSTS, "energy_by_epoch_j")},
        **{name: (start or {}).get(name) for name in _STARTED},
    }


def flatten(prefix: str, nested: Mapping[str, Any]) -> dict[str, Any]:
    """Dotted names and values: {"config.data.source": "cifar100", ...}."""
    flat: dict[str, Any] = {}
    for name, value in nested.items():
        if isinstance(value, Mapping):
            flat |= flatten(f"{prefix}.{name}", value)
        else:
            flat[f"{prefix}.{name}"] = value
    return flat
