"""Verifies an evidence bundle offline, without trusting anything in it.

It checks that the archive is safe to unpack, that no file changed since packing, that every run matches its manifest,
and that the manifests and all figures follow from the boards' records.
"""

from __future__ import annotations

import json
import math
import re
import shlex
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from analysis.comparison.compare import Comparison, compare
from analysis.publish.bundle import (
    ABOUT,
    COMPARISON,
    PROJECT,
    README,
    REPORT,
    REQUIREMENTS,
    RUNS,
    SCHEMA,
    SUMS,
    TOP,
    departures,
    named_files,
)
from analysis.runs.errors import AnalysisError
from analysis.runs.loading import load
from analysis.runs.manifest import checksums, digest
from analysis.runs.provenance import git_state
from analysis.runs.unpacking import UnpackError, unpack
from trainer.contract.layout import MANIFEST

NOT_PROVEN = (
    "Not proven: that the records are what the boards measured (nobody signed them), that no run was left out, and "
    "that the bundle is the one that was published (give its checksum as --sha256); the drawings in report.html and "
    "the environment in bundle.json are not checked."
)
TOLERANCE = 1e-9  # relative: another order of sums, another processor
_NOTHING = 1e-12  # smaller figures are rounding errors
_DRAWING = re.compile(r"<svg.*?</svg>\n?", re.DOTALL)


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
        findings += _files(root)
        for run in runs:
            place = f"{RUNS}/{run.name}"
            findings += _guarded(place, (f"{place}: {finding}" for finding in _run(run)))
        claimed, problem = _json(root / COMPARISON)
        about, _ = _json(root / ABOUT)
        unchecked = list(_of_another_version(about, bundle))
        findings += [problem] if problem else _guarded(COMPARISON, _named(runs, claimed))
        if not problem and not unchecked:
            findings += _guarded(COMPARISON, _figures(root, runs, claimed))
        notes = list(_notes(about, bundle, bool(findings)))
        figures = sum(1 for _ in _numbers(claimed))
        return Verification(findings, unchecked, notes, len(checksums(root)), len(runs), figures)


def _of_another_version(about: Any, bundle: Path) -> Iterator[str]:
    """What cannot be checked by this version, and how to check it."""
    schema = about.get("schema") if isinstance(about, dict) else None
    if isinstance(schema, int) and schema != SCHEMA:
        which = "an earlier" if schema < SCHEMA else "a later"
        yield (
            f"{COMPARISON} and {REPORT}, which {which} version of the kit has made: it names its figures differently. "
            f"Check them with that version. {_how_to(_commit(about)[0], bundle)}"
        )


def _how_to(commit: str | None, bundle: Path) -> str:
    """Commands to check a bundle with the version that made it."""
    if commit is None:
        return f"{ABOUT} does not say which commit it is."
    return (
        f"In a checkout of the kit: git worktree add ../kit-{commit[:7]} {commit} && cd ../kit-{commit[:7]} && "
        f"make setup && .venv/bin/python -m analysis verify {shlex.quote(str(bundle.resolve()))}"
    )


def _guarded(what: str, findings: Iterable[str]) -> Iterator[str]:
    """The findings of a check, and one more if the check itself fails.

    Untrusted files may contain any value, which may raise any error.
    """
    try:
        yield from findings
    except Exception as error:
        yield f"{what} cannot be checked: the files are not as the kit writes them ({error!r:.200})"


def changes(claimed: Any, recomputed: Any, path: str = "") -> Iterator[str]:
    """A sentence for each leaf in which two JSON values differ, by its path, such as arms[1].speedup."""
    if isinstance(claimed, dict) and isinstance(recomputed, dict):
        for name in [*claimed, *(name for name in recomputed if name not in claimed)]:
            below = f"{path}.{name}" if path else name
            if name not in claimed:
                yield f"{below}: not in the bundle, {json.dumps(recomputed[name])} recomputed"
            elif name not in recomputed:
                yield f"{below}: {json.dumps(claimed[name])} in the bundle, not recomputed"
            else:
                yield from changes(claimed[name], recomputed[name], below)
    elif isinstance(claimed, list) and isinstance(recomputed, list):
        if len(claimed) != len(recomputed):
            yield f"{path}: {len(claimed)} entries in the bundle, {len(recomputed)} recomputed"
        for place, (one, other) in enumerate(zip(claimed, recomputed, strict=False)):
            yield from changes(one, other, f"{path}[{place}]")
    elif not _same(claimed, recomputed):
        yield f"{path}: {json.dumps(claimed)} in the bundle, {json.dumps(recomputed)} recomputed"


def _same(one: Any, other: Any) -> bool:
    if _is_number(one) and _is_number(other):
        return math.isclose(one, other, rel_tol=TOLERANCE, abs_tol=_NOTHING)
    return type(one) is type(other) and bool(one == other)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _numbers(value: Any) -> Iterator[float]:
    left = [value]  # no recursion: the depth is unknown
    while left:
        item = left.pop()
        if isinstance(item, dict | list):
            left += item.values() if isinstance(item, dict) else item
        elif _is_number(item):
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
        for line in (root / SUMS).read_text(encoding="utf-8", errors="replace").splitlines():
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


def _figures(root: Path, runs: list[Path], claimed: Any) -> Iterator[str]:
    """Figures in comparison.json and the report that differ from the runs' records."""
    try:
        comparison = compare(load(runs))
    except AnalysisError as error:
        yield f"{COMPARISON} cannot be recomputed: {str(error).replace(f'{root}/', '')}"
        return
    recomputed = json.loads(json.dumps(comparison.to_dict(), allow_nan=False))
    yield from (f"{COMPARISON}: {change}" for change in changes(claimed, recomputed))
    if (root / REPORT).is_file() and not _is_report_of(root, comparison):
        yield f"{REPORT} differs from a report recomputed from the records"


def _named_runs(claimed: Any) -> Iterator[str]:
    """All run ids in comparison.json."""
    tables = (claimed.get("arms"), claimed.get("excluded")) if isinstance(claimed, dict) else ()
    for row in (row for table in tables if isinstance(table, list) for row in table if isinstance(row, dict)):
        run_ids = row.get("run_ids", [row.get("run_id")])
        yield from map(str, run_ids if isinstance(run_ids, list) else [run_ids])


def _is_report_of(root: Path, comparison: Comparison) -> bool:
    """Whether the report's text is the same; its drawings depend on matplotlib's version and on fonts."""
    from analysis.report.report import render  # matplotlib takes a second to import

    kept = (root / REPORT).read_text(encoding="utf-8", errors="replace")
    return _DRAWING.sub("", kept) == render(comparison, root, drawn=False)


def _notes(about: Any, bundle: Path, wrong: bool) -> Iterator[str]:
    if not isinstance(about, dict):
        return
    commit, dirty = _commit(about)
    yield (
        f"Made with commit {commit or 'unknown'}{', with uncommitted changes' if dirty else ''}, according to "
        "the bundle."
    )
    here, _ = git_state(PROJECT)
    if wrong and commit != here:
        yield (
            f"This is commit {here}: other versions may compute other figures, so also check with the "
            "bundle's version. "
            f"{_how_to(commit, bundle)}"
        )


def _commit(about: dict[str, Any]) -> tuple[str | None, bool]:
    """The commit that made a bundle, and whether it had changes; null if the bundle does not say.

    It becomes part of a command, so it must look like a checksum.
    """
    environment = about.get("environment")
    commit = environment.get("git_commit") if isinstance(environment, dict) else None
    if not isinstance(environment, dict) or not isinstance(commit, str) or not re.fullmatch("[0-9a-f]{40}", commit):
        return None, False
    return commit, bool(environment.get("git_dirty"))


def _json(path: Path) -> tuple[Any, str | None]:
    try:
        return json.loads(path.read_text(encoding="utf-8")), None
    except (OSError, ValueError, RecursionError) as error:
        return None, f"{path.name} cannot be read: {str(error).replace(f'{path.parent}/', '')}"
