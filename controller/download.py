"""`python -m controller.download ADDRESS PATH`: downloads a large file and notes its progress."""

from __future__ import annotations

import argparse
import fcntl
import http.client
import sys
import time
import urllib.parse
import urllib.request
from pathlib import Path

from controller import notes
from trainer.formats.archives import sha256 as checksum

_NOTE_S = 1.0


def download(address: str, path: Path, timeout_s: float, sha256: str | None = None) -> bool:
    """Download a URL to a path, atomically; returns False if the file exists already.

    `timeout_s`: seconds without an answer. A file with another checksum than `sha256` is downloaded again.
    Raises OSError, with a sentence, if the download fails or has another checksum.
    """
    draft = path.with_name(path.name + ".part")
    with path.with_name(path.name + ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # of several playbooks, one downloads it and the others find it
        if path.exists() and sha256 in (None, checksum(path)):
            return False
        try:
            _fetch(address, draft, timeout_s)
        except (http.client.HTTPException, ValueError) as error:  # ValueError: not a usable URL
            raise OSError(str(error)) from error
        if sha256 is not None and checksum(draft) != sha256:
            raise OSError(f"it has the checksum {checksum(draft)}, expected {sha256}")
        draft.replace(path)
    return True


def _fetch(address: str, draft: Path, timeout_s: float) -> None:
    name = urllib.parse.unquote(address.rpartition("/")[2])
    # many servers refuse urllib's user agent
    request = urllib.request.Request(address, headers={"User-Agent": "cluster-experiment-kit"})
    with urllib.request.urlopen(request, timeout=timeout_s) as answer, draft.open("wb") as file:
        stated = answer.headers["Content-Length"] or ""
        size, done, noted_s = int(stated) if stated.isdigit() else 0, 0, 0.0
        while block := answer.read1(1 << 20):  # read would block until the whole piece has arrived
            file.write(block)
            done += len(block)
            if time.monotonic() - noted_s >= _NOTE_S:
                noted_s = time.monotonic()
                notes.note(notes.share(done, size, name))
        if done < size:  # http.client itself does not report it
            raise OSError(f"{size - done} bytes are missing")


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m controller.download", description=__doc__)
    parser.add_argument("address")
    parser.add_argument("path", type=Path)
    parser.add_argument("--sha256", default="", help="64 hexadecimal digits")
    parser.add_argument("--timeout-s", type=float, default=600.0, help="seconds without an answer")
    parser.add_argument("--notes", type=Path, help="folder for notes of the progress")
    options = parser.parse_args()
    notes.folder = options.notes
    try:
        fetched = download(options.address, options.path, options.timeout_s, options.sha256 or None)
    except OSError as error:
        print(error, file=sys.stderr)
        return 1
    print("fetched" if fetched else "is there")
    return 0


if __name__ == "__main__":
    sys.exit(main())
