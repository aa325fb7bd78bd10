"""Verifies an evidence bundle offline, without trusting anything in it.

It checks that the archive is safe to unpack, that no file changed since packing, that every run matches its manifest,
and that the manifests and all figures follow from the boards' records.
"""

from __future__ import annotations

import importlib.metadata
import json
import re
import shlex
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from analysis.comparison.compare import Comparison, compare
from analysis.publish import drawings
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
    notes,
    readme,
)
from analysis.publish.differences import NONE, differences, is_figure
from analysis.runs.errors import AnalysisError
from analysis.runs.loading import load
from analysis.runs.manifest import checksums, digest
from analysis.runs.provenance import git, git_state
from analysis.runs.unpacking import UnpackError, unpack
from trainer.contract.layout import MANIFEST
from trainer.contract.reading import known, opened, printable, read

NOT_PROVEN = (
    "Not proven: that the records are what the boards measured (nobody signed them), that no run was left out, that a "
    "switch or a wall meter took what a manifest says, that the environment in bundle.json is that of its maker, and "
    "that the bundle is the one that was published (give its checksum as --sha256)."
)
_MOST = 1 << 24  # bytes of a text that is compared
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
        unchecked = list(_of_another_version(about, bundle))
        findings += [problem] if problem else _guarded(COMPARISON, _named(runs, claimed))
        if not problem and not unchecked:
            findings += _guarded(COMPARISON, _figures(root, runs, claimed, about, bool(findings)))
        if isinstance(about, dict):
            findings += _guarded(ABOUT, _described(root, runs, about))
        remarks = [*_notes(about, bundle, bool(findings)), *_of_other_tools(root, about)]
        figures = sum(1 for _ in _numbers(claimed))
        return Verification(findings, unchecked, remarks, len(checksums(root)), len(runs), figures)


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
        for line in (_text(root / SUMS)[0] or "").splitlines():
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

    kept, problem = _text(root / REPORT)
    if kept is None:
        yield str(problem)
        return
    try:
        for drawing in drawings.apart(kept)[1]:
            drawings.texts(drawing)
        fresh = render(comparison, root, drawn=drawn)
        same_version = _matplotlib(about) == importlib.metadata.version("matplotlib")
        yield from (f"{REPORT} {found}" for found in drawings.problems(kept, fresh, same_version=same_version))
    except drawings.Odd as error:
        yield f"{REPORT} {error}"


def _named_runs(claimed: Any) -> Iterator[str]:
    """All run ids in comparison.json."""
    tables = (claimed.get("arms"), claimed.get("excluded")) if isinstance(claimed, dict) else ()
    for row in (row for table in tables if isinstance(table, list) for row in table if isinstance(row, dict)):
        run_ids = row.get("run_ids", [row.get("run_id")])
        yield from map(str, run_ids if isinstance(run_ids, list) else [run_ids])


def _described(root: Path, runs: list[Path], about: dict[str, Any]) -> Iterator[str]:
    """What README.txt, bundle.json and the locks say of the bundle, as far as it can be checked."""
    environment = about.get("environment")
    if not isinstance(environment, dict):
        yield f"{ABOUT} has no environment"
        return
    listed_runs = (about.get("options") or {}).get("runs")
    if listed_runs != [run.name for run in runs]:
        yield f"{ABOUT} names the runs {json.dumps(listed_runs)}, but {RUNS}/ has others"
    if about.get("notes") != list(notes(environment)):
        yield f"{ABOUT} has other notes than its environment gives"
    if about.get("schema") == SCHEMA and _text(root / README)[0] != readme(environment):
        yield f"{README} is not the one that the kit writes"
    for name, lock in _locks(_commit(about)[0]).items():
        if _text(root / REQUIREMENTS / name)[0] != lock and not environment.get("git_dirty"):
            yield f"{REQUIREMENTS}/{name} is not the lock of commit {environment['git_commit']}"


def _locks(commit: str | None) -> dict[str, str | None]:
    """The locks of the environments in a commit by name; none where the commit is not in this checkout."""
    names = git(PROJECT, "ls-tree", "--name-only", f"{commit}:{REQUIREMENTS}") if commit else None
    locks = [name for name in (names or "").splitlines() if name.endswith(".txt")]
    return {name: git(PROJECT, "show", f"{commit}:{REQUIREMENTS}/{name}") for name in locks}


def _of_other_tools(root: Path, about: Any) -> Iterator[str]:
    """What could not be compared, since it depends on what is not here."""
    commit, dirty = _commit(about) if isinstance(about, dict) else (None, False)
    if dirty or not _locks(commit):
        yield f"Not checked: {REQUIREMENTS}/, as {'it may have been changed' if dirty else 'its commit is not here'}."
    here, there = importlib.metadata.version("matplotlib"), _matplotlib(about)
    if there != here and (root / REPORT).is_file():
        yield (
            f"Not checked: lines and points of the drawings in {REPORT}, made with matplotlib "
            f"{printable(str(there))[:40]}; this is {here}."
        )


def _matplotlib(about: Any) -> Any:
    environment = about.get("environment") if isinstance(about, dict) else None
    packages = environment.get("packages") if isinstance(environment, dict) else None
    return packages.get("matplotlib") if isinstance(packages, dict) else None


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
        return known(read(path), []), None
    except (OSError, ValueError) as error:
        return None, f"{path.name} cannot be read: {str(error).replace(f'{path.parent}/', '')}"


def _text(path: Path) -> tuple[str | None, str | None]:
    """The text of a file, or None and its problem."""
    try:
        with opened(path) as file:
            content = file.read(_MOST + 1)
    except OSError as error:
        return None, f"{path.name} cannot be read: {error.strerror}"
    if len(content) > _MOST:
        return None, f"{path.name} has more than {_MOST} bytes"
    return content.decode("utf-8", errors="replace"), None
