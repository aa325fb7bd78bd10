"""What benchmarks leave for others to read."""

import json
import re
import shutil

import pytest

from benchmarks.docs import labels, rehearsed, setup_table
from benchmarks.docs.figures import DOCS, render
from benchmarks.lab import prediction
from benchmarks.lab.scale import _latest
from tests import PROJECT
from tests.data.build_runs import build_prediction
from tests.data.litter import copy_beside
from trainer.contract.methods import METHODS

DATA = PROJECT / "docs" / "data"


def test_a_copy_of_a_run_is_not_the_latest(tmp_path):
    folder = build_prediction(tmp_path, step_s={"one board": 0.1, "no_sync": 0.1}, validation_s=1.0)
    copy_beside(folder)
    assert _latest(tmp_path, 2) == folder


def test_published_results_name_no_folder_of_a_machine():
    files = sorted(DATA.glob("bench-*.json"))
    assert files
    for path in files:
        assert not [line for line in path.read_text(encoding="utf-8").splitlines() if '": "/' in line], path.name


def test_the_published_tables_are_those_of_the_published_measurements(tmp_path):
    for name in ("data", "figures"):
        shutil.copytree(DOCS / name, tmp_path / name)
    page = (DOCS / "results.md").read_text(encoding="utf-8")
    (tmp_path / "results.md").write_text(page, encoding="utf-8")
    written = render(tmp_path)
    assert (tmp_path / "results.md").read_text(encoding="utf-8") == page
    for figure in written[1:]:
        assert figure.read_text(encoding="utf-8") == (DOCS / "figures" / figure.name).read_text(encoding="utf-8")


def result(**more):
    machine = {"cpu": "a CPU", "cores": 2, "memory_gib": 8, "kernel": "6.1", "python": "3.11.7"}
    times = {"began": "2026-01-02T10:00:00+00:00", "ended": "2026-01-02T10:30:00+00:00"}
    return {"benchmark": "sync", "machine": machine, "git_commit": "0123456789ab", "git_dirty": False, **times, **more}


def test_the_set_up_has_the_real_rates_of_the_links_and_where_machines_differ():
    rows = [{"boards": boards, "link_rate_bit_per_s": rate} for boards, rate in ((1, 62_000_000), (2, 450_000_000))]
    sync = result(calibration={"core_share": 0.45}, rows=rows)
    other = result(benchmark="single", git_dirty=True, rows=[])
    other["machine"] = {**other["machine"], "kernel": "6.2"}
    text = setup_table.table({"sync": sync, "straggler": result(rows=[]), "single": other})
    assert "| Linux | 6.1 (6.2 for single) |" in text and "| CPU | a CPU |" in text
    assert "| 2026-01-02 | 0123456789 | 1, 2 | 0.45 | 450, 62 | 30 min |" in text
    assert "| 0123456789, with uncommitted changes | 2 at once | a whole core each | not used | 30 min |" in text


@pytest.mark.parametrize(
    ("more", "minutes"),
    [
        ({"rows": [{"run_id": "20260102T094000Z-predict-w2-s1"}, {"run_id": "20260102T095000Z-x"}]}, "50 min"),
        ({"rows": [], "benchmark": "playbook"}, "not recorded"),
    ],
)
def test_a_benchmark_takes_from_its_first_run_to_its_last_row(more, minutes):
    assert setup_table.took(result(**more)) == minutes


def test_equal_work_is_a_pass_and_images_per_second_stand_beside_it():
    one, keras, _, _, paper_one, paper_two = [line.split(" | ") for line in rehearsed.table().splitlines()[2:8]]
    assert (one[4], keras[4], paper_two[4]) == ("2,560", "5,120", "100,000")
    assert [float(keras[place]) for place in (2, 3, 5)] == [3.0, 0.33, 0.63]
    assert (paper_one[2], *paper_two[2:4], paper_two[5]) == ("1.00", "3.03", "0.33", "0.66")


def test_predictions_are_counted_inside_their_intervals_and_their_width_is_told():
    row = {"boards": 1, "link": "1 Gbit/s", "link_rate_bit_per_s": 1e9, "sync": "none", "error": 0.0}
    row |= {"expected_epoch_s": 10.0, "expected_low_s": 9.0, "expected_high_s": 11.0}
    rows = [{**row, "epoch_s": took} for took in (10.0, 11.0, 11.1, 8.0)]
    rows.append({**row, "epoch_s": 10.0, "expected_low_s": None, "expected_high_s": None})
    found = prediction.summary(rows)
    assert found == {
        "rows": 5,
        "with_interval": 4,
        "inside": 2,
        "median_half_width": pytest.approx((1 / 10 + 1 / 11) / 2),
    }
    text = prediction.table({"rows": rows})
    assert "2 of 5 runs took a time inside their 90 % interval, whose half is 9.5% of that time" in text
    assert "| 10.0 | 9.0 to 11.0 | 10.0 | +0.0% |" in text


def test_methods_md_explains_every_method_and_every_name_in_tables():
    page = (DOCS / "methods.md").read_text(encoding="utf-8")
    for method in METHODS:
        assert f"\n### {method}\n" in page
    for name in {*labels.METHODS.values(), *labels.PYTORCH.values()}:
        assert f"\n| {name} | " in page


def published(name):
    return json.loads((DATA / f"bench-{name}.json").read_text(encoding="utf-8"))


@pytest.fixture
def claims():
    return (DOCS / "claims.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", ["sync", "learning", "scale", "single", "straggler", "prediction"])
def test_claims_have_the_minutes_that_benchmarks_took(claims, name):
    minutes = setup_table.took(published(name)).removesuffix(" min")
    assert re.search(rf"`make bench-{name}[^`]*`, {minutes} minutes", claims)


def test_claims_compare_equal_work(claims):
    one, keras, _, local, _, paper = [line.split(" | ") for line in rehearsed.table().splitlines()[2:8]]
    assert f"pass {keras[2]} times that of one (the paper: {paper[2]})" in claims
    assert f"images/s {keras[5]} times those of one (the paper: {paper[5]})" in claims
    (in_all,) = re.findall(rf"pass {local[2]} times, in all ([0-9.]+) times", claims)
    assert float(in_all) == pytest.approx(int(local[6]) / int(one[6]), abs=0.02)  # of whole seconds
