"""The analysis of four real runs, as `make rehearse` left them (without their weights)."""

import json
import xml.etree.ElementTree as ET
from pathlib import Path
from statistics import mean, median

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
    """One board; two with plain Keras, and the same with shared images; two with local SGD."""
    names = {"one_board": "one", "keras": "two", "shared": "shared", "fast": "fast"}
    return {names[json.loads((folder / "run.json").read_text())["study"].split("/")[1]]: folder for folder in RUNS}


def test_the_table_says_what_the_records_say(folders):
    compared = compare(load(RUNS)).to_dict()
    arms = dict(zip(("one", "two", "shared", "fast"), compared["arms"], strict=True))
    made = [(arm["workers"], arm["sync"], arm["sharding"]) for arm in arms.values()]
    assert made[0][:2] == (1, "none")
    assert made[1:] == [(2, "keras", "whole"), (2, "keras", "sharded"), (2, "local_sgd", "sharded")]
    for name, arm in arms.items():
        assert arm["pass_s"] == pytest.approx(steady_epoch_s(folders[name])), name
        assert arm["total_s"] == pytest.approx(since_start_s(folders[name])), name
        assert arm["images_per_s"] == pytest.approx(images_per_s(folders[name])), name
        assert arm["images_ratio"] == pytest.approx(images_per_s(folders[name]) / images_per_s(folders["one"])), name
        assert arm["val_accuracy_final"] == final_accuracy(folders[name]), name
    for name in ("two", "shared"):
        assert arms[name]["sent_bytes_per_step"] == pytest.approx(4 * 2_931_044, rel=0.02)
    assert arms["two"]["stall_share"] > 0.5 > arms["fast"]["stall_share"]
    target = final_accuracy(folders["one"]) - 0.01
    assert compared["target_accuracy"] == pytest.approx(target)
    for name, arm in arms.items():
        ends = [epoch for epoch in range(1, 6) if accuracy_after(folders[name], epoch) >= target]
        took_s = arm["time_to_accuracy_s"]
        assert took_s == (pytest.approx(since_start_s(folders[name], ends[0])) if ends else None), name
    assert compared["rehearsal"] and compared["synthetic"] and compared["problems"] == []


def test_the_verdict_and_the_readme_have_the_same_figures(folders):
    verdict = compare(load(RUNS)).verdict
    ratio = steady_epoch_s(folders["two"]) / steady_epoch_s(folders["one"])
    fast = steady_epoch_s(folders["fast"]) / steady_epoch_s(folders["one"])
    whole = since_start_s(folders["fast"]) / since_start_s(folders["one"])
    same = images_per_s(folders["two"]) / images_per_s(folders["one"])
    shared = steady_epoch_s(folders["shared"]) / steady_epoch_s(folders["one"])
    assert verdict.startswith("Two boards (local SGD, images shared out, ")
    assert f"{fast:.2f} times the time of one board for a pass" in verdict
    assert f"{whole:.2f} times in all" in verdict
    other = f"Two boards (plain Keras, all images on each) took {ratio:.2f} times as long per epoch as one, "
    assert f"{other}with {same:.2f} times the" in verdict
    assert "on emulated boards with synthetic images" in verdict.split(". ")[0]
    readme = " ".join((PROJECT / "README.md").read_text().split())
    papers = PAPER.arms()[1]["images_ratio"]
    assert (
        f"plain Keras take {ratio:.2f} times as long as one (the paper: 3.03), with local SGD {fast:.2f} times"
        in readme
    )
    assert f"need {ratio:.2f} times as long** for a pass over the data set (the paper: 3.03)" in readme
    assert f"at {same:.2f} times the images/s of one board (the paper: {papers:.2f})" in readme
    assert f"share the images out, a pass takes {shared:.2f} times as long as with one board" in readme
    assert f"need {fast:.2f} times as long per pass.**" in readme and f"take {whole:.2f} times as long" in readme
    steps = {name: sum(it["steps"] for it in raw(folders[name])[0] if it["event"] == "epoch") for name in folders}
    assert steps["fast"] == steps["one"] / 2
    samples = [
        it for file in PROJECT.glob("tests/data/rehearsal/*-w2-*/boards/*/telemetry.jsonl") for it in lines(file)
    ]
    assert f"{max(it['memory_bytes'] for it in samples) / 1e9:.1f} GB of memory in use" in readme
    learned = [f"{final_accuracy(folders[name]):.3f}" for name in ("fast", "one")]
    assert "their accuracy is {}, and that of one board {}".format(*learned) in readme


def test_two_boards_are_faster_and_learn_as_much(folders):
    def passes(name: str) -> float:
        """Seconds of all epochs on all boards, without what TensorFlow traces in the first."""
        of_boards = []
        for board in raw(folders[name]):
            first, *later = [it for it in board if it["event"] == "window" and it["epoch"] == 1]
            usual = median(it["elapsed_s"] / it["steps"] for it in later) * first["steps"]
            tracing_s = max(0.0, first["elapsed_s"] - usual)
            of_boards.append(sum(it["epoch_s"] for it in board if it["event"] == "epoch") - tracing_s)
        return mean(of_boards)

    assert 2.6 < passes("two") / passes("one") < 3.5
    assert passes("one") / passes("fast") > 1.5
    assert 0.6 < final_accuracy(folders["one"]) < 0.9
    assert abs(final_accuracy(folders["fast"]) - final_accuracy(folders["one"])) < 0.02


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
