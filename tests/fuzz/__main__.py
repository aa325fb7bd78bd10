"""`make fuzz`: gives every parser of outside input as many odd inputs as fit into the time.

Prints the executions of each parser, and exits with 1 at a finding: its input and what is wrong with it are in
.cache/fuzz/findings/. With atheris inputs are chosen by what code they reach, else the corpus is changed at random.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import re
import sys
import tempfile
import time
from multiprocessing.connection import wait
from multiprocessing.process import BaseProcess
from pathlib import Path

from tests import PROJECT
from tests.fuzz.one import CURRENT, mutate, problem, save, with_coverage

FOLDER = PROJECT / ".cache" / "fuzz"
SITE = FOLDER / "site"  # where requirements/install.py puts atheris
WITHOUT = "--without-coverage"
_GRACE_S = 180  # to end at the last input, on a busy machine
_STATISTICS = re.compile(r"^(?:executions|stat::number_of_executed_units:) +(\d+)", re.MULTILINE)
_MEMORY = Path("/dev/shm")


def targets() -> tuple[dict, bool]:
    """The parsers by name, and whether they are instrumented, which must be before they are imported."""
    sys.path.append(str(SITE))
    try:
        if WITHOUT in sys.argv:
            raise ImportError
        import atheris
    except ImportError:
        from tests.fuzz.targets import TARGETS

        return TARGETS, False
    with atheris.instrument_imports(include=["analysis", "controller", "trainer"]):
        from tests.fuzz.targets import TARGETS
    return TARGETS, True


def main() -> int:
    known, coverage = targets()
    parser = argparse.ArgumentParser(prog="make fuzz", description=__doc__)
    parser.add_argument("--seconds", type=float, default=600.0, help="of all parsers together (default: 600)")
    parser.add_argument("--jobs", type=int, default=len(os.sched_getaffinity(0)), help="parsers at a time")
    parser.add_argument("--seed", type=int, default=int(time.time()), help="of random changes (default: the time)")
    parser.add_argument(WITHOUT, action="store_true", help="change the corpus at random in any case")
    parser.add_argument("--input", type=Path, help="give this one input to the parsers instead")
    parser.add_argument("names", nargs="*", metavar="PARSER", help=f"of {', '.join(known)} (default: all)")
    options = parser.parse_args()
    names = options.names or list(known)
    unknown = sorted(set(names) - set(known))
    if unknown:
        parser.error(f"no parser is named {', '.join(unknown)}")
    if options.input:
        told = {name: problem(known[name], options.input.read_bytes()) for name in names}
        print("\n".join(f"{name}: {said or 'no finding'}" for name, said in told.items()))
        return 1 if any(told.values()) else 0
    each_s = options.seconds * min(options.jobs, len(names)) / len(names)
    how = "chosen by coverage (atheris)" if coverage else f"the corpus, changed at random (seed {options.seed})"
    print(f"{len(names)} parsers, {each_s:.1f} s each, {options.jobs} at a time; inputs: {how}", flush=True)
    findings = FOLDER / "findings"
    findings.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=_MEMORY if _MEMORY.is_dir() else None) as folder:
        tempfile.tempdir = folder  # of the parsers, too, whatever ends their processes
        runs = [Run(known[name], each_s, options.seed, coverage, findings, Path(folder)) for name in names]
        waiting, running = list(runs), list[Run]()
        while waiting or running:
            while waiting and len(running) < options.jobs:
                running.append(waiting.pop(0))
                running[-1].start()
            wait([run.process.sentinel for run in running], timeout=1.0)
            for run in [run for run in running if run.has_ended()]:
                running.remove(run)
                print(run.told(), flush=True)
    wrong = sum(run.code != 0 for run in runs)
    print(f"{sum(run.count for run in runs):,} executions; findings: {f'{wrong}, in {findings}' if wrong else 'none'}")
    return 1 if wrong else 0


class Run:
    """One parser's process."""

    def __init__(self, target, seconds: float, seed: int, coverage: bool, findings: Path, folder: Path) -> None:
        self.target, self.findings, self._seconds = target, findings, seconds
        self._output = folder / f"{target.name}.log"
        self._current = findings / f"{target.name}.{CURRENT}"
        arguments = (target, seconds, seed, coverage, findings, self._output)
        # forked: the parsers are imported, which takes longer than many inputs
        self.process: BaseProcess = multiprocessing.get_context("fork").Process(target=_child, args=arguments)
        self.code, self.count = 0, 0

    def start(self) -> None:
        self._deadline = time.monotonic() + self._seconds + _GRACE_S
        self.process.start()

    def has_ended(self) -> bool:
        late = time.monotonic() > self._deadline
        if late:
            self.process.kill()
            self.process.join()
        if self.process.exitcode is None:
            return False
        printed = self._output.read_text(encoding="utf-8", errors="replace") if self._output.exists() else ""
        self.code = self.process.exitcode
        self.count = int((_STATISTICS.findall(printed) or ["0"])[-1])
        self._said = "it did not end" if late else "\n".join(printed.splitlines()[-12:])
        if self._current.exists():
            if self.code < 0:  # the interpreter itself was ended
                path = save(self.findings, self.target.name, self._current.read_bytes(), self._said)
                self._said += f"\nsignal {-self.code}; the input is {path}"
            self._current.unlink()
        return True

    def told(self) -> str:
        line = f"{self.target.name:20} {self.count:>10,} executions"
        return line if self.code == 0 else f"{line}  FINDING\n" + re.sub("^", "    ", self._said, flags=re.MULTILINE)


def _child(target, seconds: float, seed: int, coverage: bool, findings: Path, output: Path) -> None:
    with output.open("wb") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    if coverage:
        with_coverage(target, seconds, findings, FOLDER / "corpus" / target.name)
    else:
        mutate(target, seconds, seed, findings)


if __name__ == "__main__":
    sys.exit(main())
