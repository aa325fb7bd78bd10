"""The report and its figures."""

import re
import xml.etree.ElementTree as ET
from html.parser import HTMLParser

import pytest

from analysis import compare, load
from analysis.plots import accuracy_by_epoch, loss_by_epoch, time_per_epoch
from analysis.report import write_report
from tests.data.build_runs import build_run

FIGURES = [accuracy_by_epoch, loss_by_epoch, time_per_epoch]
REAL = {"emulated": False}


def compared(parent):
    return compare(load(parent.glob("*/")))


def texts(svg):
    return [text for text in ET.fromstring(svg).itertext() if text.strip()]


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


@pytest.mark.parametrize("draw", FIGURES)
def test_a_figure_says_what_it_was_made_from(two_arms, draw):
    (heading,) = [text for text in texts(draw(compared(two_arms))) if "emulated boards" in text]
    assert heading.endswith("emulated boards, synthetic images")


@pytest.mark.parametrize("draw", FIGURES)
def test_a_figure_of_real_boards_and_images_claims_nothing_else(tmp_path, draw):
    build_run(tmp_path, facts=REAL, synthetic=False)
    svg = draw(compared(tmp_path))
    assert "emulated" not in svg
    assert "synthetic" not in svg


@pytest.mark.parametrize("draw", FIGURES)
def test_a_figure_takes_the_pages_text_colour(two_arms, draw):
    svg = draw(compared(two_arms))
    assert "currentColor" in svg
    assert not re.search(r"#010203|#000000|fill: ?#ffffff", svg)


@pytest.mark.parametrize("draw", FIGURES)
def test_the_same_runs_give_the_same_figure(two_arms, draw):
    assert draw(compared(two_arms)) == draw(compared(two_arms))


def test_each_run_is_a_line_and_each_arm_a_name(two_arms):
    build_run(two_arms, "again", workers=2, seed=2, step_s=1.3)
    svg = accuracy_by_epoch(compared(two_arms))
    legend = texts(svg)
    assert legend.count("1 board") == 1
    assert legend.count("2 boards, keras") == 1
    # the line of a run, and its sample in the legend
    assert svg.count("stroke: #0079c2; stroke-width: 1.6") == 2
    assert svg.count("stroke: #d55e00; stroke-width: 1.6") == 3


def test_the_papers_first_epoch_is_marked_beside_the_accuracy(two_arms):
    labels = texts(accuracy_by_epoch(compared(two_arms)))
    assert "paper, 1 board, epoch 1: 0.08" in labels
    assert "paper, 2 boards, epoch 1: 0.12" in labels


def test_the_time_stands_beside_the_papers_ratio(two_arms):
    labels = " ".join(" ".join(texts(time_per_epoch(compared(two_arms)))).split())
    assert "2.73 (10.1 s)" in labels
    assert "3.03 (paper)" in labels


def test_without_one_board_the_time_is_in_seconds_and_the_paper_left_out(tmp_path):
    build_run(tmp_path, workers=2)
    labels = " ".join(texts(time_per_epoch(compared(tmp_path))))
    assert "seconds per epoch" in labels
    assert "paper" not in labels


def test_runs_of_one_epoch_and_without_any_number_can_be_drawn(tmp_path):
    build_run(tmp_path, epochs=1, loss=(float("nan"),))
    comparison = compared(tmp_path)
    for draw in FIGURES:
        ET.fromstring(draw(comparison))
    assert "Time per step" in time_per_epoch(comparison)


def test_the_page_opens_with_the_verdict(page, two_arms):
    body = page[page.index("<body>") :]
    assert body.index(compared(two_arms).verdict) < body.index("<table>")


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


def test_links_lead_to_the_runs_folders(page, two_arms):
    assert 'href="../runs/one%20board/"' in page
    assert 'href="../runs/two/"' in page


def test_the_page_says_how_to_reproduce_it(page):
    assert "c" * 40 in page
    assert (
        "ansible-playbook -i inventory/lab playbooks/run_experiment.yml "
        "-e experiment=test -e workers=2 -e seed=1" in page
    )


def test_the_page_lists_what_differs_from_the_paper(page):
    rows = re.findall(r"<tr><td>(.*?)</td><td>(.*?)</td><td>(.*?)</td></tr>", page)
    assert ("epochs", "3", "100") in rows
    assert ("data.source", "synthetic", "cifar100") in rows


def test_failed_runs_and_problems_are_on_the_page(two_arms):
    build_run(two_arms, "bad", workers=2, failed={1: "out of memory"}, manifest=False)
    out = two_arms.parent / "report.html"
    write_report(compared(two_arms), out)
    page = out.read_text(encoding="utf-8")
    assert "failed, not used: board-2 failed: out of memory" in page
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
