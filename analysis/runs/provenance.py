"""Provenance of runs: predictions, gates' findings, earlier attempts, and limits of the clocks.

Reads the runs' folders leniently: files of other versions or of an unverified bundle may lack anything. Rows are text
for a table.
"""

from __future__ import annotations

import math
import subprocess
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeAlias

import pandas as pd

from analysis.runs import throttling, timeline
from analysis.runs.columns import records, shown
from analysis.runs.eventlog import read_but_windows
from analysis.runs.manifest import read_object
from trainer.contract.events import Choice
from trainer.contract.layout import BOARDS, EVENTS, GATES, MANIFEST, PREDICTION
from trainer.contract.reading import is_number

Row: TypeAlias = list[str]
PREDICTED = ("run", "predicted epoch [s]", "90 % interval", "measured", "error", "predicted from")
FINDINGS = ("board", "gate", "severity", "found", "wanted", "remedy", "runs")
# what decides how a run is made and what is found in it; not inventories, in which every user lists boards
CODE = (
    "analysis",
    "ansible.cfg",
    "benchmarks",
    "controller",
    "experiments",
    "playbooks",
    "plugins",
    "requirements",
    "roles",
    "studies",
    "trainer",
)
ATTEMPTS = ("run", "attempt", "ended", "cause")
CHOICES = ("run", "chosen", "why")


def predictions(runs: pd.DataFrame) -> Iterator[Row]:
    """Predicted and actual seconds per epoch of each run with a prediction. `runs`: those of a comparison."""
    for run in records(runs):
        found = _object(Path(run["folder"]) / PREDICTION)
        if found:
            predicted, measured = _number(found.get("epoch_s")), float(run["pass_s"])
            ends = [_text(_number(found.get(f"epoch_{end}_s")), ".1f") for end in ("low", "high")]
            interval = "-" if "-" in ends else " to ".join(ends)
            error = _text(_error(predicted, measured), "+.0%")
            times = [_text(predicted, ".1f"), interval, _text(measured, ".1f"), error]
            origin = found.get("measured_in")
            yield [run["run_id"], *times, ", ".join(map(str, origin)) if isinstance(origin, list) else shown(origin)]


def choices(runs: pd.DataFrame) -> Iterator[Row]:
    """What `auto` chose in each run, and why. Boards choose the same: the first one's record counts."""
    for run in records(runs[runs["config.sync.method"] == "auto"]):
        for path in sorted((Path(run["folder"]) / BOARDS).glob(f"*/{EVENTS}"))[:1]:
            made = [record for record in read_but_windows(path)[0] if record["event"] == Choice.KIND]
            for record in made[-1:]:
                yield [run["run_id"], shown(record.get("chosen") or record["method"]), shown(record["reason"])]


def gates(runs: pd.DataFrame) -> list[Row]:
    """The gates' findings before the runs, one row for runs with equal findings."""
    found: dict[tuple[str, ...], list[str]] = {}
    for run_id, report in _reports(runs):
        for finding in _objects(report.get("findings")):
            severity = "waived" if finding.get("waived") is True else finding.get("severity")
            cells = [
                *(finding.get(name) for name in FINDINGS[:2]),
                severity,
                *(finding.get(name) for name in FINDINGS[3:6]),
            ]
            found.setdefault(tuple(map(shown, cells)), []).append(run_id)
    return [[*cells, ", ".join(run_ids)] for cells, run_ids in found.items()]


def unchecked(runs: pd.DataFrame) -> list[str]:
    """The runs without gates.json."""
    checked = {run_id for run_id, report in _reports(runs) if isinstance(report.get("findings"), list)}
    return [run_id for run_id in runs["run_id"] if run_id not in checked]


def waived(runs: pd.DataFrame) -> list[str]:
    """The gates that runs waived."""
    lists = (report.get("waived") for _, report in _reports(runs))
    return sorted({str(gate) for names in lists if isinstance(names, list) for gate in names})


def power_modes(runs: pd.DataFrame) -> dict[tuple[str, str], str]:
    """The power mode by run and board, from the gates, where it is known."""
    return {
        (run_id, board): facts["power_mode"]
        for run_id, report in _reports(runs)
        if isinstance(report.get("boards"), dict)
        for board, facts in report["boards"].items()
        if isinstance(facts, dict) and isinstance(facts.get("power_mode"), str)
    }


def throttled(runs: pd.DataFrame) -> Iterator[str]:
    """What throttled the boards' clocks during the runs, a sentence each."""
    for run_id, folder in _folders(runs):
        for board in _objects(_object(folder / MANIFEST).get("boards")):
            facts = board.get("facts")
            if isinstance(facts, dict):
                yield from (f"{run_id}: {told}" for told in throttling.sentences(shown(board.get("name")), facts))


def unsampled(runs: pd.DataFrame) -> Iterator[str]:
    """Boards whose energy is unknown because their power was sampled with gaps, a sentence each."""
    for run_id, folder in _folders(runs):
        for board in _objects(_object(folder / MANIFEST).get("boards")):
            cost = board.get("cost")
            if isinstance(cost, dict) and isinstance(cost.get("refused"), str):
                yield f"{run_id}: the energy of {shown(board.get('name'))} is not known: {cost['refused']}"


def attempts(runs: pd.DataFrame) -> Iterator[Row]:
    """The earlier attempts of resumed runs."""
    for run_id, folder in _folders(runs):
        for number, attempt in enumerate(_objects(_object(folder / MANIFEST).get("attempts")), 1):
            ended = f"{shown(attempt.get('status'))}, {shown(attempt.get('ended'))}"
            yield [run_id, str(number), ended, shown(attempt.get("cause"))]


def clocks(runs: pd.DataFrame, epochs: pd.DataFrame) -> Iterator[str]:
    """What cannot be concluded from the boards' clocks, a sentence each."""
    several = runs[runs["workers"] > 1]
    unknown = []
    for run_id, folder in _folders(several):
        own = epochs[epochs["run_id"] == run_id]
        if any(timeline.read_clock(folder / BOARDS / board) is None for board in own["board"].unique()):
            unknown.append(run_id)
        else:
            yield from timeline.warnings(run_id, own, folder)
    if unknown:
        yield (
            f"Boards' clocks were not measured in {', '.join(unknown)}: the order of events on different "
            "boards is unknown; durations are not affected"
        )


def git_state(project: Path) -> tuple[str | None, list[str] | None]:
    """The checkout's commit and the changed files of the CODE; nothing without git or a checkout."""
    commit = git(project, "rev-parse", "HEAD")
    changes = git(project, "status", "--porcelain", "--no-renames", "--untracked-files=all", "-z", "--", *CODE)
    if commit is None or changes is None:
        return None, None
    return commit.strip(), sorted(entry[3:] for entry in changes.split("\0") if entry)


def git(project: Path, *arguments: str) -> str | None:
    """What a command of git prints; nothing where it fails."""
    command = ["git", "--literal-pathspecs", "-C", str(project), *arguments]
    try:
        done = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)
    except OSError:
        return None
    return done.stdout if done.returncode == 0 else None


def _folders(runs: pd.DataFrame) -> Iterator[tuple[str, Path]]:
    for run_id, folder in zip(runs["run_id"], runs["folder"], strict=True):
        yield run_id, Path(folder)


def _reports(runs: pd.DataFrame) -> Iterator[tuple[str, dict[str, Any]]]:
    for run_id, folder in _folders(runs):
        yield run_id, _object(folder / GATES)


def _object(path: Path) -> dict[str, Any]:
    return read_object(path)[0] or {}


def _objects(value: object) -> Iterable[Mapping[str, Any]]:
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def _number(value: Any) -> float:
    return float(value) if is_number(value) else math.nan


def _error(predicted: float, measured: float) -> float:
    return predicted / measured - 1 if measured else math.nan


def _text(value: float, form: str) -> str:
    return f"{value:{form}}" if math.isfinite(value) else "-"
