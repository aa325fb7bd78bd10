"""The figures: which there are, what they show, and that they can stand in any page."""

import json
import re
import xml.etree.ElementTree as ET

import pytest

from analysis import compare, figures, load
from analysis.prediction.predict import efficiency_of_arms
from analysis.report.plots.telemetry import over_time
from tests.data.build_runs import build_run

REAL = {"emulated": False}
LINK = {"link_rate_bit_per_s": 10**9}  # on which the bytes of build_run travel in less time than steps stall
ALWAYS = {"accuracy_by_epoch", "loss_by_epoch", "time_per_pass"}
SEVERAL_BOARDS = {"efficiency_by_boards", "time_of_a_step", "computing_by_board"}
SENSORS = {"energy_per_pass", "power_over_time", "temperature_over_time"}


def compared(parent):
    return compare(load(parent.glob("*/")))


def texts(svg):
    return [text for text in ET.fromstring(svg).itertext() if text.strip()]


@pytest.fixture(scope="module")
def two_arms(tmp_path_factory):
    parent = tmp_path_factory.mktemp("runs")
    build_run(parent, "one", workers=1, power_w=20.0, facts=LINK)
    build_run(parent, "two", workers=2, step_s=1.2, power_w=20.0, ahead_s={1: 2.5}, facts=LINK)
    return parent


@pytest.fixture(scope="module")
def drawn(two_arms):
    return figures(compared(two_arms))


def test_each_says_what_it_was_made_from(drawn):
    assert set(drawn) >= ALWAYS | SEVERAL_BOARDS | SENSORS
    for figure in drawn.values():
        assert "emulated boards, synthetic images" in texts(figure.svg)


def test_of_real_boards_and_images_none_claims_anything_else(tmp_path):
    build_run(tmp_path, facts=REAL, synthetic=False)
    for figure in figures(compared(tmp_path)).values():
        assert "emulated" not in figure.svg and "synthetic" not in figure.svg


def test_all_take_the_pages_text_colour(drawn):
    for figure in drawn.values():
        assert "currentColor" in figure.svg
        assert not re.search(r"#010203|#000000|fill: ?#ffffff", figure.svg)


def test_the_same_runs_give_the_same_figures(two_arms, drawn):
    assert figures(compared(two_arms)) == drawn


def test_a_figure_without_data_is_left_out(tmp_path):
    build_run(tmp_path, "one", workers=1)
    found = set(figures(compared(tmp_path), drawn=False))
    assert found >= ALWAYS and not found & (SEVERAL_BOARDS | SENSORS)
    build_run(tmp_path, "two", workers=2)
    found = set(figures(compared(tmp_path), drawn=False))
    assert found >= ALWAYS | SEVERAL_BOARDS and not found & SENSORS


def test_without_drawings_the_same_figures_have_the_same_captions(two_arms, drawn):
    undrawn = figures(compared(two_arms), drawn=False)
    assert {name: figure.caption for name, figure in undrawn.items()} == {
        name: figure.caption for name, figure in drawn.items()
    }
    assert not any(figure.svg for figure in undrawn.values())


def test_without_a_sample_that_can_be_read_a_panel_is_empty(tmp_path):
    folder = build_run(tmp_path, power_w=20.0)
    (folder / "boards/board-1/telemetry.jsonl").write_text("half a li")
    drawn = figures(compared(tmp_path))
    for name in ("power_over_time", "temperature_over_time"):
        assert "minutes" in texts(drawn[name].svg)


def test_each_run_is_a_line_and_an_arm_of_several_has_its_interval(two_arms, tmp_path):
    for folder in two_arms.iterdir():
        (tmp_path / folder.name).symlink_to(folder)
    one_each = figures(compared(tmp_path))["accuracy_by_epoch"].svg
    build_run(tmp_path, "again", workers=2, seed=2, step_s=1.3, accuracy=(0.15, 0.2, 0.3), facts=LINK)
    svg = figures(compared(tmp_path))["accuracy_by_epoch"].svg
    assert texts(svg).count("1 board") == texts(svg).count("2 boards, plain Keras, all images on each") == 1
    thin, thick, band = "stroke: #d55e00; stroke-opacity: 0.6; stroke-width: 0.7", "stroke-width: 1.8", "PolyCollection"
    assert (one_each.count(thin), one_each.count(thick), one_each.count(band)) == (0, 0, 0)
    # the mean, and its sample in the legend
    assert (svg.count(thin), svg.count(thick), svg.count(band)) == (2, 2, 1)


def test_the_papers_first_epoch_is_marked_beside_the_accuracy(drawn):
    labels = texts(drawn["accuracy_by_epoch"].svg)
    assert "paper, 1 board, epoch 1: 0.08" in labels
    assert "paper, 2 boards, epoch 1: 0.12" in labels


def test_the_time_stands_beside_the_papers_ratio(drawn):
    labels = " ".join(" ".join(texts(drawn["time_per_pass"].svg)).split())
    assert "2.73 (10.1 s)" in labels
    assert "3.03 (paper)" in labels


def test_without_one_board_the_time_is_in_seconds_and_the_paper_left_out(tmp_path):
    build_run(tmp_path, workers=2)
    labels = " ".join(texts(figures(compared(tmp_path))["time_per_pass"].svg))
    assert "seconds per pass" in labels
    assert "paper" not in labels


def test_runs_of_one_epoch_and_without_any_number_can_be_drawn(tmp_path):
    build_run(tmp_path, epochs=1, loss=(float("nan"),))
    made = figures(compared(tmp_path))
    for figure in made.values():
        ET.fromstring(figure.svg)
    assert "Time per pass over the data set" in made["time_per_pass"].svg
    assert "loss_by_epoch" not in made


def test_an_arm_that_did_not_reach_the_accuracy_says_so(tmp_path):
    build_run(tmp_path, "one", workers=1)
    build_run(tmp_path, "two", workers=2, accuracy=(0.1, 0.1, 0.1))
    comparison = compare(load(tmp_path.iterdir()), target_accuracy=0.25)
    labels = texts(figures(comparison)["time_to_accuracy"].svg)
    assert "not reached in 22 s" in labels and "Time to a validation accuracy of 0.250" in labels


def test_the_step_is_split_and_says_where_waiting_is_hidden(drawn):
    labels = texts(drawn["time_of_a_step"].svg)
    assert {"400 ms", "computing", "communication", "waiting"} <= set(labels)
    assert "1200 ms, waiting within communication" in labels


def test_every_board_of_several_has_its_bar(tmp_path):
    build_run(tmp_path, "one", workers=1, boards=["alone"])
    build_run(tmp_path, "two", workers=2, boards=["fast", "slow"], step_s=1.2, slower={1: 1.25})
    labels = texts(figures(compared(tmp_path))["computing_by_board"].svg)
    assert {"fast", "slow", "800 ms", "1000 ms"} <= set(labels)
    assert "alone" not in labels


def test_energy_is_that_of_the_modules(drawn):
    labels = " ".join(texts(drawn["energy_per_pass"].svg))
    one_w, two_w = (float(watts) for watts in re.findall(r"\((\S+) W\)", labels))
    assert one_w == pytest.approx(20, abs=1) and two_w == pytest.approx(40, abs=2)


def test_efficiency_is_predicted_only_where_it_can_be(two_arms, drawn, tmp_path):
    assert "dashed: predicted, not measured" in texts(drawn["efficiency_by_boards"].svg)
    found = efficiency_of_arms(compared(two_arms).runs, [1, 2, 8])
    assert found.columns.tolist() == ["keras"] and found.loc[1, "keras"] == pytest.approx(1.0)
    # as it was measured there
    assert found.loc[2, "keras"] == pytest.approx(0.4 / 1.2, rel=0.01)
    assert found.loc[8, "keras"] < found.loc[2, "keras"]
    build_run(tmp_path, "one", workers=1, facts={"link_rate_bit_per_s": None})
    build_run(tmp_path, "two", workers=2, facts={"link_rate_bit_per_s": None})
    comparison = compared(tmp_path)
    assert efficiency_of_arms(comparison.runs, [1, 2]).columns.empty
    assert "dashed" not in " ".join(texts(figures(comparison)["efficiency_by_boards"].svg))


def test_samples_are_on_the_controllers_clock_and_few(two_arms):
    comparison = compared(two_arms)
    runs = {run["run_id"]: run for run in comparison.runs.to_dict("records")}
    samples = over_time(comparison, runs["two"])
    first = samples.groupby("board")["minutes"].min()
    assert first["board-1"] == pytest.approx(first["board-2"], abs=1e-6)
    assert samples["power_w"].between(9.5, 22.5).all()
    assert samples["temperature_c"].between(45, 55).all()
    long = two_arms / "two" / "boards" / "board-1" / "telemetry.jsonl"
    lines = [json.loads(line) for line in long.read_text().splitlines()]
    assert len(lines) < 150
    try:
        before = long.read_text()
        many = [{**lines[-1], "time_s": lines[0]["time_s"] + second} for second in range(5000)]
        long.write_text("".join(json.dumps(line) + "\n" for line in many))
        assert len(over_time(comparison, runs["two"])) <= 2 * 150
    finally:
        long.write_text(before)
