"""The analysis of three real runs, as `make rehearse` left them (without their weights)."""

import json
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from analysis import compare, load
from analysis.__main__ import main

RUNS = sorted((Path(__file__).parents[1] / "data" / "rehearsal").iterdir())


def test_they_say_what_the_rehearsal_said():
    compared = compare(load(RUNS)).to_dict()
    one, two, fast = compared["arms"]
    assert (one["workers"], two["workers"], two["sync"], fast["sync"]) == (1, 2, "keras", "local_sgd")
    assert two["epoch_s"] / one["epoch_s"] == pytest.approx(2.90, abs=0.005)
    assert two["speedup"] == pytest.approx(0.67, abs=0.005)
    assert two["sent_bytes_per_step"] == pytest.approx(4 * 2_931_044, rel=0.02)
    assert one["val_accuracy_final"] == pytest.approx(0.472, abs=0.0005)
    assert fast["speedup"] == pytest.approx(1.91, abs=0.005)
    assert two["agreeing_share"] > 0.5 > fast["agreeing_share"]
    assert compared["verdict"].startswith(
        "Two boards (local_sgd, sharded, period=8, scale_rate=linear) look worth it in speed, but learn less: a "
        "speed-up of 1.91 (n=1 each: no interval), on emulated boards with synthetic images."
    )
    assert compared["verdict"].endswith(
        "Two boards (keras) took 2.90 times as long per epoch as one (the paper: 3.03)."
    )
    assert compared["rehearsal"] and compared["synthetic"]
    # the run of the paper's way was made again when the trainer had begun to record its communication
    (problem,) = compared["problems"]
    assert problem.startswith("the runs were made with different versions of trainer/")


def test_each_figure_can_stand_alone(tmp_path, capsys):
    assert main(["figures", *map(str, RUNS), "--out", str(tmp_path)]) == 0
    written = [Path(line) for line in capsys.readouterr().out.splitlines()]
    assert {path.stem for path in written} >= {
        "accuracy_by_epoch",
        "loss_by_epoch",
        "time_per_epoch",
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
    committed = Path(__file__).parents[2] / "docs" / "figures"
    for path in tmp_path.iterdir():
        assert (committed / path.name).read_text() == path.read_text(), f"renew with: analysis figures ({path.name})"


def test_the_command_line_agrees_with_the_api(capsys):
    assert main(["compare", *map(str, RUNS), "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == compare(load(RUNS)).to_dict()
