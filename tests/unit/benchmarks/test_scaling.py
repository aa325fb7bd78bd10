"""docs/scaling.md: the paper's boards on paper."""

import shutil

import pytest

from analysis.comparison.paper import PAPER
from analysis.prediction.allreduce import Network
from benchmarks.docs.figures import DOCS, render_scaling
from benchmarks.docs.scaling import BOARDS, load, readings, speedup


def test_both_readings_of_the_paper_give_what_it_measured():
    for reading in readings(load(DOCS)):
        assert speedup(reading, "keras", 2, Network(1e9)) == pytest.approx(PAPER.arms()[1]["images_ratio"], rel=0.001)


def test_local_sgd_is_never_slower_than_what_sends_at_every_step():
    for reading in readings(load(DOCS)):
        for count in BOARDS:
            pace = {name: speedup(reading, name, count, Network(1e9)) for name in ("keras", "local_sgd, period 16")}
            assert pace["keras"] < pace["local_sgd, period 16"] <= count


def test_the_published_tables_are_those_of_the_published_measurements(tmp_path):
    for name in ("data", "figures"):
        shutil.copytree(DOCS / name, tmp_path / name)
    page = (DOCS / "scaling.md").read_text(encoding="utf-8")
    (tmp_path / "scaling.md").write_text(page, encoding="utf-8")
    render_scaling(tmp_path)
    assert (tmp_path / "scaling.md").read_text(encoding="utf-8") == page
    assert (tmp_path / "figures" / "scaling.svg").read_text(encoding="utf-8").startswith("<svg")
