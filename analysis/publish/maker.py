"""What a bundle says of its maker: the kit's version, its environment and its locks, as far as it can be checked."""

from __future__ import annotations

import importlib.metadata
import json
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from analysis.publish.bundle import (
    ABOUT,
    COMPARISON,
    PROJECT,
    README,
    REPORT,
    REQUIREMENTS,
    RUNS,
    SCHEMA,
    notes,
    readme,
)
from analysis.runs.provenance import git, git_state
from trainer.contract.reading import opened, printable

_MOST = 1 << 24  # bytes of a text that is compared


def of_another_version(about: Any, bundle: Path) -> Iterator[str]:
    """What cannot be checked by this version, and how to check it."""
    schema = about.get("schema") if isinstance(about, dict) else None
    if isinstance(schema, int) and schema != SCHEMA:
        which = "an earlier" if schema < SCHEMA else "a later"
        yield (
            f"{COMPARISON} and {REPORT}, which {which} version of the kit has made: it names its figures differently. "
            f"Check them with that version. {_how_to(_commit(about)[0], bundle)}"
        )


def described(root: Path, runs: list[Path], about: dict[str, Any]) -> Iterator[str]:
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
    if about.get("schema") == SCHEMA and text(root / README)[0] != readme(environment):
        yield f"{README} is not the one that the kit writes"
    for name, lock in _locks(_commit(about)[0]).items():
        if text(root / REQUIREMENTS / name)[0] != lock and not environment.get("git_dirty"):
            yield f"{REQUIREMENTS}/{name} is not the lock of commit {environment['git_commit']}"


def of_other_tools(root: Path, about: Any) -> Iterator[str]:
    """What could not be compared, since it depends on what is not here."""
    commit, dirty = _commit(about) if isinstance(about, dict) else (None, False)
    if dirty or not _locks(commit):
        yield f"Not checked: {REQUIREMENTS}/, as {'it may have been changed' if dirty else 'its commit is not here'}."
    here, there = importlib.metadata.version("matplotlib"), matplotlib_of(about)
    if there != here and (root / REPORT).is_file():
        yield (
            f"Not checked: lines and points of the drawings in {REPORT}, made with matplotlib "
            f"{printable(str(there))[:40]}; this is {here}."
        )


def remarks(about: Any, bundle: Path, wrong: bool) -> Iterator[str]:
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


def matplotlib_of(about: Any) -> Any:
    environment = about.get("environment") if isinstance(about, dict) else None
    packages = environment.get("packages") if isinstance(environment, dict) else None
    return packages.get("matplotlib") if isinstance(packages, dict) else None


def text(path: Path) -> tuple[str | None, str | None]:
    """The text of a file, or None and its problem."""
    try:
        with opened(path) as file:
            content = file.read(_MOST + 1)
    except OSError as error:
        return None, f"{path.name} cannot be read: {error.strerror}"
    if len(content) > _MOST:
        return None, f"{path.name} has more than {_MOST} bytes"
    return content.decode("utf-8", errors="replace"), None


def _how_to(commit: str | None, bundle: Path) -> str:
    """Commands to check a bundle with the version that made it."""
    if commit is None:
        return f"{ABOUT} does not say which commit it is."
    return (
        f"In a checkout of the kit: git worktree add ../kit-{commit[:7]} {commit} && cd ../kit-{commit[:7]} && "
        f"make setup && .venv/bin/python -m analysis verify {shlex.quote(str(bundle.resolve()))}"
    )


def _locks(commit: str | None) -> dict[str, str | None]:
    """The locks of the environments in a commit by name; none where the commit is not in this checkout."""
    names = git(PROJECT, "ls-tree", "--name-only", f"{commit}:{REQUIREMENTS}") if commit else None
    locks = [name for name in (names or "").splitlines() if name.endswith(".txt")]
    return {name: git(PROJECT, "show", f"{commit}:{REQUIREMENTS}/{name}") for name in locks}


def _commit(about: dict[str, Any]) -> tuple[str | None, bool]:
    """The commit that made a bundle, and whether it had changes; null if the bundle does not say.

    It becomes part of a command, so it must look like a checksum.
    """
    environment = about.get("environment")
    commit = environment.get("git_commit") if isinstance(environment, dict) else None
    if not isinstance(environment, dict) or not isinstance(commit, str) or not re.fullmatch("[0-9a-f]{40}", commit):
        return None, False
    return commit, bool(environment.get("git_dirty"))
