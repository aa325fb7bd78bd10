"""Runs on disk -> tidy DataFrames. Reads runs/<run_id>/ and nothing else."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from analysis.errors import AnalysisError
from analysis.manifest import describe, read_manifest, read_result
from trainer.config import ConfigError, Run, load_run, to_dict
from trainer.events import KINDS, Epoch, Start, Window, fields_of, read_records

# what a board says of itself; a board that left no result has these as null
_FACTS = [
    "hostname",
    "machine",
    "cores",
    "memory_bytes",
    "python",
    "tensorflow",
    "jetpack",
    "module",
    "interface",
    "emulated",
    "link_rate_bit_per_s",
    "collective_used",
]
_STARTED = [name for name in fields_of(Start) if name not in ("board", "rank", "workers")]
_KEYS = ["run_id", "board", "rank"]


@dataclass(frozen=True)
class Runs:
    """Tidy tables of some runs. Field names and units are those of trainer.events.

    runs: a row per run: run_id, folder, experiment, workers, seed, status, cause, rehearsal,
        synthetic, started_s, ended_s, git_commit, git_dirty, trainer_sha256, the configuration
        flattened as config.batch_size, config.sync.way, ..., and assets.dataset.sha256, ...
    boards: a row per run and board: status, cause, facts.tensorflow, facts.module, ..., and the
        fields of the start record; null where the board left nothing.
    epochs, windows: a row per record, with run_id, board and rank; of an epoch `begins` says that it was the first
        one of an attempt (a run that was resumed has several).
    problems: a sentence for each thing that was passed over or is odd.
    """

    runs: pd.DataFrame
    boards: pd.DataFrame
    epochs: pd.DataFrame
    windows: pd.DataFrame
    problems: list[str]


def load(paths: Iterable[Path | str]) -> Runs:
    """Read the run folders among `paths`.

    Files and folders that are no runs (no run.json), and probes, which train nothing, are skipped.
    What cannot be read is reported in `problems`, and the rest is used. Raises AnalysisError for a
    path that does not exist.
    """
    tables = _Tables()
    for folder in run_folders(paths):
        try:
            _add_run(tables, folder)
        except (ConfigError, OSError) as error:
            tables.problems.append(f"{folder.name}: skipped: {error}")
    runs, boards = pd.DataFrame(tables.runs), pd.DataFrame(tables.boards)
    epochs = tables.epochs.frame(["epoch"], tables.problems)
    again = pd.MultiIndex.from_tuples(tables.resumed, names=["run_id", "rank", "epoch"])
    epochs["begins"] = (epochs["epoch"] == 1) | epochs.set_index(again.names).index.isin(again)
    windows = tables.windows.frame(["epoch", "first_step"], tables.problems)
    if not runs.empty:
        tables.problems += _oddities(runs, boards, epochs)
    return Runs(runs, boards, epochs, windows, tables.problems)


class _Columns:
    """Collects records of one kind column by column: a DataFrame per file would be slow."""

    def __init__(self, kind: type[Epoch | Window]) -> None:
        self.kind = kind.KIND
        self._values: dict[str, list[Any]] = {name: [] for name in [*_KEYS, "time_s", *fields_of(kind)]}

    def extend(self, keys: Mapping[str, Any], records: Sequence[Mapping[str, Any]]) -> None:
        for name, values in self._values.items():
            if name in keys:
                values.extend([keys[name]] * len(records))
            else:
                values.extend([record[name] for record in records])

    def frame(self, order: list[str], problems: list[str]) -> pd.DataFrame:
        """The records; of those with the same `order` on a board only the latest."""
        frame = pd.DataFrame(self._values)
        for name in frame.columns.drop(["run_id", "board"]):
            frame[name] = self._numbers(frame[name], frame["run_id"], problems)
        nowhere = frame[order].replace([np.inf, -np.inf], np.nan).isna().any(axis=1)
        problems += [
            f"{run_id}: {count} {self.kind} records do not say which {self.kind} they are"
            for run_id, count in frame["run_id"][nowhere].value_counts(sort=False).items()
        ]
        frame = frame[~nowhere].astype(dict.fromkeys(order, "int64"))
        again = frame.duplicated(["run_id", "rank", *order], keep="last")
        counts = frame[again].groupby(["run_id", "board"]).size().reset_index(name="count")
        problems += [
            f"{run_id}: {board} recorded {count} {self.kind}s more than once; the latest is used"
            for run_id, board, count in counts.itertuples(index=False)
        ]
        return frame[~again].reset_index(drop=True)

    def _numbers(self, column: pd.Series[Any], run_ids: pd.Series[str], problems: list[str]) -> pd.Series[Any]:
        if column.dtype.kind in "if":
            return column
        numbers = pd.to_numeric(column, errors="coerce").astype("float64")
        wrong = numbers.isna() & column.notna()
        problems += [
            f"{run_id}: {count} {self.kind} records have a {column.name} that is not a number"
            for run_id, count in run_ids[wrong].value_counts(sort=False).items()
        ]
        return numbers


@dataclass
class _Tables:
    """What has been read so far."""

    runs: list[dict[str, Any]] = field(default_factory=list)
    boards: list[dict[str, Any]] = field(default_factory=list)
    epochs: _Columns = field(default_factory=lambda: _Columns(Epoch))
    windows: _Columns = field(default_factory=lambda: _Columns(Window))
    # the first epochs of later attempts: run_id, rank, epoch
    resumed: list[tuple[str, int, int]] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)


def run_folders(paths: Iterable[Path | str]) -> list[Path]:
    """The folders among `paths` that have a run.json, by name. Raises AnalysisError for a path that does not exist."""
    folders = []
    for path in map(Path, paths):
        try:
            if not path.exists():
                raise AnalysisError(f"{path} does not exist: give the folders of runs, such as runs/*")
            if (path / "run.json").is_file():
                folders.append(path)
        except OSError as error:
            raise AnalysisError(f"{path} cannot be read ({error}): check who may read it") from error
    return sorted(dict.fromkeys(folders), key=lambda folder: folder.name)


def _add_run(tables: _Tables, folder: Path) -> None:
    run = load_run(folder / "run.json")
    if run.task != "train":
        return
    # before anything is kept, so that a run that cannot be read leaves nothing behind
    absent = [board for board in run.boards if not (folder / "boards" / board).is_dir()]
    if run.run_id in [row["run_id"] for row in tables.runs]:
        tables.problems.append(f"{folder}: skipped: run {run.run_id} was given before")
        return
    results: dict[str, dict[str, Any] | None] = {}
    starts: dict[str, dict[str, Any]] = {}
    problems = [f"nothing was collected from {board}" for board in absent]
    for rank, board in enumerate(run.boards):
        home = folder / "boards" / board
        results[board], problem = read_result(home / "result.json")
        start, found = _add_events(tables, run, rank, home / "events.jsonl")
        if problem:
            found.append(f"result.json of {board} {problem}")
        if start:
            starts[board] = start
        tables.boards.append(_board_row(run, rank, results[board], start))
        problems += found if board not in absent else []
    manifest, problem = read_manifest(folder)
    if manifest is None:
        problems.append(f"manifest.json {problem}; what the boards left is used instead")
        manifest = describe(run, results, starts)
    tables.runs.append(_run_row(run, folder, manifest))
    tables.problems += [f"{run.run_id}: {sentence}" for sentence in problems]


def _add_events(tables: _Tables, run: Run, rank: int, path: Path) -> tuple[dict[str, Any] | None, list[str]]:
    """Put a board's records into the tables; returns its start record and what is wrong."""
    board = run.boards[rank]
    try:
        records, problems = read_records(path)
    except OSError as error:
        return None, [f"events.jsonl of {board} cannot be read ({error.strerror})"]
    kinds: dict[str, list[dict[str, Any]]] = {kind: [] for kind in KINDS}
    for record in records:
        kinds[record["event"]].append(record)
    keys = {"run_id": run.run_id, "board": board, "rank": rank}
    tables.epochs.extend(keys, kinds["epoch"])
    tables.windows.extend(keys, kinds["window"])
    tables.resumed += [(run.run_id, rank, record["epoch"] + 1) for record in kinds["resume"]]
    if len(kinds["start"]) > 1:
        problems.append(f"{board} started {len(kinds['start'])} times into the same events.jsonl")
    return kinds["start"][-1] if kinds["start"] else None, problems


def _oddities(runs: pd.DataFrame, boards: pd.DataFrame, epochs: pd.DataFrame) -> Iterator[str]:
    """Runs that stopped half way, and losses that are no numbers."""
    recorded = epochs.groupby(["run_id", "rank"])["epoch"].nunique()
    wanted = runs.set_index("run_id")["config.epochs"]
    for run_id, board, rank in boards[["run_id", "board", "rank"]].itertuples(index=False):
        count = recorded.get((run_id, rank), 0)
        if count < wanted[run_id]:
            yield f"{run_id}: {board} recorded {count} of {wanted[run_id]} epochs"
    lost = epochs[~np.isfinite(epochs["loss"])].drop_duplicates(["run_id", "rank"])
    for run_id, board, epoch in lost[["run_id", "board", "epoch"]].itertuples(index=False):
        yield f"{run_id}: the loss of {board} is not a finite number from epoch {epoch} on"


def _run_row(run: Run, folder: Path, manifest: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "run_id": run.run_id,
        "folder": str(folder),
        "experiment": run.experiment,
        "workers": run.workers,
        "seed": run.seed,
        **{name: manifest[name] for name in ("status", "cause", "rehearsal", "synthetic", "started_s", "ended_s")},
        "git_commit": run.git_commit,
        "git_dirty": run.git_dirty,
        "trainer_sha256": run.trainer_sha256,
        **flatten("config", to_dict(run.config)),
        **flatten("assets", run.assets),
    }


def _board_row(
    run: Run, rank: int, result: Mapping[str, Any] | None, start: Mapping[str, Any] | None
) -> dict[str, Any]:
    left = result or {}
    facts = left["facts"] if isinstance(left.get("facts"), dict) else {}
    return {
        "run_id": run.run_id,
        "board": run.boards[rank],
        "rank": rank,
        **{name: left.get(name) for name in ("status", "cause", "epochs_completed")},
        **{f"facts.{name}": facts.get(name) for name in _FACTS},
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
