"""From a command line to a run: everything that can be wrong is told on the controller, at once."""

import json
import struct
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from trainer import archives, assets, synthetic
from trainer.config import ConfigError, parse
from trainer.resolve import configuration, resolve

PROJECT = Path(__file__).parents[2]


@pytest.fixture
def project(tmp_path):
    """A checkout with one preset that needs no network."""
    (tmp_path / "experiments").mkdir()
    (tmp_path / "experiments" / "short.yml").write_text(
        "epochs: 2\ndata: {source: synthetic, train_images: 200, validation_images: 100}\nmodel: {weights: none}\n"
    )
    (tmp_path / "trainer").mkdir()
    (tmp_path / "trainer" / "__init__.py").write_text("")
    return tmp_path


def request(project, **changes):
    return {
        "task": "train",
        "experiment": "short",
        "override": {},
        "workers": "2",
        "seed": "1",
        "boards": ["a", "b"],
        "project": str(project),
        "runs_dir": str(project / "runs"),
        "board_home": "/opt/kit",
        **changes,
    }


def problems(project, **changes) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        resolve(request(project, **changes))
    return caught.value.problems


def own_images(path: Path) -> Path:
    np.savez(
        path,
        x_train=np.zeros((9, 8, 8, 3), np.uint8),
        y_train=np.arange(9) % 3,
        x_test=np.zeros((3, 8, 8, 3), np.uint8),
        y_test=np.arange(3),
    )
    return path


def hdf5(path: Path, size: int = 2000, length: int = 2000) -> Path:
    path.write_bytes((b"\x89HDF\r\n\x1a\n" + bytes(32) + struct.pack("<Q", length)).ljust(size, b"\0"))
    return path


def test_a_run_is_complete(project):
    answer = resolve(request(project, override={"epochs": 5}, workers="1", seed="7"))
    run = answer["run"]
    assert run["run_id"].endswith("Z-short-w1-s7") and answer["run_dir"].endswith(run["run_id"])
    assert (run["boards"], run["workers"], run["seed"]) == (["a"], 1, 7)
    assert run["config"]["epochs"] == 5 and run["config"]["data"]["train_images"] == 200
    assert run["config"]["model"]["dense_units"] == 512  # a default, filled in
    (staged,) = answer["assets"]
    assert archives.sha256(Path(staged["source"])) == run["assets"]["dataset"]["sha256"]
    assert staged["path"] == run["assets"]["dataset"]["path"]
    assert staged["path"].startswith("/opt/kit/assets/")
    json.dumps(answer)


def test_runs_that_begin_at_once_have_names_of_their_own(project):
    with ThreadPoolExecutor(3) as at_once:
        answers = list(at_once.map(lambda _: resolve(request(project)), range(3)))
    assert len({answer["run"]["run_id"] for answer in answers}) == 3


def test_a_run_says_where_in_a_study_it_belongs(project):
    assert resolve(request(project, study="paper/keras/2"))["run"]["study"] == "paper/keras/2"
    assert resolve(request(project, study=""))["run"]["study"] is None


def test_speeds_of_boards_are_kept_and_checked(project):
    assert resolve(request(project, workers=1, speeds=["0.5", 1]))["run"]["speeds"] == [0.5]
    for odd in (0, "fast", -1):
        assert "relative_speed of b is" in " ".join(problems(project, speeds=[1, odd]))


def test_the_trainer_is_packed_by_what_is_in_it(project):
    first = resolve(request(project))["trainer"]
    assert resolve(request(project))["trainer"] == first
    (project / "trainer" / "__init__.py").write_text("x = 1\n")
    assert resolve(request(project))["trainer"] != first


def test_all_problems_are_told_at_once(project):
    found = problems(
        project,
        workers="3",
        seed="x",
        override={"epohcs": 3, "data": {"source": "npz", "path": "/nowhere/own.npz"}},
    )
    assert [problem.split(";")[0].split(":")[0] for problem in found] == [
        "seed is 'x'",
        "workers is 3, but there are 2 boards",
        "unknown key epohcs",
        "data.path is '/nowhere/own.npz', but there is no such file",
    ]


@pytest.mark.parametrize("workers", ["0", "-1", "two", "1.5"])
def test_a_number_of_workers_that_is_none_is_refused(project, workers):
    (problem,) = problems(project, workers=workers)
    assert workers in problem and "give" in problem


def test_an_unknown_experiment_gets_the_known_ones(project):
    assert problems(project, experiment="papre") == ["experiment is 'papre'; known in experiments/ are short"]


def test_an_override_that_is_no_mapping_is_refused(project):
    assert "give a mapping of fields" in problems(project, override="epochs=3")[0]


def test_a_preset_that_is_no_yaml_is_named(project):
    (project / "experiments" / "bad.yml").write_text("epochs: [")
    assert "experiments/bad.yml is not YAML" in problems(project, experiment="bad")[0]


def test_a_batch_that_cannot_be_shared_is_refused(project):
    assert "give a multiple of 2" in problems(project, override={"batch_size": 7, "batch_per": "global"})[0]


def test_an_archive_of_the_user_is_taken_with_its_checksum(project, tmp_path):
    path = own_images(tmp_path / "own.npz")
    data = {"source": "npz", "path": str(path), "train_images": None, "validation_images": None}
    assert resolve(request(project, override={"data": data}))["assets"][0]["source"] == str(path)
    wrong = {**data, "sha256": "0" * 64}
    assert f"wanted is {'0' * 64}" in problems(project, override={"data": wrong})[0]


def test_a_relative_path_starts_at_the_checkout(project):
    own_images(project / "own.npz")
    data = {"source": "npz", "path": "own.npz", "train_images": None, "validation_images": None}
    assert resolve(request(project, override={"data": data}))["assets"]


def test_an_archive_by_address_is_fetched_once_and_pinned(project, tmp_path):
    archive = tmp_path / "there" / "cifar-100-python.tar.gz"
    archive.parent.mkdir()
    synthetic.write_archive(archive, 200, 100)
    override = {"data": {"source": "cifar100", "path": archive.as_uri()}}
    staged = resolve(request(project, override=override))["assets"][0]["source"]
    archive.unlink()
    assert resolve(request(project, override=override))["assets"][0]["source"] == staged
    Path(staged).write_bytes(b"changed")
    assert "has the checksum" in problems(project, override=override)[0]


def test_an_address_without_an_answer_is_a_problem(project):
    override = {"data": {"source": "cifar100", "path": "https://127.0.0.1:1/c.tar.gz"}}
    (problem,) = problems(project, override=override)
    assert "cannot be fetched" in problem and "give its path in data.path" in problem


def test_the_official_archive_must_have_the_official_checksum(project, tmp_path, monkeypatch):
    archive = tmp_path / "cifar-100-python.tar.gz"
    archive.write_bytes(b"not it")
    _, official = assets.DOWNLOADS["cifar100"]
    monkeypatch.setitem(assets.DOWNLOADS, "cifar100", (archive.as_uri(), official))
    override = {"data": {"source": "cifar100", "train_images": None, "validation_images": None}}
    assert official in problems(project, override=override)[0]


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda path: path, "there is no such file"),
        (lambda path: path.write_bytes(b"text") and path, "is not a Keras weight file"),
        (lambda path: hdf5(path, size=1000), "is cut off"),
    ],
)
def test_weights_that_cannot_be_are_refused(project, tmp_path, make, says):
    path = make(tmp_path / "weights.h5")
    (problem,) = problems(project, override={"model": {"weights": str(path)}})
    assert says in problem and str(path) in problem


def test_weights_by_path_are_staged(project, tmp_path):
    path = hdf5(tmp_path / "weights.h5")
    run = resolve(request(project, override={"model": {"weights": str(path)}}))["run"]
    assert run["assets"]["weights"]["sha256"] == archives.sha256(path)


@pytest.mark.parametrize("preset", sorted(path.stem for path in (PROJECT / "experiments").glob("*.yml")))
def test_every_preset_of_the_project_is_valid(preset):
    found = []
    raw = configuration({"experiment": preset, "override": {}}, PROJECT, found)
    assert found == []
    parse(raw)


def test_the_command_prints_the_run_or_the_problems(project):
    def ask(**changes):
        return subprocess.run(
            [sys.executable, "-m", "trainer.resolve"],
            input=json.dumps(request(project, **changes)),
            capture_output=True,
            text=True,
            cwd=PROJECT,
            check=False,
        )

    good, bad = ask(), ask(workers="9")
    assert (good.returncode, bad.returncode) == (0, 2)
    assert "run" in json.loads(good.stdout)
    assert "workers is 9" in json.loads(bad.stdout)["problems"][0]


def test_a_preset_can_extend_another(project):
    (project / "experiments" / "long.yml").write_text("extends: short\nepochs: 9\ndata: {sharding: sharded}\n")
    config = resolve(request(project, experiment="long"))["run"]["config"]
    assert (config["epochs"], config["data"]["sharding"], config["data"]["train_images"]) == (9, "sharded", 200)


def test_a_preset_that_extends_nothing_known_is_refused(project):
    (project / "experiments" / "a.yml").write_text("extends: b\n")
    (project / "experiments" / "b.yml").write_text("extends: a\n")
    assert (
        problems(project, experiment="a")[0] == "extends in experiments/b.yml is 'a'; known in experiments/ are short"
    )
