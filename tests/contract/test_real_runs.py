"""The analysis of three real runs, as `make rehearse` left them (without their weights)."""

import json
import xml.etree.ElementTree as ET
from pathlib import Path
from statistics import mean

import pytest

from analysis import compare, load
from analysis.__main__ import main
from analysis.comparison.paper import PAPER
from tests import PROJECT

RUNS = sorted((PROJECT / "tests/data/rehearsal").iterdir())


def raw(folder: Path) -> list[list[dict]]:
    """The records of each board, read by hand."""
    files = sorted(folder.glob("boards/*/events.jsonl"))
    return [lines(file) for file in files]


def lines(file: Path) -> list[dict]:
    return [json.loads(line) for line in file.read_text().splitlines()]


def steady_epoch_s(folder: Path) -> float:
    """All epochs but the first."""
    of_boards = [[it for it in board if it["event"] == "epoch" and it["epoch"] > 1] for board in raw(folder)]
    return mean(mean(it["epoch_s"] for it in epochs) for epochs in of_boards)


def images_per_s(folder: Path) -> float:
    of_boards = [[it for it in board if it["event"] == "epoch" and it["epoch"] > 1] for board in raw(folder)]
    return sum(sum(it["images"] for it in epochs) / sum(it["train_s"] for it in epochs) for epochs in of_boards)


def final_accuracy(folder: Path) -> float:
    return [it for it in raw(folder)[0] if it["event"] == "epoch"][-1]["val_accuracy"]


@pytest.fixture(scope="module")
def folders() -> dict[str, Path]:
    """One board, two with plain Keras, two with local SGD."""
    names = {"-rehearsal-w1": "one", "-rehearsal-w2": "two", "-rehearsal_fast-w2": "fast"}
    return {short: folder for part, short in names.items() for folder in RUNS if part in folder.name}


def test_the_table_says_what_the_records_say(folders):
    compared = compare(load(RUNS)).to_dict()
    arms = dict(zip(("one", "two", "fast"), compared["arms"], strict=True))
    assert [(arm["workers"], arm["sync"]) for arm in arms.values()] == [(1, "none"), (2, "keras"), (2, "local_sgd")]
    for name, arm in arms.items():
        assert arm["epoch_s"] == pytest.approx(steady_epoch_s(folders[name])), name
        assert arm["images_per_s"] == pytest.approx(images_per_s(folders[name])), name
        assert arm["speedup"] == pytest.approx(images_per_s(folders[name]) / images_per_s(folders["one"])), name
        assert arm["val_accuracy_final"] == final_accuracy(folders[name]), name
    assert arms["two"]["sent_bytes_per_step"] == pytest.approx(4 * 2_931_044, rel=0.02)
    assert arms["two"]["stall_share"] > 0.5 > arms["fast"]["stall_share"]
    assert compared["rehearsal"] and compared["synthetic"] and compared["problems"] == []


def test_the_verdict_and_the_readme_have_the_same_figures(folders):
    verdict = compare(load(RUNS)).verdict
    ratio = steady_epoch_s(folders["two"]) / steady_epoch_s(folders["one"])
    speedup = images_per_s(folders["fast"]) / images_per_s(folders["one"])
    assert verdict.startswith("Two boards (local_sgd, ") and f" a speed-up of {speedup:.2f} (n=1 each" in verdict
    assert verdict.endswith(f"Two boards (keras) took {ratio:.2f} times as long per epoch as one (the paper: 3.03).")
    readme = " ".join((PROJECT / "README.md").read_text().split())
    same = {name: images_per_s(folders["one"]) / images_per_s(folders[name]) for name in ("two", "fast")}
    papers = 1 / PAPER.arms()[1]["speedup"]
    assert f"take {same['two']:.2f} times as long as one (the paper: {papers:.2f}), with local SGD" in readme
    assert f"with local SGD {same['fast']:.2f} times](" in readme
    assert f"they need {same['two']:.2f} times as long as one board for the same images" in readme
    assert f"they need {same['fast']:.2f} times as long. A rehearsal" in readme
    assert f"Per epoch it is {ratio:.2f} times (the paper: 3.03)" in readme
    steps = {name: sum(it["steps"] for it in raw(folders[name])[0] if it["event"] == "epoch") for name in folders}
    assert steps["fast"] == steps["one"] / 2 and f"after its {steps['fast']} steps, half as many" in readme
    samples = [
        it for file in PROJECT.glob("tests/data/rehearsal/*-w2-*/boards/*/telemetry.jsonl") for it in lines(file)
    ]
    assert f"{max(it['memory_bytes'] for it in samples) / 1e9:.1f} GB of memory in use" in readme
    learned = [f"{final_accuracy(folders[name]):.3f}" for name in ("fast", "one")]
    assert "their accuracy is {}, and that of one board {}".format(*learned) in readme


def test_each_figure_can_stand_alone(tmp_path, capsys):
    assert main(["figures", *map(str, RUNS), "--out", str(tmp_path)]) == 0
    written = [Path(line) for line in capsys.readouterr().out.splitlines()]
    assert {path.stem for path in written} >= {
        "accuracy_by_epoch",
        "loss_by_epoch",
        "time_per_epoch",
        "time_per_image",
        "time_to_accuracy",
        "efficiency_by_boards",
        "time_of_a_step",
        "computing_by_board",
    }
    for path in written:
        texts = "".join(ET.parse(path).getroot().itertext())
        assert "emulated boards, synthetic images" in texts and "prefers-color-scheme" in texts


def test_the_committed_figures_are_theirs(tmp_path):
    main(["figures", *map(str, RUNS), "--out", str(tmp_path)])
    committed = PROJECT / "docs" / "figures"
    for path in tmp_path.iterdir():
        assert (committed / path.name).read_text() == path.read_text(), f"renew with: analysis figures ({path.name})"


def test_the_command_line_agrees_with_the_api(capsys):
    assert main(["compare", *map(str, RUNS), "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == compare(load(RUNS)).to_dict()
