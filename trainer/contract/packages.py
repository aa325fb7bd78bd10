"""The packages that a Python environment has installed, from their files. Standard library only.

Also a script for boards without the kit: `python -c "$(cat packages.py)"` prints that Python's packages.
"""

from __future__ import annotations

import contextlib
import csv
import hashlib
import json
import os
import platform
import re
import sys
from email.parser import HeaderParser
from pathlib import Path
from typing import Any, Dict, Iterator, List, Mapping, NamedTuple, Optional, Sequence, Tuple

TENSORFLOW = ("tensorflow", "tensorflow-cpu", "tensorflow-cpu-aws")  # names of its distributions


class Package(NamedTuple):
    """The metadata of a package."""

    name: str  # canonical (PEP 503)
    version: str  # as in the metadata
    info: Path  # its folder, or file


def installed(folders: Optional[Sequence[str]] = None) -> Dict[str, str]:
    """Version by canonical name of all importable packages; remains of interrupted or older tools are skipped."""
    return {package.name: package.version for package in _survey(folders)[0]}


def digest(packages: Mapping[str, str]) -> str:
    """SHA-256 of the sorted name==version lines."""
    lines = sorted(f"{name}=={version}\n" for name, version in packages.items())
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def tensorflow_version(packages: Mapping[str, str]) -> Optional[str]:
    """Version of the installed TensorFlow, from any of its distributions."""
    return next((packages[name] for name in TENSORFLOW if name in packages), None)


def missing_keras(packages: Mapping[str, str]) -> Optional[str]:
    """What an environment lacks to train with Keras 2, as pip's requirement; None if it has that, or no TensorFlow.

    From 2.16 on, TensorFlow brings Keras 3, and Keras 2 is the package tf-keras of the same version.
    """
    numbers = re.match(r"(\d+)\.(\d+)", tensorflow_version(packages) or "")
    if not numbers or (int(numbers[1]), int(numbers[2])) < (2, 16) or "tf-keras" in packages:
        return None
    return f"tf-keras=={numbers[0]}.*"


def pytorch_version(packages: Mapping[str, str]) -> Optional[str]:
    """Version of the installed PyTorch."""
    return packages.get("torch")


def canonical(name: str) -> str:
    """A package's name as PEP 503 writes it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def _survey(folders: Optional[Sequence[str]] = None) -> Tuple[List[Package], List[Path]]:
    """The packages, and remains of others. If several folders have the same package, the first counts, as in Python."""
    packages: Dict[str, Package] = {}
    leftovers = []
    for folder in map(Path, folders or filter(None, sys.path)):
        if any(above.name in ("site-packages", "dist-packages") for above in folder.parents):
            continue  # copies inside a package, which setuptools puts onto the path
        found, left = _folder(folder)
        packages = {**found, **packages}
        leftovers += left
    return list(packages.values()), leftovers


def _folder(folder: Path) -> Tuple[Dict[str, Package], List[Path]]:
    try:
        paths = sorted(folder.iterdir())
    except OSError:  # Python's zip archive, or unreadable
        return {}, []
    leftovers = [path for path in paths if path.name.startswith("~")]  # pip's name for packages that it is removing
    by_name: Dict[str, List[Package]] = {}
    for path in paths:
        if path.suffix in (".dist-info", ".egg-info") and path not in leftovers:
            package = _read(path)
            if package and _is_there(package):
                by_name.setdefault(package.name, []).append(package)
            else:
                leftovers.append(path)
    found = {}
    for name, several in by_name.items():
        if len(several) > 1:
            several.sort(key=_likelihood, reverse=True)
        found[name] = several[0]
        leftovers += [package.info for package in several[1:]]
    return found, leftovers


def _likelihood(package: Package) -> Tuple[bool, int, float]:
    """Which of a package's metadata is current: that of an overwritten version lists files that have changed."""
    return (package.info / "RECORD").is_file(), sum(_files(package)), package.info.stat().st_mtime


def _read(info: Path) -> Optional[Package]:
    for path in (info / "METADATA", info / "PKG-INFO", info):
        head = HeaderParser().parsestr(_text(path))
        if head["Name"] and head["Version"]:
            return Package(canonical(head["Name"]), head["Version"].strip(), info)
    return None


def _is_there(package: Package) -> bool:
    """Whether any of its files exists; packages without files only require others."""
    files = _files(package)
    return next(files, True) or any(files)


def _files(package: Package) -> Iterator[bool]:
    """For each file that a package lists, whether it is unchanged; an egg without a list is checked by module names."""
    info, site = package.info, package.info.parent
    record, older = info / "RECORD", info / "installed-files.txt"
    if record.is_file():
        with contextlib.suppress(OSError, csv.Error), record.open(
            encoding="utf-8", errors="replace", newline=""
        ) as file:
            for row in csv.reader(file):
                if row and not row[0].startswith(f"{info.name}/"):
                    yield _is_as_listed(site / row[0], row[2] if len(row) > 2 else "")
    elif older.is_file():
        yield from ((info / line).exists() for line in _text(older).splitlines() if line.startswith("../"))
    elif info.suffix == ".egg-info":
        named = {package.name.replace("-", form) for form in ("_", "/", "")}
        for module in _text(info / "top_level.txt").split() or named:
            yield (site / module).exists() or any(site.glob(f"{module}.*py")) or any(site.glob(f"{module}.*so"))


def _is_as_listed(path: Path, size: str) -> bool:
    try:
        found = path.stat().st_size
        return not size or found == int(size)
    except (OSError, ValueError):
        return False


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def describe() -> Dict[str, Any]:
    """Print what the roles need to know of this Python."""
    packages, leftovers = _survey()
    versions = {package.name: package.version for package in packages}
    prefix = Path(sys.executable).parent.parent  # where it was called, not where its interpreter is from
    return {
        "python": platform.python_version(),
        "tensorflow": tensorflow_version(versions),
        "pytorch": pytorch_version(versions),
        "packages": versions,
        "leftovers": [str(path) for path in leftovers],
        "writable": os.access(str(prefix), os.W_OK),
    }


if __name__ == "__main__":
    print(json.dumps(describe()))
