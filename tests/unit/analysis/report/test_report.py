"""The report."""

import html
import json
import math
import re
import shlex
from dataclasses import asdict
from html.parser import HTMLParser

import pytest
import yaml

from analysis import compare, figures, load
from analysis.report.report import render, write_report
from controller.foretell import Expectation
from tests import PROJECT
from tests.data.build_runs import build_run
from trainer.contract.config import parse
from trainer.contract.layout import write_json


def compared(parent):
    return compare(load(parent.glob("*/")))


@pytest.fixture
def two_arms(tmp_path):
    build_run(tmp_path / "runs", "one board", workers=1)
    build_run(tmp_path / "runs", "two", workers=2, step_s=1.2)
    return tmp_path / "runs"


@pytest.fixture
def page(two_arms):
    out = two_arms.parent / "report" / "index.html"
    write_report(compared(two_arms), out)
    return out.read_text(encoding="utf-8")


def test_the_page_opens_with_the_verdict(page, two_arms):
    words = page[page.index("<body>") : page.index("<figure>")]
    assert compared(two_arms).verdict in " ".join(re.sub("<[^>]*>", " ", words).split())
    assert re.search("<strong>Two boards look not worth it: [^<]*</strong> In images/s", words)


def test_figures_of_equal_work_come_first_and_the_papers_after_the_table(page):
    captions = re.findall("<figcaption>(.*?)</figcaption>", page)
    assert captions[0].startswith("Equal work: ") and captions[1].startswith("From the start of the boards")
    assert page.index(captions[1]) < page.index("<h2>Beside the paper</h2>") < page.index(captions[2])
    assert "figure 1" in captions[2] and "figure 2" in captions[3]


def test_without_drawings_all_words_stay(two_arms):
    comparison = compared(two_arms)
    drawn = render(comparison, two_arms)
    assert drawn.count("<svg") == len(figures(comparison, drawn=False))
    assert re.sub(r"<svg.*?</svg>\n?", "", drawn, flags=re.DOTALL) == render(comparison, two_arms, drawn=False)


def test_the_page_needs_nothing_but_itself(page):
    found = []

    class Loads(HTMLParser):
        def handle_starttag(self, tag, attributes):
            if tag in ("script", "link", "img", "iframe"):
                found.append(tag)
            for name, value in attributes:
                if name in ("src", "srcset", "xlink:href", "href") and tag != "a":
                    assert value.startswith("#"), (tag, name, value)

    Loads().feed(page)
    assert found == []
    assert "@import" not in page


def test_ids_are_unique_and_references_resolve(page):
    ids = re.findall(r'\sid="([^"]+)"', page)
    assert len(ids) == len(set(ids))
    used = set(re.findall(r'(?:url\(#|xlink:href="#)([^)"]+)', page))
    assert used <= set(ids)


def test_the_table_says_in_words_what_an_arm_does_and_names_its_fields(page):
    assert '<td class="arm">1 board</td>' in page
    assert '<td class="arm">2 boards, plain Keras, all images on each<small>keras</small></td>' in page
    assert '<td class="arm">paper: 2 boards, plain Keras, all images on each</td>' in page


def test_links_lead_to_the_runs_folders(page, two_arms):
    assert 'href="../runs/one%20board/"' in page
    assert 'href="../runs/two/"' in page


def test_the_page_says_how_to_reproduce_it(page):
    assert "c" * 40 in page
    assert (
        "ansible-playbook -i inventory/lab playbooks/run_experiment.yml "
        "-e experiment=paper -e workers=2 -e seed=1 -e " in page
    )
    commands = html.unescape(re.search("<pre>(.*?)</pre>", page, re.DOTALL)[1]).splitlines()
    override = json.loads(shlex.split(commands[1])[-1])
    assert override == {"override": {"epochs": 3, "data": {"source": "synthetic"}}}
    assert commands[-1] == "python -m analysis report runs/* --out report.html"


def test_the_preset_that_runs_are_made_again_over_is_all_defaults():
    preset = yaml.safe_load((PROJECT / "experiments/paper.yml").read_text())
    assert parse(preset) == parse({})


def test_an_override_makes_the_same_configuration_again(tmp_path):
    given = {
        "epochs": 2,
        "data": {"sharding": "sharded", "train_images": 640, "source": "synthetic"},
        "sync": {"method": "local_sgd", "timeout_s": 30.0, "overlap": False, "outer_learning_rate": 2.0},
    }
    build_run(tmp_path, "one", override={"sync": {"timeout_s": 30.0}}, epochs=2)
    build_run(tmp_path, "two", workers=2, override=given, epochs=2)
    # whole numbers beside nulls
    loaded = load([tmp_path / "two"])
    page = render(compare(loaded), tmp_path, drawn=False)
    command = html.unescape(re.search("<pre>(.*?)\n", page)[1])
    override = json.loads(shlex.split(command)[-1])["override"]
    assert parse(override) == parse(given)


def test_options_of_the_comparison_are_in_its_command(two_arms):
    comparison = compare(load(two_arms.glob("*/")), target_accuracy=0.25, drop_extremes=True)
    page = render(comparison, two_arms, drawn=False)
    assert "report.html --target-accuracy 0.25 --drop-extremes\n" in page.replace("</pre>", "\n")


def test_an_accuracy_that_nobody_measured_is_not_in_the_command(tmp_path):
    build_run(tmp_path, accuracy=(math.nan,))
    comparison = compared(tmp_path)
    assert math.isnan(comparison.target_accuracy)
    assert "--target-accuracy" not in render(comparison, tmp_path, drawn=False)


def test_the_page_lists_what_differs_from_the_paper(page):
    rows = re.findall(r"<tr><td>([^<]*)</td><td>([^<]*)</td><td>([^<]*)</td></tr>", page)
    assert ("epochs", "3", "100") in rows
    assert ("data.source", "synthetic", "cifar100") in rows


def test_failed_runs_and_problems_are_on_the_page(two_arms):
    build_run(two_arms, "bad", workers=2, failed={1: "out of memory"}, manifest=False)
    out = two_arms.parent / "report.html"
    write_report(compared(two_arms), out)
    page = out.read_text(encoding="utf-8")
    assert "failed, not used: board-2 failed: out of memory" in page
    assert re.search(r'<td class="number">failed</td>\n<td colspan="\d+">bad, not averaged: board-2 failed', page)
    assert "bad: manifest.json is missing" in page


def test_names_from_the_runs_are_escaped(tmp_path):
    evil = "<script>alert(1)<&script>"
    build_run(tmp_path, "<img src=x>", boards=[evil], facts={"module": "<b>$\\frac"})
    build_run(tmp_path, "<i>", workers=2, failed={0: "<u>"}, manifest=False)
    (tmp_path / "<i>" / "boards/board-1/result.json").write_text("[")
    out = tmp_path / "report.html"
    write_report(compared(tmp_path), out)
    page = out.read_text(encoding="utf-8")
    for tag in ("<script", "<img", "<b>", "<i>", "<u>"):
        assert tag not in page
    assert "&lt;script&gt;alert(1)&lt;&amp;script&gt;" in page


def test_what_was_predicted_stands_beside_what_was_measured(two_arms, page):
    assert "Predicted and measured" not in page
    told = Expectation(12.125, 11.0, 13.25, total_s=40.0, energy_j=None, measured_in=["a run of predict.yml"])
    write_json(two_arms / "two" / "prediction.json", asdict(told))
    page = render(compared(two_arms), two_arms, drawn=False)
    row = "".join(
        f"<td>{cell}</td>" for cell in ("two", "12.1", "11.0 to 13.2", "10.1", "+20%", "a run of predict.yml")
    )
    assert row in page


def test_gates_and_attempts_are_on_the_page(two_arms, page):
    assert "Not known of one board, two" in page
    finding = {"board": "board-2", "gate": "link.rate", "severity": "refuse", "found": "100", "wanted": "1000"}
    found = {"findings": [{**finding, "remedy": "another cable", "waived": True}], "waived": ["link.rate"]}
    for run in ("one board", "two"):
        write_json(two_arms / run / "gates.json", {**found, "boards": {"board-1": {"power_mode": "MODE_40W"}}})
    manifest = json.loads((two_arms / "two" / "manifest.json").read_text())
    attempt = {"status": "failed", "cause": "board-1 failed: <full disk>", "ended": "2025-01-01T00:00:00Z"}
    write_json(two_arms / "two" / "manifest.json", {**manifest, "attempts": [attempt]})
    page = render(compared(two_arms), two_arms, drawn=False)
    cells = ("board-2", "link.rate", "waived", "100", "1000", "another cable", "one board, two")
    assert "".join(f"<td>{cell}</td>" for cell in cells) in page
    assert "Passed over on request: link.rate." in page
    assert (
        "<td>two</td><td>1</td><td>failed, 2025-01-01T00:00:00Z</td><td>board-1 failed: &lt;full disk&gt;</td>" in page
    )
    assert "<th>power mode</th>" in page and "<td>MODE_40W</td>" in page


def test_facts_that_no_board_told_have_no_column(page):
    assert "<th>TensorFlow</th>" in page
    assert "<th>JetPack</th>" not in page and "<th>power mode</th>" not in page


def test_a_fact_that_is_not_known_is_a_dash_and_names_stay_as_they_are(tmp_path):
    build_run(tmp_path, "told", boards=["nullarbor"], facts={"jetpack": "5.1"})
    build_run(tmp_path, "untold", boards=["nullarbor"])
    page = render(compared(tmp_path), tmp_path, drawn=False)
    assert "<td>nullarbor</td><td>5.1</td>" in page and "<td>nullarbor</td><td>-</td>" in page


def test_what_clocks_cannot_tell_is_said(two_arms):
    assert "Boards&#39; clocks were not measured in two:" in render(compared(two_arms), two_arms, drawn=False)
    build_run(two_arms.parent / "timed", "one board", workers=1, ahead_s={})
    build_run(two_arms.parent / "timed", "two", workers=2, ahead_s={1: 2.5})
    page = render(compared(two_arms.parent / "timed"), two_arms, drawn=False)
    # the boards end their epochs together, so their clocks are not known well enough
    assert "two: in 3 of 3 epochs the boards ended 0.000 s apart, less than the uncertainty of their clocks" in page
