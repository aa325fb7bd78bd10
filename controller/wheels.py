"""`python -m controller.wheels PYTHON LOCK FOLDER`: a package index of files, for boards that have no way out.

PYTHON's own pip downloads what the lock has for it, by the hashes, once. FOLDER/simple has the layout of a package
index (PEP 503), for any server of files. It says `made` or `unchanged`.
"""

from __future__ import annotations

import argparse
import fcntl
import hashlib
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from packaging.utils import canonicalize_name

MADE_FROM = "made_from"  # written last


def make(python: str, lock: Path, folder: Path) -> bool:
    """Make the index unless it was made from the same; return whether it was made. One at a time.

    Raises CalledProcessError where PYTHON has no pip, or the packages cannot be downloaded.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    version = subprocess.run([python, "-VV"], capture_output=True, text=True, check=True).stdout
    key = hashlib.sha256(version.encode() + lock.read_bytes()).hexdigest()
    with folder.with_name(f"{folder.name}.lock").open("w") as turn:
        fcntl.flock(turn, fcntl.LOCK_EX)
        stamp = folder / MADE_FROM
        if stamp.is_file() and stamp.read_text() == key:
            return False
        with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f"{folder.name}-") as scratch:
            made = Path(scratch, "index")
            download(python, lock, made / "files", Path(scratch, "venv"))
            write_index(made)
            (made / MADE_FROM).write_text(key)
            shutil.rmtree(folder, ignore_errors=True)
            made.rename(folder)
    return True


def download(python: str, lock: Path, files: Path, venv: Path) -> None:
    """Download the wheels that the lock has for this Python."""
    subprocess.run([python, "-m", "venv", venv], check=True, stdout=subprocess.DEVNULL)
    pip: list[str | Path] = [venv / "bin/python", "-m", "pip", "download", "--quiet", "--disable-pip-version-check"]
    exactly = ["--require-hashes", "--no-deps", "--only-binary", ":all:"]
    subprocess.run([*pip, *exactly, "--requirement", lock, "--dest", files], check=True)


def write_index(folder: Path) -> None:
    """Write simple/NAME/index.html for the wheels in folder/files, as PEP 503 has it."""
    for path in sorted((folder / "files").iterdir()):
        page = folder / "simple" / canonicalize_name(path.name.split("-")[0]) / "index.html"
        page.parent.mkdir(parents=True, exist_ok=True)
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        with page.open("a") as file:
            file.write(f'<a href="../../files/{path.name}#sha256={digest}">{path.name}</a>\n')


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("python", help="path of the boards' Python on this machine")
    parser.add_argument("lock", type=Path, help="requirements with hashes")
    parser.add_argument("folder", type=Path, help="folder of the index")
    given = parser.parse_args()
    try:
        print("made" if make(given.python, given.lock, given.folder) else "unchanged")
    except (OSError, subprocess.CalledProcessError) as error:
        sys.exit(
            f"no wheels for {given.python}: {error}. It needs pip (Debian, Ubuntu: apt-get install python3-venv) and "
            "the network (PIP_INDEX_URL and PIP_CERT are honoured)"
        )


if __name__ == "__main__":
    main()
