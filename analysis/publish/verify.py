"""Verifies an evidence bundle offline, without trusting anything in it.

It checks that the archive is safe to unpack, that no file changed since packing, that every run matches its manifest,
and that the manifests and all figures follow from the boards' records.
"""

from __future__ import annotations

import importlib.metadata
import json
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from analysis.comparison.compare import Comparison, compare
from analysis.publish import drawings, maker
from analysis.publish.bundle import (
    ABOUT,
    COMPARISON,
    README,
    REPORT,
    REQUIREMENTS,
    RUNS,
    SUMS,
    TOP,
    departures,
    named_files,
)
from analysis.publish.differences import NONE, differences, is_figure
from analysis.runs.errors import AnalysisError
from analysis.runs.loading import load
from analysis.runs.manifest import checksums, digest
from analysis.runs.unpacking import UnpackError, unpack
from trainer.contract.layout import MANIFEST
from trainer.contract.reading import known, read

NOT_PROVEN = (
    "Not proven: that the records are what the boards measured (nobody signed them), that no run was left out, that a "
    "switch or a wall meter took what a manifest says, that the environment in bundle.json is that of its maker, and "
    "that the bundle is the one that was published (give its checksum as --sha256)."
)
_TOLD = 50  # findings of one kind


@dataclass(frozen=True)
class Verification:
    """The result of a verification.

    findings: a sentence for each error; empty for a valid bundle.
    unchecked: a sentence for each thing that only another version of the kit can check; else empty.
    notes: how the bundle was made, and what that means for the findings.
    """

    findings: list[str]
    unchecked: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    files: int = 0
    runs: int = 0
    figures: int = 0  # numbers in comparison.json


def verify(bundle: Path, sha256: str | None = None) -> Verification:
    """Verify a bundle; `sha256` is the archive's published checksum.

    Raises OSError if the file cannot be read.
    """
    found = digest(bundle)
    findings = [] if sha256 in (None, found) else [f"{bundle.name} has the SHA-256 {found}, not the published {sha256}"]
    with tempfile.TemporaryDirectory() as folder:
        unsafe = _unpack(bundle, Path(folder))
        if unsafe:
            return Verification([*findings, *unsafe])
        root = Path(folder) / TOP
        runs = sorted(path for path in (root / RUNS).glob("*") if path.is_dir())
        findings += _guarded(SUMS, _files(root))
        for run in runs:
            place = f"{RUNS}/{run.name}"
            findings += _guarded(place, (f"{place}: {finding}" for finding in _run(run)))
        claimed, problem = _json(root / COMPARISON)
        about, _ = _json(root / ABOUT)
        unchecked = list(maker.of_another_version(about, bundle))
        findings += [problem] if problem else _guarded(COMPARISON, _named(runs, claimed))
        if not problem and not unchecked:
            findings += _guarded(COMPARISON, _figures(root, runs, claimed, about, bool(findings)))
        if isinstance(about, dict):
            findings += _guarded(ABOUT, maker.described(root, runs, about))
        remarks = [*maker.remarks(about, bundle, bool(findings)), *maker.of_other_tools(root, about)]
        figures = sum(1 for _ in _numbers(claimed))
        return Verification(findings, unchecked, remarks, len(checksums(root)), len(runs), figures)


def _guarded(what: str, findings: Iterable[str]) -> Iterator[str]:
    """The findings of a check, and one more if the check itself fails.

    Untrusted files may contain any value, which may raise any error.
    """
    try:
        for count, finding in enumerate(findings):
            if count == _TOLD:
                yield f"{what}: more findings, which are not listed"
                return
            yield finding
    except Exception as error:
        yield f"{what} cannot be checked: the files are not as the kit writes them ({error!r:.200})"


def changes(claimed: Any, recomputed: Any) -> Iterator[str]:
    """A sentence for each leaf in which two JSON values differ; see `differences`."""
    for path, here, there in differences(claimed, recomputed):
        if isinstance(here, list) and isinstance(there, list):
            yield f"{path}: {len(here)} entries in the bundle, {len(there)} recomputed"
        elif here is NONE:
            yield f"{path}: not in the bundle, {json.dumps(there)} recomputed"
        else:
            gives = "not" if there is NONE else json.dumps(there)
            yield f"{path}: {json.dumps(here)} in the bundle, {gives} recomputed"


def _numbers(value: Any) -> Iterator[float]:
    left = [value]
    while left:
        item = left.pop()
        if isinstance(item, dict | list):
            left += item.values() if isinstance(item, dict) else item
        elif is_figure(item):
            yield item


def _unpack(bundle: Path, to: Path) -> list[str]:
    """Unpack a bundle; if its names, kinds or sizes are not a bundle's, unpack nothing and say why."""
    try:
        unpack(bundle, to, wanted=_outside)
    except UnpackError as error:
        return error.problems
    except OSError as error:
        return [f"{bundle.name} cannot be unpacked: {error}"]
    return []


def _outside(parts: tuple[str, ...]) -> str | None:
    return None if parts[:1] == (TOP,) and ".." not in parts else f"outside of {TOP}/"


def _files(root: Path) -> Iterator[str]:
    """Files that are changed, missing or not part of a bundle, according to SHA256SUMS and the bundle's layout."""
    found = checksums(root)
    listed: dict[str, str] = {}
    if SUMS in found:
        for line in (maker.text(root / SUMS)[0] or "").splitlines():
            sum_, _, name = line.partition("  ")
            listed[name] = sum_
    else:
        yield f"{SUMS} is missing"
    for name in [*listed, *(name for name in found if name not in listed)]:
        if name not in found:
            yield f"{name} is missing, but {SUMS} names it"
        elif name not in listed and name != SUMS and SUMS in found:
            yield f"{name} is not named in {SUMS}"
        elif name in listed and listed[name] != found[name]:
            yield f"{name} was changed: its SHA-256 is {found[name]}, not {listed[name]}"
    for name in found:
        first, *below = PurePosixPath(name).parts
        single = not below and first in (SUMS, ABOUT, COMPARISON, REPORT, README)
        if not (single or (first == RUNS and len(below) > 1) or (first == REQUIREMENTS and len(below) == 1)):
            yield f"{name} is not part of a bundle"
    yield from (f"{name} is missing" for name in (ABOUT, COMPARISON, REPORT, README) if name not in found)


def _run(folder: Path) -> Iterator[str]:
    """Differences between a run, its manifest and its records."""
    yield from departures(folder)
    named, problem = named_files(folder)
    if problem is None:
        found = checksums(folder)
        yield from (f"{name} is not named in {MANIFEST}" for name in found if name not in (*named, MANIFEST))


def _named(runs: list[Path], claimed: Any) -> Iterator[str]:
    """Runs that are only in comparison.json or only in the bundle."""
    named = set(_named_runs(claimed))
    yield from (
        f"{name}: named in {COMPARISON}, but not in {RUNS}/" for name in sorted(named - {it.name for it in runs})
    )
    yield from (f"{it.name}: in {RUNS}/, but not named in {COMPARISON}" for it in runs if it.name not in named)


def _figures(root: Path, runs: list[Path], claimed: Any, about: Any, wrong: bool) -> Iterator[str]:
    """Figures in comparison.json and the report that differ from the runs' records.

    `wrong`: there are findings already, so that nothing is drawn to be compared, which takes seconds.
    """
    try:
        comparison = compare(load(runs))
    except AnalysisError as error:
        yield f"{COMPARISON} cannot be recomputed: {str(error).replace(f'{root}/', '')}"
        return
    recomputed = json.loads(json.dumps(comparison.to_dict(), allow_nan=False))
    found = [f"{COMPARISON}: {change}" for change in changes(claimed, recomputed)]
    yield from found
    if (root / REPORT).is_file():
        yield from _report(root, comparison, about, drawn=not wrong and not found)


def _report(root: Path, comparison: Comparison, about: Any, *, drawn: bool) -> Iterator[str]:
    from analysis.report.report import render  # matplotlib takes a second to import

    kept, problem = maker.text(root / REPORT)
    if kept is None:
        yield str(problem)
        return
    try:
        for drawing in drawings.apart(kept)[1]:
            drawings.texts(drawing)
        fresh = render(comparison, root, drawn=drawn)
        same_version = maker.matplotlib_of(about) == importlib.metadata.version("matplotlib")
        yield from (f"{REPORT} {found}" for found in drawings.problems(kept, fresh, same_version=same_version))
    except drawings.Odd as error:
        yield f"{REPORT} {error}"


def _named_runs(claimed: Any) -> Iterator[str]:
    """All run ids in comparison.json."""
    tables = (claimed.get("arms"), claimed.get("excluded")) if isinstance(claimed, dict) else ()
    for row in (row for table in tables if isinstance(table, list) for row in table if isinstance(row, dict)):
        run_ids = row.get("run_ids", [row.get("run_id")])
        yield from map(str, run_ids if isinstance(run_ids, list) else [run_ids])


def _json(path: Path) -> tuple[Any, str | None]:
    try:
        return known(read(path), []), None
    except (OSError, ValueError) as error:
        return None, f"{path.name} cannot be read: {str(error).replace(f'{path.parent}/', '')}"
