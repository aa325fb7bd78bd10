"""From a command line to a run: everything that can be wrong is told on the controller, at once."""

import json
import re
import struct
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from controller import assets, synthetic
from controller.presets import configuration
from controller.resolve import resolve
from tests import PROJECT
from tests.unit.actions import snapshot
from trainer.contract.config import ConfigError, parse
from trainer.formats import archives


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


def test_check_mode_finds_the_same_run_or_problems_and_writes_nothing(project):
    before = snapshot(project)
    checked = resolve(request(project, check=True))
    assert snapshot(project) == before and checked["assets"] == []
    assert problems(project, check=True, seed="-1", override={"epochs": 0, "data": {"path": "/no/such"}}) == problems(
        project, seed="-1", override={"epochs": 0, "data": {"path": "/no/such"}}
    )
    run = resolve(request(project))["run"]
    same = {"assets", "run_id"}
    assert {k: v for k, v in checked["run"].items() if k not in same} == {k: v for k, v in run.items() if k not in same}


def test_a_run_is_complete(project):
    answer = resolve(request(project, override={"epochs": 5}, workers="1", seed="7"))
    run = answer["run"]
    assert re.fullmatch(r"\d{8}T\d{6}Z-short-w1-s7-[0-9a-f]{6}", run["run_id"])
    assert answer["run_dir"].endswith(f"/{run['run_id']}")
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
    assert resolve(request(project, speeds=["1e-1", ".5"]))["run"]["speeds"] == [0.1, 0.5]
    for odd in (0, "fast", -1, True, None, "nan", "inf", "1e999", "1_0", "010", "1:30", "", "0.5 "):
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


# of which Python's int() takes some
NO_NUMBERS = ["two", "1.5", "", " 1 ", "1_0", "01", "0x1", "1e3", "1.0", "\u0663", "1" * 5000, True, None, 1.0, [1]]


@pytest.mark.parametrize("workers", ["0", "-1", *NO_NUMBERS])
def test_a_number_of_workers_that_is_none_is_refused(project, workers):
    (problem,) = problems(project, workers=workers)
    assert str(workers)[:50] in problem and "give" in problem and len(problem) < 200


@pytest.mark.parametrize("seed", ["20261121120000", "-1", "4294967296", -1, 2**32, 2**70, *NO_NUMBERS])
def test_a_seed_that_the_boards_could_not_take_is_refused(project, seed):
    (problem,) = problems(project, seed=seed)
    assert str(seed)[:50] in problem and "0 to 4294967295" in problem and len(problem) < 200


@pytest.mark.parametrize("seed", ["0", "4294967295", 7])
def test_a_seed_of_32_bits_is_taken(project, seed):
    assert resolve(request(project, seed=seed))["run"]["seed"] == int(seed)


def test_an_unknown_experiment_gets_the_known_ones(project):
    assert problems(project, experiment="papre") == ["experiment is 'papre'; presets in experiments/: short"]


@pytest.mark.parametrize("name", ["../short", "short.yml", "experiments/short.yml", "shrot", "Short", "/x/short.yaml"])
def test_an_experiment_that_is_almost_known_gets_the_one_that_was_meant(project, name):
    assert problems(project, experiment=name) == [
        f"experiment is {name!r}; presets in experiments/: short: did you mean short?"
    ]


@pytest.mark.parametrize("name", ["", "..", ["a"], None, "x" * 5000, "\0"])
def test_whatever_is_given_as_an_experiment_is_refused_in_a_sentence(project, name):
    (problem,) = problems(project, experiment=name)
    assert problem.startswith("experiment is ") and "presets in experiments/: short" in problem and len(problem) < 200


@pytest.mark.parametrize("name", ["my own", "a'b", "x" * 101])
def test_a_preset_whose_name_cannot_be_a_part_of_a_folders_is_refused(project, name):
    (project / "experiments" / f"{name}.yml").write_text("epochs: 1\n")
    assert "use up to 100 letters, digits" in problems(project, experiment=name)[0]


def test_a_task_that_an_engine_does_not_have_is_refused(project):
    override = {"engine": "pytorch", "sync": {"method": "allreduce"}}
    assert resolve(request(project, task="probe", override=override))["run"]["task"] == "probe"
    assert problems(project, task="predict", override=override) == [
        "run_config_task is predict, which engine pytorch does not have: give one of train, probe, trial"
    ]


def test_an_unknown_task_gets_the_known_ones(project):
    assert problems(project, task="trail") == [
        "run_config_task is 'trail'; give one of train, probe, trial, predict: did you mean trial?"
    ]


def test_addresses_of_the_boards_that_take_part_are_checked(project):
    odd = {"addresses": ["10.0.0.1", "nvidia@10.0.0.2"], "ssh_addresses": ["10.0.0.1:22", "nvidia@10.0.0.2"]}
    assert [problem.partition(";")[0] for problem in problems(project, **odd)] == [
        "ansible_host of a is '10.0.0.1:22': it has a port, which goes into ansible_port",
        "ansible_host of b is 'nvidia@10.0.0.2': it has a user, which goes into ansible_user",
    ]
    assert len(problems(project, **odd, workers="3")) == 3
    assert len(problems(project, **odd, workers="1")) == 1
    assert resolve(request(project, addresses=["10.0.0.1", "fd00::2"], workers="1"))["run"]["boards"] == ["a"]


@pytest.mark.parametrize("home", ["", "kit", "~/kit", "/opt/my kit", "$HOME/kit", "/"])
def test_the_kits_folder_on_boards_is_a_whole_path(project, home):
    (problem,) = problems(project, board_home=home)
    assert problem.startswith(f"kit_home is {home!r}; give the absolute path")


@pytest.fixture
def fetched(monkeypatch):
    """The addresses that were asked for; nothing answers."""
    asked = []

    def urlopen(address, timeout):
        asked.append(address)
        raise OSError("no network in this test")

    monkeypatch.setattr("urllib.request.urlopen", urlopen)
    return asked


@pytest.mark.parametrize(
    ("preset", "says"),
    [
        ("epochs: 3\n\tdata: {}\n", "line 2: it is indented with a tab"),
        ("extends: torn\n", "experiments/torn.yml is not YAML, line 1"),
        ("extends: nowhere\n", "extends in experiments/own.yml is 'nowhere'; presets"),
        ("extends: own\n", "extends in experiments/own.yml is 'own'; presets"),
        ("extends: [short]\n", "extends in experiments/own.yml is"),
        ("epochs: 3\nepochs: 4\n", "line 2: epochs is given twice, in lines 1 and 2: keep one"),
        ("# f\xfcr", "is not UTF-8"),
        ("[epochs, 3]", 'experiments/own.yml is ["epochs", 3] (a list); give a mapping of fields'),
        ("[]", "give a mapping of fields"),
        ("false", "give a mapping of fields"),
    ],
)
def test_a_preset_that_cannot_be_read_is_the_only_problem_and_leads_to_no_download(project, fetched, preset, says):
    (project / "experiments" / "torn.yml").write_text("epochs: [")
    (project / "experiments" / "own.yml").write_bytes(preset.encode("latin-1"))
    # what the preset says may be what these two need
    (problem,) = problems(project, experiment="own", override={"model": {"cache_features": True}})
    assert says in problem
    assert fetched == []


@pytest.mark.parametrize(
    "changes",
    [
        {"experiment": "papre"},
        {"override": "data.path=x"},
        {"override": {"dta": {"path": "own.npz"}}},
        {"override": {"source": "synthetic"}},
        {"override": {"data": {"pth": "own.npz"}}},
    ],
)
def test_what_was_not_understood_leads_to_no_download(project, fetched, changes):
    (project / "experiments" / "paper.yml").write_text("{}")
    assert problems(project, **{"experiment": "paper", **changes})
    assert fetched == []
    assert len(problems(project, experiment="paper")) == len(fetched) == 2  # images and weights


def test_numbers_of_a_preset_are_what_a_person_sees(project):
    (project / "experiments" / "own.yml").write_text(
        "extends: short\nepochs: 010\nbatch_size: 1:30\nwindow_steps: 0x10\noptimizer: {learning_rate: 1e-4}\n"
        "deterministic: yes\nmodel: {weights: no}\n"
    )
    assert problems(project, experiment="own", override={"model": {"weights": "none"}}) == [
        'epochs is "010" (text); give a whole number in plain digits, such as 10',
        'batch_size is "1:30" (text); give a whole number in plain digits, such as 10',
        'window_steps is "0x10" (text); give a whole number in plain digits, such as 10',
    ]
    whole = {"epochs": 1, "batch_size": 2, "window_steps": 3}
    assert "model.weights is 'no', but there is no such file" in problems(project, experiment="own", override=whole)[0]
    run = resolve(request(project, experiment="own", override={**whole, "model": {"weights": "none"}}))["run"]
    assert run["config"]["optimizer"]["learning_rate"] == 0.0001 and run["config"]["deterministic"] is True


def test_the_playbook_tells_all_that_is_wrong_in_the_inventory_at_once(tmp_path):
    (tmp_path / "hosts.yml").write_text(
        "boards:\n"
        "  hosts:\n"
        "    orin-1: {ansible_host: nvidia@192.168.1.11}\n"
        "    orin-2: {ansible_host: 192.168.1.12, training_address: 010.0.0.2, relative_speed: yes}\n"
        "    orin-3: {ansible_host: 192.168.1.13, relative_speed: 1e-1}\n"
    )
    playbook = [str(Path(sys.executable).with_name("ansible-playbook")), "playbooks/run_experiment.yml"]
    given = [
        "-i",
        str(tmp_path),
        "-e",
        "workers=3",
        "-e",
        "seed=-1",
        "-e",
        "kit_port=0",
        "-e",
        "train_poll_s=soon",
        "-e",
        "check_temperature_c=hot",
        "-e",
        "collect_switch_power_w=-1",
        "-e",
        '{"waive": ["board.locks"]}',
        "-e",
        "experiment=papr",
    ]
    done = subprocess.run([*playbook, *given], cwd=PROJECT, capture_output=True, text=True, check=False)
    assert done.returncode != 0
    for said in (
        "seed is -1; give 0 to 4294967295",
        "relative_speed of orin-2 is True",
        "ansible_host of orin-1 is 'nvidia@192.168.1.11': it has a user",
        "training_address of orin-2 is '010.0.0.2': Leading zeros are not permitted in '010'",
        'kit_port is "0" (text); give a port from 1024 to 65532, such as 12345',
        'train_poll_s is "soon" (text); give a number of seconds, such as 2',
        'check_temperature_c is "hot" (text); give a number of degrees Celsius, such as 85',
        'collect_switch_power_w is "-1" (text); give a number of watts, or leave it out',
        "waive names 'board.locks', which is not a gate; did you mean board.lock?",
        "did you mean paper?",
    ):
        assert said in done.stdout, done.stdout
    assert "of orin-3" not in done.stdout


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
    assert f"expected {'0' * 64}" in problems(project, override={"data": wrong})[0]


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
    assert "cannot be downloaded" in problem and "give its path as data.path" in problem


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
        (lambda path: path.mkdir() or path, "it is a folder"),
        (lambda path: own_images(path.with_suffix(".npz")), "is not a Keras weight file (HDF5), but a zip archive"),
        (lambda path: path.write_bytes(b"") is None or path, "the file is empty"),
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


@pytest.mark.parametrize("workers", [1, 2, 3, 8, 16, 1024])
@pytest.mark.parametrize("preset", sorted(path.stem for path in (PROJECT / "experiments").glob("*.yml")))
def test_every_preset_of_the_project_is_valid(preset, workers):
    found = []
    raw = configuration({"experiment": preset, "override": {}}, PROJECT, found, workers)
    assert found == []
    parse(raw)


def test_a_preset_can_extend_another(project):
    (project / "experiments" / "long.yml").write_text("extends: short\nepochs: 9\ndata: {sharding: sharded}\n")
    config = resolve(request(project, experiment="long"))["run"]["config"]
    assert (config["epochs"], config["data"]["sharding"], config["data"]["train_images"]) == (9, "sharded", 200)


BY_WORKERS = """
by_workers:
  2: {epochs: 4, sync: {method: local_sgd, period: 16}}
  4: {sync: {period: 8}}
"""


@pytest.mark.parametrize("workers, told", [(1, (2, "keras", 16)), (2, (4, "local_sgd", 16)), (3, (4, "local_sgd", 16))])
def test_a_preset_can_depend_on_the_number_of_boards(project, workers, told):
    preset = project / "experiments" / "short.yml"
    preset.write_text(preset.read_text() + BY_WORKERS)
    boards = [f"board-{number}" for number in range(1, 5)]
    config = resolve(request(project, boards=boards, workers=workers))["run"]["config"]
    assert (config["epochs"], config["sync"]["method"], config["sync"]["period"]) == told


def test_more_boards_add_to_what_fewer_have_and_the_user_has_the_last_word(project):
    preset = project / "experiments" / "short.yml"
    preset.write_text(preset.read_text() + BY_WORKERS)
    boards = [f"board-{number}" for number in range(1, 5)]
    run = resolve(request(project, boards=boards, workers=4, override={"sync": {"efficiency": 0.5}, "epochs": 7}))[
        "run"
    ]
    sync = run["config"]["sync"]
    assert (sync["method"], sync["period"], sync["efficiency"], run["config"]["epochs"]) == ("local_sgd", 8, 0.5, 7)


@pytest.mark.parametrize(
    "given, says",
    [
        (
            "by_workers: 3",
            "by_workers in experiments/short.yml is 3 (a whole number); give fields by the number of boards",
        ),
        ("by_workers: {many: {}, 0: {}}", "has the key 'many'; give fields by the number of boards"),
        ("by_workers: {many: {}, 0: {}}", "has the key '0'; give fields by the number of boards"),
        ("by_workers: {2: 5}", "by_workers: 2 in experiments/short.yml is 5 (a whole number); give a mapping"),
        ("by_workers: {1: {sync: {perod: 8}}}", "sync.perod"),
    ],
)
def test_what_a_preset_has_by_the_number_of_boards_is_checked(project, given, says):
    preset = project / "experiments" / "short.yml"
    preset.write_text(preset.read_text() + given + "\n")
    found = problems(project)
    assert any(says in problem for problem in found), found


def test_a_preset_that_extends_nothing_known_is_refused(project):
    (project / "experiments" / "a.yml").write_text("extends: b\n")
    (project / "experiments" / "b.yml").write_text("extends: a\n")
    assert problems(project, experiment="a")[0] == "extends in experiments/b.yml is 'a'; presets in experiments/: short"


@pytest.mark.parametrize("given", ["run_id=../runs", "run_id=", '{"run_id": 3}', "run_id=."])
def test_a_run_to_pick_up_that_is_none_is_told(tmp_path, given):
    (tmp_path / "hosts.yml").write_text("boards: {hosts: {orin-1: {ansible_host: 192.168.1.11}}}\n")
    playbook = [str(Path(sys.executable).with_name("ansible-playbook")), "playbooks/collect.yml"]
    command = [*playbook, "-i", str(tmp_path), "-e", given]
    done = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert "is not the folder of a run: give the name of one in" in " ".join(done.stdout.split()), done.stdout


def test_a_witness_is_a_host_outside_the_run(project):
    given = {"override": {"on_board_loss": "continue", "tie_break": "witness"}, "hosts": ["a", "b", "nas"]}
    (told,) = problems(project, **given)
    assert told.startswith("tie_break is witness, but elastic_witness names no host: give")
    (told,) = problems(project, **given, witness="b")
    assert told.startswith("elastic_witness is b, a board of the run")
    (told,) = problems(project, **given, witness="elsewhere")
    assert told.startswith("elastic_witness is elsewhere, which is not in the inventory")
    assert resolve(request(project, **given, witness="nas"))["witness"] == "nas"
    other = {**given, "override": {"on_board_loss": "continue"}}
    assert resolve(request(project, **other, witness="nas"))["witness"] == "", "the lowest rank decides"


def test_steps_between_checkpoints_need_a_loop_of_the_kits(project):
    override = {"checkpoint_steps": 50, "data": {"sharding": "measured"}, "sync": {"method": "local_sgd"}}
    (told,) = problems(project, override=override)
    assert told.startswith("checkpoint_steps is 50, but with data.sharding measured boards make different numbers")
    (told,) = problems(project, override={"checkpoint_steps": 50})
    assert told.startswith("checkpoint_steps is 50, but sync.method keras has checkpoints of whole epochs: set")
    (told,) = problems(project, override={"checkpoint_steps": 50, "engine": "pytorch", "sync": {"method": "allreduce"}})
    assert told.startswith("checkpoint_steps is 50, but engine pytorch has checkpoints of whole epochs: set")
    only = {
        "checkpoint_steps": 50,
        "checkpoint_epochs": 0,
        "on_board_loss": "continue",
        "sync": {"method": "allreduce"},
    }
    assert resolve(request(project, override=only))["run"]["config"]["checkpoint_steps"] == 50
