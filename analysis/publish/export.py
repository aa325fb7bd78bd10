"""Exports the tidy tables of `load` and the boards' samples: CSV, Parquet, MLflow.

Columns have the records' names with units, and types that do not depend on the data: whole numbers, numbers, truth
values and text, all nullable. Other values are JSON text.
"""

from __future__ import annotations

import dataclasses
import hashlib
import importlib.util
import json
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Union, get_args, get_origin, get_type_hints

import pandas as pd
from pandas.api.extensions import ExtensionDtype
from pandas.io.json import build_table_schema

from analysis.runs.columns import records, shown
from analysis.runs.errors import AnalysisError
from analysis.runs.loading import Runs, flatten, load
from trainer.contract.events import Epoch, Sample, Start, Window, fields_of
from trainer.contract.layout import BOARDS, TELEMETRY, write_json
from trainer.contract.records import read_records
from trainer.contract.results import Result
from trainer.contract.run import Run

if TYPE_CHECKING:
    from mlflow import MlflowClient

SCHEMA = "datapackage.json"  # types for CSV files, which have none: https://specs.frictionlessdata.io/data-package/
_DTYPES: dict[Any, ExtensionDtype] = {
    int: pd.Int64Dtype(),
    float: pd.Float64Dtype(),
    bool: pd.BooleanDtype(),
    str: pd.StringDtype(),
}
# columns that `load` adds
_ADDED = {"time_s": float, "begins": bool, "elapsed_s": float, "primary": bool, "rehearsal": bool, "cost": float}
_FORMULA = re.compile(r"\s*[=+\-@\t\r\n]")  # of spreadsheets: https://owasp.org/www-community/attacks/CSV_Injection
_ENDED = {"succeeded": "FINISHED", "failed": "FAILED", "interrupted": "KILLED"}  # a run's status in MLflow's terms


@dataclasses.dataclass(frozen=True)
class Exported:
    """The written files or stores, and the problems that `load` found."""

    written: list[Path]
    problems: list[str]


def export(paths: Iterable[Path | str], to: str, out: Path) -> Exported:
    """Write the runs among `paths` into the folder `out`, as csv, parquet or mlflow.

    Raises AnalysisError if there is no run, or if the package for the format is not installed.
    """
    needs = {"parquet": "pyarrow", "mlflow": "mlflow"}.get(to)
    if needs and importlib.util.find_spec(needs) is None:
        raise AnalysisError(
            f"--to {to} needs {needs}, which is not installed: "
            ".venv/bin/uv pip install --python .venv/bin/python -r requirements/extras.txt"
        )
    loaded = load(paths)
    if loaded.runs.empty:
        raise AnalysisError("\n".join([*loaded.problems, "no run found: give run folders, such as runs/*"]))
    out.mkdir(parents=True, exist_ok=True)
    if to == "mlflow":
        _write_mlflow(loaded, out)
        return Exported([out], loaded.problems)
    # adds the problems of windows, which are read only now
    made = tables(loaded, loaded.problems)
    return Exported(_write_csv(made, out) if to == "csv" else _write_parquet(made, out), loaded.problems)


def tables(loaded: Runs, problems: list[str]) -> dict[str, pd.DataFrame]:
    """runs, boards, epochs, windows: those of `loaded` without folders; telemetry: a row per sample.

    Sensors and rails are columns, such as power_mw.VDD_IN, null on boards that lack them. Samples of earlier attempts
    are left out. Invalid lines are reported in `problems`.
    """
    every = {
        "runs": loaded.runs.drop(columns="folder"),
        "boards": loaded.boards,
        "epochs": loaded.epochs,
        "windows": loaded.windows,
        "telemetry": _telemetry(loaded, problems),
    }
    return {name: _typed(table) for name, table in every.items()}


def _telemetry(loaded: Runs, problems: list[str]) -> pd.DataFrame:
    """A row per sample; without samples, only the columns that do not depend on a board's sensors."""
    rows = pd.DataFrame(_samples(loaded, problems))
    plain = [name for name in fields_of(Sample) if get_origin(_HINTS[name]) is not dict]
    fixed = ["run_id", "board", "rank", "time_s", *plain]
    return rows.reindex(columns=[*fixed, *sorted(name for name in rows.columns if name not in fixed)])


def _samples(loaded: Runs, problems: list[str]) -> Iterator[dict[str, Any]]:
    folders = loaded.runs.set_index("run_id")["folder"]
    for keys in records(loaded.boards[["run_id", "board", "rank"]]):
        path = Path(folders[keys["run_id"]]) / BOARDS / keys["board"] / TELEMETRY
        samples, bad = read_records(path) if path.is_file() else ([], [])
        problems += [f"{keys['run_id']}: {problem}" for problem in bad]
        for sample in samples:
            row = keys | {"time_s": sample["time_s"]}
            for name in fields_of(Sample):
                value = sample.get(name)  # samples of old runs lack some fields
                by_name = get_origin(_HINTS[name]) is dict and isinstance(value, Mapping | None)
                row |= flatten(name, value or {}) if by_name else {name: value}
            yield row


def _hints(kind: type, prefix: str = "") -> dict[str, Any]:
    """The declared types of a record's or a configuration's fields by name, sections dotted."""
    found: dict[str, Any] = {}
    for name, hint in get_type_hints(kind).items():
        if dataclasses.is_dataclass(hint) and isinstance(hint, type):
            found |= _hints(hint, f"{prefix}{name}.")
        elif get_origin(hint) is Union:  # Optional
            found[prefix + name] = next(item for item in get_args(hint) if item is not type(None))
        else:
            found[prefix + name] = hint
    return found


_HINTS: dict[str, Any] = {**_ADDED}
for _kind in (Start, Result, Window, Epoch, Sample, Run):
    _HINTS |= _hints(_kind)


def _typed(table: pd.DataFrame) -> pd.DataFrame:
    return pd.DataFrame({name: _column(str(name), table[name]) for name in table.columns})


def _column(name: str, values: pd.Series[Any]) -> pd.Series[Any]:
    """A column with its declared type; if it has none, or a value of another type, the values' type."""
    hint = _HINTS.get(name) or _HINTS.get(name.partition(".")[0])
    if get_origin(hint) is dict:
        hint = get_args(hint)[1]
    try:
        return values.astype(_DTYPES[hint])
    except (KeyError, TypeError, ValueError):
        texts = values.map(lambda value: json.dumps(value) if isinstance(value, dict | list) else value)
        return texts.astype(_DTYPES[str]) if texts.isna().all() else texts.convert_dtypes()


def _write_csv(made: Mapping[str, pd.DataFrame], out: Path) -> list[Path]:
    """A file per table, and one with the columns' types. Null is an empty field.

    A text that a spreadsheet would compute begins with an apostrophe, which tells it not to.
    """
    paths = []
    for name, table in made.items():
        paths.append(out / f"{name}.csv")
        texts = {str(name): column.map(_inert) for name, column in table.items() if column.dtype == _DTYPES[str]}
        table.assign(**texts).to_csv(paths[-1], index=False)
    described = [
        {"name": name, "path": f"{name}.csv", "schema": build_table_schema(table, index=False)}
        for name, table in made.items()
    ]
    write_json(out / SCHEMA, {"resources": described})
    return [*paths, out / SCHEMA]


def _inert(cell: Any) -> Any:
    return f"'{cell}" if isinstance(cell, str) and _FORMULA.match(cell) else cell


def _write_parquet(made: Mapping[str, pd.DataFrame], out: Path) -> list[Path]:
    paths = []
    for name, table in made.items():
        paths.append(out / f"{name}.parquet")
        table.to_parquet(paths[-1], index=False, engine="pyarrow")
    return paths


def _write_mlflow(loaded: Runs, out: Path) -> None:
    """An MLflow run per run, in a file store that needs no server; existing runs are kept.

    Parameters: workers, seed and the configuration. Metrics: the chief's epochs, a step being an epoch, at the time of
    the record. Values that were not measured are left out. A run that changed since its export is replaced.
    """
    # before the import: MLflow reports its use over the network unless told otherwise, and keeps runs in a database,
    # for which mlflow-skinny has no driver, unless files are allowed
    os.environ.update(MLFLOW_DISABLE_TELEMETRY="true", MLFLOW_ALLOW_FILE_STORE="true")
    from mlflow import MlflowClient

    client = MlflowClient(tracking_uri=out.resolve().as_uri(), registry_uri=out.resolve().as_uri())
    chief = _typed(loaded.epochs[loaded.epochs["rank"] == 0])
    for run in records(_typed(loaded.runs.drop(columns="folder"))):
        epochs = records(chief[chief["run_id"] == run["run_id"]])
        _write_mlflow_run(client, run, epochs)


def _write_mlflow_run(client: MlflowClient, run: Mapping[str, Any], epochs: Sequence[Mapping[str, Any]]) -> None:
    from mlflow.entities import Metric, Param

    names = [name for name in run if name in ("workers", "seed") or name.startswith("config.")]
    params = {name: shown(run[name]) for name in names}
    tags = {name: shown(value) for name, value in run.items() if name not in names and not pd.isna(value)}
    metrics = [
        [
            Metric(name, float(epoch[name]), _ms(epoch["time_s"]), int(epoch["epoch"]))
            for name in fields_of(Epoch)
            if name != "epoch" and not pd.isna(epoch[name])
        ]
        for epoch in epochs
    ]
    content = json.dumps([params, tags, [[str(metric) for metric in step] for step in metrics]])
    tags["content_sha256"] = hashlib.sha256(content.encode()).hexdigest()
    found = client.get_experiment_by_name(run["experiment"])
    experiment = found.experiment_id if found else client.create_experiment(run["experiment"])
    for old in client.search_runs([experiment], f"tags.run_id = '{run['run_id']}'"):
        if old.data.tags.get("content_sha256") == tags["content_sha256"] and old.info.status != "RUNNING":
            return
        client.delete_run(old.info.run_id)
    made = client.create_run(experiment, _ms(run["started_s"]), tags, run["run_id"]).info.run_id
    client.log_batch(made, params=[Param(name, value) for name, value in params.items()])
    for step in metrics:  # one at a time: MLflow takes at most 1,000 at once
        client.log_batch(made, metrics=step)
    client.set_terminated(made, _ENDED[run["status"]], _ms(run["ended_s"]))


def _ms(unix_s: Any) -> int:
    """MLflow's time in ms; 0 if unknown, since MLflow would otherwise use the time of the export."""
    return 0 if pd.isna(unix_s) else round(1000 * unix_s)
