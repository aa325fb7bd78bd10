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


def since_start_s(folder: Path, epoch: int = 5) -> float:
    """Of the slowest board, from the start of its process to the end of an epoch."""
    of_boards = []
    for board in raw(folder):
        start = next(it for it in board if it["event"] == "start")
        end = next(it for it in board if it["event"] == "epoch" and it["epoch"] == epoch)
        of_boards.append(end["time_s"] - start["time_s"] + start["startup_s"])
    return max(of_boards)


def accuracy_after(folder: Path, epoch: int) -> float:
    return next(it for it in raw(folder)[0] if it["event"] == "epoch" and it["epoch"] == epoch)["val_accuracy"]


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
        assert arm["pass_s"] == pytest.approx(steady_epoch_s(folders[name])), name
        assert arm["total_s"] == pytest.approx(since_start_s(folders[name])), name
        assert arm["images_per_s"] == pytest.approx(images_per_s(folders[name])), name
        assert arm["images_ratio"] == pytest.approx(images_per_s(folders[name]) / images_per_s(folders["one"])), name
        assert arm["val_accuracy_final"] == final_accuracy(folders[name]), name
    assert arms["two"]["sent_bytes_per_step"] == pytest.approx(4 * 2_931_044, rel=0.02)
    assert arms["two"]["stall_share"] > 0.5 > arms["fast"]["stall_share"]
    target = final_accuracy(folders["one"]) - 0.01
    assert compared["target_accuracy"] == pytest.approx(target)
    for name, arm in arms.items():
        ends = [epoch for epoch in range(1, 6) if accuracy_after(folders[name], epoch) >= target]
        took_s = arm["time_to_accuracy_s"]
        assert took_s == (pytest.approx(since_start_s(folders[name], ends[0])) if ends else None), name
    assert arms["fast"]["unreached"] == 1
    assert compared["rehearsal"] and compared["synthetic"] and compared["problems"] == []


def test_the_verdict_and_the_readme_have_the_same_figures(folders):
    verdict = compare(load(RUNS)).verdict
    ratio = steady_epoch_s(folders["two"]) / steady_epoch_s(folders["one"])
    fast = steady_epoch_s(folders["fast"]) / steady_epoch_s(folders["one"])
    whole = since_start_s(folders["fast"]) / since_start_s(folders["one"])
    same = images_per_s(folders["two"]) / images_per_s(folders["one"])
    assert verdict.startswith("Two boards (local SGD, ") and ") look not worth it: they take " in verdict
    assert (
        f"{fast:.2f} times the time of one board for a pass over the data set and {whole:.2f} times in all" in verdict
    )
    assert (
        f"Two boards (plain Keras, all images on each) took {ratio:.2f} times as long per epoch as one, with "
        f"{same:.2f} times the" in verdict
    )
    assert "on emulated boards with synthetic images" in verdict.split(". ")[0]
    readme = " ".join((PROJECT / "README.md").read_text().split())
    papers = PAPER.arms()[1]["images_ratio"]
    assert (
        f"plain Keras take {ratio:.2f} times as long as one (the paper: 3.03), with local SGD {fast:.2f} times"
        in readme
    )
    assert f"need {ratio:.2f} times as long** for a pass over the data set (the paper: 3.03)" in readme
    assert f"at {same:.2f} times the images/s of one board (the paper: {papers:.2f})" in readme
    assert (
        f"need {fast:.2f} times as long per pass.** A rehearsal" in readme and f"in all it takes {whole:.2f}" in readme
    )
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
        "time_per_pass",
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
