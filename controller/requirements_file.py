"""The packages that an environment must have, from a requirements file and the role's settings, and how one differs.

Versions are compared by PEP 440, which needs `packaging`: it comes with ansible-core; boards do not have it.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path, PurePath
from typing import Any

from packaging.markers import UndefinedComparison, UndefinedEnvironmentName
from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import InvalidWheelFilename, canonicalize_name, parse_wheel_filename
from packaging.version import InvalidVersion, Version

from analysis.runs.manifest import digest

_FIRST = ("pip", "setuptools", "wheel", "numpy")  # needed to build source packages
_HASH = re.compile(r"\s--hash=sha(256|384|512):[0-9a-f]+(?=\s|$)")
_SHOWN = 3  # names listed in a message; the others are counted


def plan(text: str | None, settings: Mapping[str, Any]) -> dict[str, Any]:
    """The wanted environment: `packages` (name to version), `wheel` (TensorFlow's package name, or empty), `problems`.

    `text`: content of the requirements file, or empty. `settings`: the role's by name without the prefix python_env_,
    and `wheel`, the file name of TensorFlow's wheel or empty.
    """
    lines, problems = _parse(text or "", settings)
    if not settings["pycuda"]:
        lines.pop("pycuda", None)
    packages = {name: version for name, (version, _) in lines.items()}
    problems += _numbers(settings)
    if settings["wheel"]:
        problems += _wheel(settings["wheel"], str(settings["python_version"]), packages)
    wanted = [(setting, str(settings[setting]).split("==")) for setting in ("tensorflow", "pycuda")]
    wanted += [("pins", [name, version]) for name, version in settings["pins"].items() if isinstance(version, str)]
    for setting, pin in wanted if text is not None else ():
        if len(pin) == 2:
            problems += _same(f"python_env_{setting}", pin[0], pin[1], packages, settings["requirements"])
    wheel = next((name for name in packages if name not in lines), "")
    return {"packages": packages, "wheel": wheel, "problems": problems}


def parts(text: str, names: Collection[str], settings: Mapping[str, Any]) -> dict[str, str]:
    """The requirements of these packages: `first` (needed to build others) and `all`; `settings` as for `plan`."""
    lines, _ = _parse(text, settings)
    texts = {name: line for name, (_, line) in lines.items() if name in names}
    return {"first": "".join(texts[name] for name in _FIRST if name in texts), "all": "".join(texts.values())}


def staging(text: str, folder: str, target: str) -> dict[str, list[Any]]:
    """Packages' files in a folder whose hashes `text` has: `files` to stage in `target`, and `missing` packages."""
    by_hash = {digest(path): path for path in sorted(Path(folder).iterdir()) if path.is_file()}
    files, missing = [], []
    for line in text.splitlines():
        found = [checksum for checksum in re.findall(r"--hash=sha256:([0-9a-f]{64})", line) if checksum in by_hash]
        missing += [] if found else [line.split()[0]]
        files += [{"source": str(by_hash[c]), "path": f"{target}/{by_hash[c].name}", "sha256": c} for c in found]
    return {"files": files, "missing": missing}


def differences(found: Mapping[str, Any], python: str, packages: Mapping[str, str]) -> dict[str, list[str]]:
    """How an environment, described by trainer/contract/packages.py, differs from the wanted one.

    `problems` are sentences; `lacking` has the packages that are missing or have another version.
    """
    problems = []
    if found["python"].split(".")[:2] != python.split(".")[:2]:
        problems.append(f"Python is {'.'.join(found['python'].split('.')[:2])}, not {python}")
    there = {name: found["packages"].get(name) for name in packages}
    lacking = [name for name, version in packages.items() if there[name] is None or not _equal(there[name], version)]
    problems += [f"{name} is {there[name] or 'missing'}, not {packages[name]}" for name in lacking]
    return {"problems": problems, "lacking": lacking}


def _parse(text: str, settings: Mapping[str, Any]) -> tuple[dict[str, tuple[str, str]], list[str]]:
    """Version and text of each requirement of such a board by canonical name, and the file's problems."""
    board, file = _markers(settings), settings["requirements"]
    lines: dict[str, tuple[str, str]] = {}
    wrong: dict[str, list[str]] = {}
    for line in re.sub(r"\\\r?\n", " ", text).splitlines():
        line = re.sub(r"(^|\s)#.*", "", line).strip()
        if not line:
            continue
        asked = _HASH.sub("", line)
        try:
            wanted = Requirement(asked)
        except InvalidRequirement:
            wrong.setdefault("options or files instead of NAME==VERSION", []).append(asked)
            continue
        try:
            if wanted.marker and not wanted.marker.evaluate(board):
                continue
        except (UndefinedComparison, UndefinedEnvironmentName, InvalidVersion):
            wrong.setdefault("markers that say nothing of a board", []).append(asked)
            continue
        name, pinned = canonicalize_name(wanted.name), re.fullmatch(r"==([^*]+)", str(wanted.specifier))
        if not pinned:
            wrong.setdefault("no NAME==VERSION", []).append(asked)
        elif asked == line:
            wrong.setdefault("lines without --hash", []).append(asked)
        elif name in lines:
            wrong.setdefault("packages twice", []).append(name)
        else:
            lines[name] = (pinned[1], f"{line}\n")
    remedy = "generate the file with 'uv pip compile --generate-hashes' for the boards, as `make lock` does"
    return lines, [f"{file} has {what}: {_some(which)}; {remedy}." for what, which in wrong.items()]


def _markers(settings: Mapping[str, Any]) -> dict[str, str]:
    """What markers of requirements say on a board."""
    version = str(settings["python_version"])
    return {
        "implementation_name": "cpython",
        "os_name": "posix",
        "platform_machine": settings["machine"],
        "platform_python_implementation": "CPython",
        "platform_system": "Linux",
        "python_full_version": f"{version}.0",
        "python_version": version,
        "sys_platform": "linux",
    }


def _numbers(settings: Mapping[str, Any]) -> Iterator[str]:
    """A problem for each version that YAML read as a number: 3.10 becomes 3.1."""
    given = {"python_env_python_version": settings["python_version"]}
    given |= {f"python_env_pins: {name}": version for name, version in settings["pins"].items()}
    for name, version in given.items():
        if not isinstance(version, str):
            yield f'{name} is {version!r}, a number, and 3.10 would become 3.1: put it in quotes, as in "3.10".'


def _wheel(file: str, python: str, packages: dict[str, str]) -> Iterator[str]:
    """Adds the wheel's own name and version to the packages."""
    try:
        name, version, _, tags = parse_wheel_filename(file)
    except InvalidWheelFilename as error:
        yield (
            f"python_env_tensorflow names the wheel {file}, which pip does not accept ({error}): restore its "
            "original name."
        )
        return
    own = python.replace(".", "")
    if not any(tag.abi == "abi3" or tag.interpreter in (f"cp{own}", f"py{own}", "py3") for tag in tags):
        made_for = " ".join(sorted({tag.interpreter for tag in tags}))
        yield f"{file} is made for {made_for}, but the boards have Python {python} (python_env_python_version)."
    if name in packages:
        yield f"{name} is both python_env_tensorflow and in python_env_requirements: leave it out of one."
    packages[name] = str(version)


def _same(setting: str, name: str, version: str, packages: Mapping[str, str], file: str) -> Iterator[str]:
    there = packages.get(canonicalize_name(name))
    if there is None or not _equal(there, version):
        has = f"has {there}" if there else "does not have it"
        yield (
            f"{setting} requires {name} {version}, but {file} {has}: the hashes in that file decide what "
            f"is installed. Change {PurePath(file).stem}.in and run `make lock`, or set "
            "python_env_requirements to another file."
        )


def _equal(one: str, other: str) -> bool:
    try:
        return Version(one) == Version(other)
    except InvalidVersion:
        return one == other


def _some(names: list[str]) -> str:
    more = len(names) - _SHOWN
    return ", ".join(names) if more < 2 else f"{', '.join(names[:_SHOWN])} and {more} more"
