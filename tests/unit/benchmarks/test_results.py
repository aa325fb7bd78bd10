"""What benchmarks leave for others to read."""

import json
import re
import shutil

import pytest

from benchmarks import labels, rehearsed, setup_table
from benchmarks.accuracy import configuration, recorded
from benchmarks.figures import DOCS, render
from benchmarks.scale import _latest
from tests import PROJECT
from tests.data.build_runs import build_prediction
from tests.data.litter import copy_beside
from trainer.contract.methods import METHODS

DATA = PROJECT / "docs" / "data"


def test_a_result_has_the_name_and_checksum_of_a_file_and_not_where_it_lies(tmp_path):
    images, weights = tmp_path / "images.npz", tmp_path / "weights.h5"
    images.write_bytes(b"images")
    weights.write_bytes(b"weights")
    found = recorded(configuration(images, weights, 100, 10, 32))
    assert (found["data"]["path"], found["model"]["weights"]) == ("images.npz", "weights.h5")
    assert len({found["data"]["sha256"], found["model"]["weights_sha256"]}) == 2
    assert str(tmp_path) not in str(found)


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


def test_equal_work_is_the_time_of_an_epoch_over_its_passes():
    one, keras, _, paper_one, paper_two = [line.split(" | ") for line in rehearsed.table().splitlines()[2:7]]
    assert (one[1], keras[1], paper_two[1]) == ("1,280", "2,560", "100,000")
    assert (one[4], keras[4], paper_two[4]) == ("1", "2", "2")
    assert float(keras[5]) == pytest.approx(float(keras[2]) / 2, rel=0.05)  # which has validation
    assert (paper_one[6], paper_two[3], paper_two[6]) == ("1.00", "3.03", "1.52")


def test_methods_md_explains_every_method_and_every_name_in_tables():
    page = (DOCS / "methods.md").read_text(encoding="utf-8")
    for method in METHODS:
        assert f"\n### {method}\n" in page
    for name in {*labels.METHODS.values(), *labels.DDP.values(), *labels.ARMS.values()}:
        assert f"\n| {name} | " in page


def published(name):
    return json.loads((DATA / f"bench-{name}.json").read_text(encoding="utf-8"))


@pytest.fixture
def claims():
    return (DOCS / "claims.md").read_text(encoding="utf-8")


def test_claims_have_the_measured_accuracy(claims):
    rows = published("accuracy")["summary"]
    for row in rows:
        spread = f"{row['accuracy_min']:.4f} to {row['accuracy_max']:.4f}"
        ends = [f"{100 * points:+.2f}" for points in (row["difference"], *row["difference_interval"])]
        points = "" if row is rows[0] else f"{ends[0]} ({ends[1]} to {ends[2]}) "
        faster = f"{rows[0]['train_s'] / row['train_s']:.2f} | {row['times_faster']:.2f}"
        assert f" {row['accuracy']:.4f} ({spread}) | {points}| {faster} |" in claims, row["arm"]


@pytest.mark.parametrize("name", ["sync", "accuracy", "scale", "single", "straggler", "prediction"])
def test_claims_have_the_minutes_that_benchmarks_took(claims, name):
    minutes = setup_table.took(published(name)).removesuffix(" min")
    assert re.search(rf"`make bench-{name}[^`]*`, {minutes} minutes", claims)


def test_claims_compare_equal_work(claims):
    passes = [line.split(" | ")[6] for line in rehearsed.table().splitlines()[2:7]]  # over one board
    assert f"time per pass {passes[1]} times that of one (the paper: {passes[4]})" in claims
    assert f"time per pass {passes[2]} times |" in claims
