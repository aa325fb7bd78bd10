"""Gives one parser inputs for some seconds, and says what is wrong with how it takes them.

With atheris inputs are chosen by what code they reach, else they are the corpus with random changes. The input at work
is in a file, so that one which ends the interpreter is known to whoever started this.
"""

from __future__ import annotations

import hashlib
import resource
import signal
import sys
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from random import Random
from types import FrameType

from tests.fuzz.mutate import mutated

MOST_BYTES = 1 << 18  # of an input
MOST_S, MOST_RSS_BYTES = 5.0, 400_000_000  # of processor time and of additional memory, for one input
_HANGS_S = 60  # of time, on a busy machine
CURRENT = "current"  # the file with the input at work


class HangError(BaseException):
    """An input that takes too long; no parser catches it."""


def problem(target, content: bytes) -> str | None:
    """What is wrong with how a target takes an input; None if nothing."""
    began_s, before = time.process_time(), _peak_bytes()
    try:
        with _limited():
            target(content)
    except HangError:
        return f"takes more than {_HANGS_S} s"
    except Exception as error:
        last = traceback.extract_tb(error.__traceback__)[-1]
        return f"{type(error).__name__}: {str(error)[:300]} ({last.filename}:{last.lineno})"
    if time.process_time() - began_s > MOST_S:
        return f"takes {time.process_time() - began_s:.1f} s of processor time"
    if _peak_bytes() - before > MOST_RSS_BYTES:
        return f"takes {(_peak_bytes() - before) / 1e6:.0f} MB of memory"
    return None


# instead of pytest-timeout's own timer, which is the same signal's
@contextmanager
def _limited() -> Iterator[None]:
    def ring(number: int, frame: FrameType | None) -> None:
        raise HangError

    before = signal.signal(signal.SIGALRM, ring)
    signal.alarm(_HANGS_S)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def _peak_bytes() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def save(folder: Path, name: str, content: bytes, said: str) -> Path:
    """Keep an input that is a finding, and what is wrong with it."""
    path = folder / f"{name}-{hashlib.sha256(content).hexdigest()[:12]}"
    path.write_bytes(content)
    path.with_name(path.name + ".txt").write_text(said + "\n", encoding="utf-8", errors="backslashreplace")
    return path


def mutate(target, seconds: float, seed: int, findings: Path) -> None:
    """Give the target changed seeds for so long. Ends with SystemExit at a finding, which is saved."""
    random, seeds, count = Random(seed), target.seeds(), 0
    deadline, said = time.monotonic() + seconds, None
    with (findings / f"{target.name}.{CURRENT}").open("wb", buffering=0) as current:
        while time.monotonic() < deadline:
            content = seeds[count] if count < len(seeds) else mutated(seeds, random, MOST_BYTES)
            current.truncate(0)
            current.seek(0)
            current.write(content)
            said = problem(target, content)
            count += 1
            if said:
                print(f"{said}; the input is {save(findings, target.name, content, said)}")
                break
    print(f"executions {count}", flush=True)
    sys.exit(1 if said else 0)


def with_coverage(target, seconds: float, findings: Path, corpus: Path) -> None:
    """Let atheris choose inputs, and keep those that reach new code in `corpus`. It ends the process itself."""
    import atheris

    def one(content: bytes) -> None:
        said = problem(target, content)
        if said:
            print(f"{said}; the input is {save(findings, target.name, content, said)}", flush=True)
            raise RuntimeError(said)

    seeds = target.seeds()

    def change(content: bytes, most_bytes: int, seed: int) -> bytes:
        random = Random(seed)
        if random.random() < 0.5:
            return atheris.Mutate(content, most_bytes)
        return mutated([content, content, random.choice(seeds)], random, most_bytes)

    corpus.mkdir(parents=True, exist_ok=True)
    limits = [f"-max_total_time={max(1, round(seconds))}", f"-max_len={MOST_BYTES}", f"-timeout={2 * _HANGS_S}"]
    options = ["-print_final_stats=1", "-rss_limit_mb=4096", f"-artifact_prefix={findings}/{target.name}-"]
    atheris.Setup([target.name, *limits, *options, str(corpus), str(target.corpus)], one, custom_mutator=change)
    atheris.Fuzz()
