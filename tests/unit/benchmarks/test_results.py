"""What benchmarks leave for others to read."""

from benchmarks.accuracy import configuration, recorded
from benchmarks.scale import _latest
from tests import PROJECT
from tests.data.build_runs import build_prediction
from tests.data.litter import copy_beside

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
