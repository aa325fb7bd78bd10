"""`make mutants`: change one operator or constant of a module at a time, and see whether its unit tests notice.

Each mutant is tried in a copy of the project, in a process that is forked from one in which the libraries are loaded:
first with the tests that execute its line, then with all of its module's.
A mutant that no test can notice is explained in mutants.yml, which names it by the line's text and the change.
"""

from __future__ import annotations

import argparse
import ast
import copy
import json
import os
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

# loaded once, for all mutants: they take longer than a module's tests
import hypothesis  # noqa: F401
import numpy  # noqa: F401
import pandas  # noqa: F401
import pytest
import rich.console  # noqa: F401
import scipy.stats  # noqa: F401
import yaml

from tests import PROJECT

EXPLAINED = Path(__file__).with_name("mutants.yml")  # module, line, change, why
LIMIT_S = 600  # of one mutant's tests, on a busy machine: those that never end have noticed
NOT_COPIED = {".git", ".venv", ".board-venv", ".cache", ".lab", "runs"}
TESTS = {
    "trainer/contract/config.py": ["trainer/contract/test_config.py"],
    "trainer/contract/sections.py": ["trainer/contract/test_config.py"],
    "trainer/contract/choice.py": ["trainer/contract/test_choice.py"],
    "controller/gates/answers.py": ["controller/gates"],
    "controller/gates/board.py": ["controller/gates"],
    "controller/gates/judge.py": ["controller/gates"],
    "controller/gates/report.py": ["controller/gates"],
    "controller/gates/table.py": ["controller/gates"],
    "analysis/comparison/verdict.py": ["analysis/comparison/test_verdict.py"],
    "analysis/comparison/statistics.py": ["analysis/comparison/test_statistics.py"],
}
SIGNS = {
    ast.Lt: "<",
    ast.LtE: "<=",
    ast.Gt: ">",
    ast.GtE: ">=",
    ast.Eq: "==",
    ast.NotEq: "!=",
    ast.Is: "is",
    ast.IsNot: "is not",
    ast.In: "in",
    ast.NotIn: "not in",
    ast.And: "and",
    ast.Or: "or",
    ast.Add: "+",
    ast.Sub: "-",
}
_NAMES = list(SIGNS)
OTHER = {a: b for left, right in zip(_NAMES[::2], _NAMES[1::2], strict=True) for a, b in ((left, right), (right, left))}


@dataclass(frozen=True)
class Mutant:
    path: str
    line: int
    text: str  # of the line
    change: str  # such as "> to >="
    source: str  # of the whole module

    @property
    def name(self) -> tuple[str, str, str]:
        return self.path, self.text, self.change


def mutants(path: str) -> Iterator[Mutant]:
    """Every one of a module."""
    text = (PROJECT / path).read_text(encoding="utf-8")
    tree = ast.parse(text)
    lines = text.splitlines()
    places = [place for place in ast.walk(tree) if hasattr(place, "lineno")]
    types = {part for place in ast.walk(tree) for part in _annotations(place)}
    for number, place in enumerate(places):
        if place in types:
            continue
        for index, change in enumerate(_changes(copy.deepcopy(place))):
            mutated = copy.deepcopy(tree)
            twin = [it for it in ast.walk(mutated) if hasattr(it, "lineno")][number]
            new = list(_changes(twin))[index][1]
            source = ast.unparse(_Replace(twin, new).visit(mutated))
            yield Mutant(path, place.lineno, lines[place.lineno - 1].strip(), change[0], source)


def _annotations(place: ast.AST) -> Iterator[ast.AST]:
    for field in ("annotation", "returns"):
        if getattr(place, field, None):
            yield from ast.walk(getattr(place, field))


def _changes(place: ast.AST) -> Iterator[tuple[str, ast.AST]]:
    """What may stand at a place instead, with a description."""
    if isinstance(place, ast.Compare):
        for index, sign in enumerate(place.ops):
            new = copy.deepcopy(place)
            new.ops[index] = OTHER[type(sign)]()
            yield f"{SIGNS[type(sign)]} to {SIGNS[OTHER[type(sign)]]}", new
    elif isinstance(place, ast.BoolOp | ast.BinOp) and type(place.op) in OTHER:
        new = copy.deepcopy(place)
        new.op = OTHER[type(place.op)]()
        yield f"{SIGNS[type(place.op)]} to {SIGNS[type(new.op)]}", new
    elif isinstance(place, ast.UnaryOp) and isinstance(place.op, ast.Not):
        yield "not to nothing", place.operand
    elif isinstance(place, ast.Constant) and isinstance(place.value, bool):
        yield f"{place.value} to {not place.value}", ast.Constant(not place.value)
    elif isinstance(place, ast.Constant) and isinstance(place.value, int | float):
        value = 2 * place.value if abs(place.value) > 1 else place.value + 1
        yield f"{place.value} to {value}", ast.Constant(value)


class _Replace(ast.NodeTransformer):
    def __init__(self, old: ast.AST, new: ast.AST) -> None:
        self.old, self.new = old, new

    def visit(self, node: ast.AST) -> ast.AST:
        return self.new if node is self.old else self.generic_visit(node)


class _Executed:
    """Notes in a file which lines of a module each test executes."""

    def __init__(self, module: Path, noted: Path) -> None:
        self.module, self.noted = str(module), noted
        self.lines: dict[str, list[int]] = {}

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Generator[None, object, object]:
        found = set()

        def line(frame: FrameType, event: str, _: object) -> Any:
            found.add(frame.f_lineno)
            return line

        sys.settrace(lambda frame, event, _: line if frame.f_code.co_filename == self.module else None)
        try:
            return (yield)
        finally:
            sys.settrace(None)
            self.lines[item.nodeid] = sorted(found)

    def pytest_sessionfinish(self) -> None:
        self.noted.write_text(json.dumps(self.lines), encoding="utf-8")


class _Only:
    """Leaves these tests only."""

    def __init__(self, tests: list[str]) -> None:
        self.tests = tests

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        items[:] = [item for item in items if item.nodeid in self.tests]


def passes(project: Path, arguments: list[str], plugin: object, shown: bool = False) -> bool:
    """Whether pytest ends well there, in a process of its own."""
    child = os.fork()
    if child == 0:
        os.setsid()
        os.chdir(project)
        sys.path[0] = str(project)
        sys.modules.pop("tests")  # the copy's own is what is to be loaded
        sys.dont_write_bytecode = True
        os.environ["PYTHONDONTWRITEBYTECODE"] = "1"
        if not shown:
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
            os.dup2(1, 2)
        marks = "not lab and not tensorflow and not slow and not thorough"
        os._exit(pytest.main(["-x", "-q", "--disable-warnings", "-m", marks, *arguments], [plugin] if plugin else None))
    until = time.monotonic() + LIMIT_S
    while time.monotonic() < until:
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            code = os.waitstatus_to_exitcode(status)
            if shown and code in (pytest.ExitCode.USAGE_ERROR, pytest.ExitCode.NO_TESTS_COLLECTED):
                sys.exit(f"pytest finds no tests: {' '.join(arguments)}")
            return code in (pytest.ExitCode.OK, pytest.ExitCode.NO_TESTS_COLLECTED)  # of first ones none may be left
        time.sleep(0.01)
    os.killpg(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return False


def survivors(project: Path, path: str, only: list[str]) -> tuple[int, list[Mutant]]:
    """How many mutants a module has, and those that its tests let live."""
    tests = [f"tests/unit/{name}" for name in TESTS[path]] + only
    noted = project.with_name("executed.json")
    if not passes(project, tests, _Executed(project / path, noted), shown=True):
        sys.exit(f"{path}: its tests fail without any change")
    executed = json.loads(noted.read_text(encoding="utf-8"))
    found = list(mutants(path))
    alive = []
    for number, mutant in enumerate(found, 1):
        (project / path).write_text(mutant.source, encoding="utf-8")
        first = [test for test, lines in executed.items() if mutant.line in lines]
        if (not first or passes(project, tests, _Only(first))) and passes(project, tests, None):
            alive.append(mutant)
            print(f"{path}:{mutant.line}: {mutant.change}  {mutant.text}")
        print(f"{path}: {number} of {len(found)}", end="\r", file=sys.stderr)
    shutil.copyfile(PROJECT / path, project / path)
    return len(found), alive


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("modules", nargs="*", metavar="MODULE", help=f"of {', '.join(TESTS)} (all)")
    parser.add_argument("--pytest", action="append", default=[], metavar="ARGUMENT", help="for every run of pytest")
    options = parser.parse_args()
    explained = {(entry["module"], entry["line"], entry["change"]): entry["why"] for entry in _explained()}
    table, unexplained = [], 0
    with tempfile.TemporaryDirectory(prefix="mutants-") as name:
        project = Path(name) / "kit"
        shutil.copytree(
            PROJECT, project, symlinks=True, ignore=lambda folder, _: NOT_COPIED if Path(folder) == PROJECT else ()
        )
        for path in options.modules or TESTS:
            count, alive = survivors(project, path, options.pytest)
            known = [mutant for mutant in alive if mutant.name in explained]
            unexplained += len(alive) - len(known)
            table.append([path, str(count), str(count - len(alive)), str(len(known)), str(len(alive) - len(known))])
    from analysis.runs.columns import text_table  # not before: the copies' own is what is to be loaded

    heads = ["module", "mutants", "killed", "explained", "alive"]
    print("\n".join(text_table(heads, table, right=range(1, 5))))
    return int(unexplained > 0)


def _explained() -> list[dict[str, str]]:
    return yaml.safe_load(EXPLAINED.read_text(encoding="utf-8")) or []


if __name__ == "__main__":
    sys.exit(main())
