"""Any odd value in any field of a run's files: the run keeps its manifest, and the runs beside it are compared."""

import copy
import io
import json
import math
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from rich.console import Console

from analysis import as_text, compare, load, write_manifest
from analysis.__main__ import main
from analysis.comparison.compare import NotComparable
from analysis.report.report import render
from analysis.runs.manifest import read_manifest
from analysis.watch.board import Board
from analysis.watch.tail import collected
from analysis.watch.view import Moment
from analysis.watch.view import render as view
from tests.data.build_runs import build_run
from trainer.contract.run import load_run

NAMES = ("events.jsonl", "telemetry.jsonl", "result.json", "clock.json")
ODD = [
    *("1e400", "-1e400", "NaN", "-1", "0", "1e-320", "9e18", "null", "true", "[]", "[1]", "{}", '{"a": []}'),
    *('"text"', '"\\u001b[31m"', '"\\ud800"', "9" * 5000, "[" * 3000 + "]" * 3000),
]
MARK = "the odd value"


def places(value: object, path: tuple = ()) -> Iterator[tuple]:
    yield path
    pairs = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in pairs:
        yield from places(item, (*path, key))


def put(value: object, path: tuple, odd: str) -> str:
    """The value as JSON, with an odd value at a place."""
    outer = [copy.deepcopy(value)]
    at = outer
    for key in (0, *path)[:-1]:
        at = at[key]
    at[(0, *path)[-1]] = MARK
    return json.dumps(outer[0]).replace(json.dumps(MARK), odd)


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("runs")
    bad = build_run(folder, "bad", workers=2, power_w=20.0, ahead_s={0: 0.0, 1: 0.01})
    return bad, build_run(folder, "good", power_w=20.0)


@st.composite
def changes(draw: st.DrawFn) -> tuple[str, float, float, str]:
    return draw(st.sampled_from(NAMES)), draw(st.floats(0, 1)), draw(st.floats(0, 1)), draw(st.sampled_from(ODD))


def poison(home: Path, change: tuple[str, float, float, str]) -> None:
    name, line, place, odd = change
    lines = (home / name).read_text().splitlines() if name.endswith("l") else [(home / name).read_text()]
    at = min(int(line * len(lines)), len(lines) - 1)
    value = json.loads(lines[at])
    every = list(places(value))
    lines[at] = put(value, every[min(int(place * len(every)), len(every) - 1)], odd)
    (home / name).write_text("\n".join(lines) + "\n")


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(changes(), min_size=1, max_size=3))
def test_an_odd_value_of_a_board_costs_that_value(runs, found):
    with tempfile.TemporaryDirectory() as folder:
        bad = Path(shutil.copytree(runs[0], Path(folder) / "bad"))
        for change in found:
            poison(bad / "boards/board-1", change)
        write_manifest(bad)
        manifest, _ = read_manifest(bad)
        assert manifest is not None
        loaded = load([bad, runs[1]])
        assert set(loaded.runs["run_id"]) == {"bad", "good"}
        try:
            comparison = compare(loaded)
        except NotComparable:  # facts of another board
            return
        assert "good" in set(comparison.runs["run_id"])
        json.dumps(comparison.to_dict(), allow_nan=False)
        render(comparison, Path(folder), drawn=False).encode()
        assert as_text(comparison).replace("\n", "").isprintable()
        run = load_run(bad / "run.json")
        boards = [collected(Board(name, run.config.epochs, 0.0), bad / "boards" / name) for name in run.boards]
        for outcome in (None, manifest):
            seen = io.StringIO()
            Console(width=100, file=seen).print(view(Moment(run, boards, 1.0, outcome)))
            assert seen.getvalue().replace("\n", "").isprintable()


def test_a_poisoned_run_beside_a_good_one_costs_neither(runs, tmp_path, capsys):
    bad = Path(shutil.copytree(runs[0], tmp_path / "bad"))
    events = bad / "boards/board-2/events.jsonl"
    *before, epoch, end = events.read_text().splitlines()
    record = json.loads(epoch)
    lines = [
        *before,
        put(record, ("epoch_s",), "1e400"),
        put(record, ("sent_bytes",), '"\\u001b]0;x"'),
        "[" * 2048,
        end,
    ]
    events.write_text("\n".join(lines) + "\n")
    write_manifest(bad)
    assert main(["compare", str(bad), str(runs[1])]) == 0
    out = capsys.readouterr().out
    assert "2 boards" in out and "1 board" in out
    assert "has a value of another kind, and is not used" in out and "not a record" in out
    assert out.replace("\n", "").isprintable()
    assert not math.isnan(compare(load([bad, runs[1]])).arms["images_ratio"].iloc[-1])
