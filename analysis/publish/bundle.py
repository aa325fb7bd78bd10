"""The evidence of a comparison in one archive: runs, results and checksums.

    evidence/
      SHA256SUMS        of every other file; `sha256sum -c SHA256SUMS` checks them without the kit
      README.txt        how to check it
      bundle.json       which study and runs were chosen, environment of the controller, what a reader must know
      comparison.json   every figure: `Comparison.to_dict`
      report.html the same as a page
      requirements/     the locks of the environments
      runs/<run_id>/    run.json, manifest.json and the files that it names

`analysis.publish.verify` checks one. The same runs in the same environment give the same bytes.
"""

from __future__ import annotations

import gzip
import importlib.metadata
import json
import platform
import shutil
import tarfile
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from analysis.comparison.compare import compare
from analysis.publish.differences import NONE, differences, is_figure
from analysis.runs.errors import AnalysisError
from analysis.runs.loading import load, run_folders
from analysis.runs.manifest import checksums, digest, from_records, read_manifest, was_stopped
from analysis.runs.provenance import git_state
from trainer.contract import layout
from trainer.contract.config import ConfigError
from trainer.contract.layout import CHECKPOINTS, MANIFEST, RUN, write_json
from trainer.contract.reading import listed
from trainer.contract.run import Run, load_run

SCHEMA = 3  # of bundle.json: counts what comparison.json and the report call their figures, and how they follow
TOP = "evidence"  # the only folder at the top of the archive
SUMS, ABOUT, COMPARISON, REPORT, README = "SHA256SUMS", "bundle.json", "comparison.json", "report.html", "README.txt"
REQUIREMENTS, RUNS = "requirements", "runs"
PROJECT = Path(__file__).resolve().parents[2]
# values of a manifest that the boards cannot measure: see manifest.add_energy
_GIVEN = ("cost.switch_energy_j", "cost.wall_energy_j")
_MTIME_S = 315_532_800  # 1980: the earliest time that all archive formats support
_TEXT = """\
The evidence of a comparison of training runs, made with the cluster experiment kit{commit}.

  sha256sum -c SHA256SUMS               in this folder: no file was changed since
  python -m analysis verify FILE        in a checkout of the kit, FILE being the archive that this was in: the same,
                                        and every figure computed anew from the runs' records

bundle.json has the environment that made it, comparison.json every figure, report.html the page.
"""


@dataclass(frozen=True)
class Bundle:
    """The written bundle. `warnings`: sentences for its publisher."""

    path: Path
    sha256: str  # of the archive
    run_ids: list[str]
    files: int
    warnings: list[str]


def write_bundle(paths: Iterable[Path | str], out: Path, study: str | None = None) -> Bundle:
    """Pack the runs among `paths`, or only those of `study`, with their comparison.

    Leaves out probes, copies of runs, files that a run's manifest does not name, checkpoints and junk (see `layout`).
    Raises AnalysisError with all runs that lack a manifest or differ from it, and if there is nothing to compare.
    """
    runs = _select(paths, study)
    problems = [f"{folder.name}: {problem}" for folder, run in runs for problem in departures(folder)]
    if problems:
        raise AnalysisError(_refusal(problems))
    with tempfile.TemporaryDirectory() as staging:
        root = Path(staging) / TOP
        for folder, run in runs:
            _copy_run(folder, root / RUNS / run.run_id)
        environment = _environment()
        _describe(root, {"study": study, "runs": [run.run_id for _, run in runs]}, environment)
        sums = checksums(root)
        (root / SUMS).write_text("".join(f"{sum_}  {name}\n" for name, sum_ in sums.items()), encoding="utf-8")
        _pack(root, out)
        warnings = [*notes(environment), *_machine_paths(root, runs)]
    return Bundle(out, digest(out), [run.run_id for _, run in runs], len(sums) + 1, warnings)


def departures(folder: Path) -> list[str]:
    """Differences between a run's folder and its manifest: missing or changed files, other values than the records'."""
    named, problem = named_files(folder)
    if problem:
        return [problem]
    boards = _boards(folder)
    named = {name: sum_ for name, sum_ in named.items() if not layout.within_junk(name, boards)}
    if (folder / MANIFEST).is_symlink():
        return [f"{MANIFEST} is a link: put the file itself there"]
    present = (path for path in layout.files(folder, boards) if path.relative_to(folder).as_posix() in named)
    found = checksums(folder, present)
    missing = [f"{name} is missing, but {MANIFEST} names it" for name in named if name not in found]
    changed = [
        f"{name} is not the file that {MANIFEST} names: its SHA-256 is {found[name]}"
        for name, sum_ in named.items()
        if found.get(name, sum_) != sum_
    ]
    # changed files imply other differences: report only the files
    return [*missing, *changed] or list(_disagreements(folder))


def _disagreements(folder: Path) -> Iterator[str]:
    """Values of the manifest that do not follow from the boards' records."""
    manifest = read_manifest(folder)[0] or {}
    try:
        follows = from_records(folder, interrupted=was_stopped(manifest))
    except (ConfigError, OSError) as error:
        yield str(error).replace(f"{folder}/", "")
        return
    yield from _claims(MANIFEST, manifest, follows)
    for attempt in layout.attempts(folder):
        where = f"{layout.ATTEMPTS}/{attempt.name}/{MANIFEST}"
        claimed, problem = read_manifest(attempt)
        if claimed is not None:
            follows_then = from_records(attempt, load_run(folder / RUN), interrupted=was_stopped(claimed))
            # its gates, and the attempts before it, are in the run's folder; of an attempt nobody reads them
            told = {name: value for name, value in claimed.items() if name not in ("gates", "attempts")}
            yield from _claims(where, told, follows_then)
        elif (attempt / MANIFEST).exists():
            yield f"{where} {problem}"
    if follows["run_id"] != folder.resolve().name:
        yield f"its run.json is of {follows['run_id']}: rename the folder to that"


def _claims(where: str, manifest: Mapping[str, Any], follows: Mapping[str, Any]) -> Iterator[str]:
    """Values of a manifest that its records do not give. Values that an older version did not write are no claims."""
    for name, said, found in differences(manifest, follows):
        if name == "schema" or (found is NONE and (name == "sha256" or manifest["schema"] != layout.SCHEMA)):
            continue  # read_manifest has checked the schema, and the checksums were compared with the files
        if name in _GIVEN and (said is None or (is_figure(said) and said >= 0)):
            continue
        if said is not NONE:
            gives = "nothing" if found is NONE else json.dumps(found)
            yield f"{where} has {name} {json.dumps(said):.300}, but the boards' records give {gives:.300}"


def named_files(folder: Path) -> tuple[dict[str, str], str | None]:
    """SHA-256 by name of a run's files for a bundle, and problems of the manifest."""
    manifest, problem = read_manifest(folder)
    if manifest is None:
        return {}, f"{MANIFEST} {problem}"
    if not isinstance(manifest.get("sha256"), dict):
        return {}, f"{MANIFEST} lacks sha256"
    return {
        name: sum_ for name, sum_ in manifest["sha256"].items() if CHECKPOINTS not in PurePosixPath(name).parts
    }, None


def _boards(folder: Path) -> list[str]:
    try:
        return load_run(folder / RUN).boards
    except ConfigError:
        return []  # `_disagreements` reports it


def _select(paths: Iterable[Path | str], study: str | None) -> list[tuple[Path, Run]]:
    """Training runs with their folders, by run id. Raises AnalysisError with all unusable ones."""
    chosen: dict[str, tuple[Path, Run]] = {}
    studies, problems = set(), []
    for folder in run_folders(paths):
        try:
            run = load_run(folder / RUN)
        except ConfigError as error:
            problems.append(f"{folder.name}: {error}")
            continue
        name = run.study or ""
        studies.add(name.partition("/")[0])
        if run.task != "train" or (study is not None and not name.startswith(f"{study}/")):
            continue
        if run.run_id in chosen:
            problems.append(f"{run.run_id}: given twice, as {chosen[run.run_id][0]} and {folder}")
        chosen[run.run_id] = (folder, run)
    if problems:
        raise AnalysisError(_refusal(problems))
    if not chosen and study is not None:
        known = ", ".join(sorted(studies - {""})) or "none"
        raise AnalysisError(f"no run of study {study!r} was given; the studies of those that were: {known}")
    if not chosen:
        raise AnalysisError("no training run found: give run folders, such as runs/*")
    return [chosen[run_id] for run_id in sorted(chosen)]


def _refusal(problems: Sequence[str]) -> str:
    listed = "".join(f"\n  {problem}" for problem in problems)
    return (
        f"not bundled, {len(problems)} problems:{listed}\nRestore the collected files, or leave out these "
        "runs. Write a missing manifest with: python -m controller manifest RUN_DIR"
    )


def _copy_run(folder: Path, to: Path) -> None:
    named, boards = named_files(folder)[0], _boards(folder)
    for name in [*(name for name in named if not layout.within_junk(name, boards)), MANIFEST]:
        (to / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(folder / name, to / name)


def _describe(root: Path, options: Mapping[str, Any], environment: Mapping[str, Any]) -> None:
    """Add the results and their environment to the staged runs."""
    from analysis.report.report import write_report  # imported late: matplotlib takes a second

    # from the copies, so that the comparison's paths are those in the bundle
    comparison = compare(load((root / RUNS).iterdir()))
    write_json(root / COMPARISON, comparison.to_dict())
    write_report(comparison, root / REPORT)
    told = list(notes(environment))
    write_json(root / ABOUT, {"schema": SCHEMA, "options": options, "environment": environment, "notes": told})
    (root / README).write_text(readme(environment), encoding="utf-8")
    (root / REQUIREMENTS).mkdir()
    for lock in layout.entries(PROJECT / REQUIREMENTS, "*.txt"):
        shutil.copyfile(lock, root / REQUIREMENTS / lock.name)


def _environment() -> dict[str, Any]:
    """The controller's environment; the boards' facts are in the runs' manifests."""
    commit, changed = git_state(PROJECT)
    packages = {item.name: item.version for item in importlib.metadata.distributions()}
    return {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "packages": dict(sorted(packages.items(), key=lambda item: item[0].lower())),
        "git_commit": commit,
        "git_dirty": None if changed is None else bool(changed),
        "git_changed": changed,
    }


def readme(environment: Mapping[str, Any]) -> str:
    """README.txt of a bundle made in this environment."""
    commit = f", commit {environment['git_commit']}" if environment["git_commit"] else ""
    return _TEXT.format(commit=commit)


def notes(environment: Mapping[str, Any]) -> Iterator[str]:
    """Notes on how the bundle was made, for its reader."""
    if environment["git_commit"] is None:
        yield "made with a version of the kit that is not in git"
    elif environment["git_dirty"]:
        changed = listed(environment["git_changed"])
        yield f"made with uncommitted changes on top of commit {environment['git_commit']}: {changed}"


def _machine_paths(root: Path, runs: Sequence[tuple[Path, Run]]) -> Iterator[str]:
    """A warning for each packed file that contains a path on this machine."""
    places = {f"{place}/" for place in (PROJECT, Path.home(), *(folder.resolve().parent for folder, _ in runs))}
    for _, run in runs:
        given = (run.config.data.path, run.config.model.weights)
        places |= {str(path) for path in given if path and Path(path).is_absolute()}
    for path in sorted(root.rglob("*")):
        found = sorted(place for place in places - {"//"} if path.is_file() and place.encode() in path.read_bytes())
        if found:
            yield f"{path.relative_to(root).as_posix()} contains {' and '.join(found)}, a path on this machine"


def _pack(root: Path, out: Path) -> None:
    """Write the folder as an archive with sorted names, no owners and a fixed time: equal folders give equal bytes."""
    out.parent.mkdir(parents=True, exist_ok=True)
    draft = out.with_name(f"{out.name}.part")
    with (
        draft.open("wb") as file,
        gzip.GzipFile(filename="", mode="wb", fileobj=file, mtime=0) as packed,
        tarfile.open(fileobj=packed, mode="w", format=tarfile.PAX_FORMAT) as archive,
    ):
        for path in sorted(path for path in root.rglob("*") if path.is_file()):
            member = tarfile.TarInfo(f"{TOP}/{path.relative_to(root).as_posix()}")
            member.size, member.mode, member.mtime = path.stat().st_size, 0o644, _MTIME_S
            with path.open("rb") as content:
                archive.addfile(member, content)
    draft.replace(out)
