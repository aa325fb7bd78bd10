"""Engine pytorch on emulated boards, by the main command."""

from __future__ import annotations

import json
import signal
import subprocess
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import test_faults
from conftest import Lab, Outcome, running
from test_run import SHORT, WHOLE, Experiment

from analysis import compare, load
from analysis.prediction.allreduce import wire_bytes
from tests import PROJECT
from trainer.formats.archives import sha256

TORCH = PROJECT / ".torch-venv"
ON_BOARD = "/opt/cluster-kit/torch-venv"
CRIPPLED = "/opt/mounted/torch"  # an environment whose PyTorch has no torch.distributed

pytestmark = [
    pytest.mark.lab,
    pytest.mark.tensorflow,
    pytest.mark.skipif(not TORCH.exists(), reason="needs .torch-venv: make setup-torch"),
]

start, row = test_faults.start, test_faults.row  # fixtures
# strategy, section sync
PAIRS = [
    ("ddp", {"method": "allreduce", "gradient_dtype": "float32"}),
    ("ddp", {"method": "allreduce"}),
    ("ddp", {"method": "powersgd"}),
    ("ddp", {"method": "local_sgd", "period": 2}),
    ("c10d", {"method": "allreduce"}),
    ("c10d", {"method": "local_sgd", "period": 2, "warm_up_steps": 1}),
    ("rpc", {"method": "asynchronous"}),
]
_SHORTLY = {0, 5}  # of PAIRS; the others between processes, see contract/test_pytorch_engine.py


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """Two boards with both engines, and with an environment whose PyTorch has no torch.distributed."""
    crippled = tmp_path_factory.mktemp("crippled") / "env"
    interpreter = (TORCH / "bin/python").resolve()
    subprocess.run([interpreter, "-m", "venv", "--without-pip", crippled], check=True)
    (site,) = crippled.glob("lib/python*/site-packages")
    (site / "torch.pth").write_text(f"{ON_BOARD}/{site.relative_to(crippled)}\n")
    # after that one, in the order of their names
    (site / "without.pth").write_text("import torch.distributed; torch.distributed.is_available = lambda: False\n")
    lab = Lab(tmp_path_factory.mktemp("lab"), 20, 2, PROJECT / ".board-venv")
    with running(lab, lab_more_envs={ON_BOARD: str(TORCH), CRIPPLED: str(crippled)}) as lab:
        yield lab


@pytest.fixture
def experiment(lab: Lab, tmp_path: Path) -> Experiment:
    return Experiment(lab, tmp_path / "runs")


@pytest.mark.parametrize(
    ("strategy", "sync"),
    [pytest.param(*pair, marks=() if n in _SHORTLY else pytest.mark.thorough) for n, pair in enumerate(PAIRS)],
)
def test_two_boards_train_and_are_compared_with_one(experiment: Experiment, strategy: str, sync: dict) -> None:
    override = {**WHOLE, "engine": "pytorch", "sync": sync}
    for workers in (1, 2):
        outcome = experiment.run(workers, override if workers == 1 else {**override, "strategy": strategy})
        assert outcome.ok, outcome.output
    loaded = load(experiment.folders())
    comparison = compare(loaded)
    assert comparison.arms["runs"].tolist() == [1, 1]
    assert strategy in comparison.arms["label"].iloc[1]
    boards = loaded.boards
    assert boards["facts.collective_used"].dropna().unique().tolist() == ["gloo"]
    assert boards["facts.pytorch"].notna().all() and boards["facts.tensorflow"].isna().all()
    epochs = loaded.epochs.merge(loaded.runs[["run_id", "workers"]], on="run_id")
    second = epochs[(epochs["workers"] == 2) & (epochs["rank"] == 1)]
    # of what a worker hands to the server of parameters and gets from it, it sends the gradients
    handed = second["payload_bytes"].sum()
    expected = handed / 2 if strategy == "rpc" else wire_bytes(handed, 2)
    # the last average of an epoch may travel during validation, when bytes are not counted
    later = 0.0
    if (strategy, sync["method"]) == ("c10d", "local_sgd"):
        later = len(second) * second["payload_bytes"].min() / 2
    assert 0.98 * expected - later <= second["sent_bytes"].sum() <= 1.02 * expected
    assert list((experiment.folders()[1] / "boards/board-1/weights").iterdir())


def test_a_killed_worker_ends_the_run_which_goes_on_from_its_checkpoint(lab: Lab, start, row) -> None:
    sync = {"method": "local_sgd", "period": 2}
    override = {**SHORT, "engine": "pytorch", "strategy": "c10d", "epochs": 40, "deterministic": True, "sync": sync}
    run = start(override, train_environment=test_faults.slowly(lab))
    run.wait_for_epochs(2)
    run.lab.ssh(2, f"kill -{signal.SIGKILL.value} {run.trainer(2)}")
    assert run.end() != 0
    assert (run.manifest["culprit"], run.manifest["cause_kind"]) == ("board-2", "killed"), run.output
    resumed = test_faults.playbook(
        lab, "run_experiment", resume=run.folder.name, run_config_runs_dir=str(run.folder.parent)
    )
    assert resumed.ok, resumed.output
    assert run.manifest["status"] == "succeeded" and len(run.manifest["attempts"]) == 1
    epochs = load([run.folder]).epochs
    assert sorted(epochs.loc[epochs["rank"] == 0, "epoch"]) == list(range(1, 41))
    row("worker killed, PyTorch", run.manifest["attempts"][0]["cause"])


def test_a_board_without_torch_distributed_is_refused_with_the_remedy(experiment: Experiment) -> None:
    override = {**SHORT, "engine": "pytorch", "sync": {"method": "allreduce"}}
    refused = experiment.run(2, override, kit_torch_venv=CRIPPLED)
    assert not refused.ok and experiment.folders() == []
    for words in ("collective.torch", "is built", "torch.distributed", "torch_env_torch"):
        assert words in " ".join(refused.output.split()), refused.output


def test_a_board_without_pytorch_is_refused(experiment: Experiment) -> None:
    override = {**SHORT, "engine": "pytorch", "sync": {"method": "allreduce"}}
    refused = experiment.run(1, override, kit_torch_venv="/opt/nothing")
    assert not refused.ok and "board.pytorch" in refused.output
    assert "make setup-torch" in " ".join(refused.output.split())


def test_a_given_build_is_installed_once_and_one_with_another_checksum_is_refused(lab: Lab, tmp_path: Path) -> None:
    """A stand-in for the wheel, with what the role then imports."""
    wheel = tmp_path / "torch-1.9-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("torch/__init__.py", "__version__ = '1.9'\n")
        archive.writestr("numpy.py", "")
        archive.writestr("h5py.py", "")
        archive.writestr("torch-1.9.dist-info/METADATA", "Metadata-Version: 2.1\nName: torch\nVersion: 1.9\n")
        archive.writestr("torch-1.9.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr("torch-1.9.dist-info/RECORD", "")
    given = {
        "ansible_user": "root",
        "torch_env_torch": str(wheel),
        "torch_env_torch_sha256": sha256(wheel),
        "torch_env_packages": [],
        "torch_env_options": "--no-index",
        "kit_torch_venv": "/opt/made/torch-venv",
    }
    (tmp_path / "play.yml").write_text("- {hosts: boards, gather_facts: false, roles: [torch_env]}\n")

    def play(*arguments: str, **changes: object) -> Outcome:
        variables = json.dumps({**given, **changes})
        return lab.ansible("ansible-playbook", str(tmp_path / "play.yml"), *arguments, "-e", variables)

    made = play()
    assert made.ok and made.changed > 0, made.output
    again = play()
    assert again.ok and again.changed == 0, again.output
    lab.root(2, "rm -r /opt/made/torch-venv")
    checked = play("--check")
    assert checked.ok and checked.changed == 1, checked.output
    mended = play()
    assert mended.ok and mended.changed > 0, mended.output
    shown = lab.root(2, "/opt/made/torch-venv/bin/python -c 'import torch; print(torch.__version__)'")
    assert shown == "1.9"
    other = play(torch_env_torch_sha256="0" * 64)
    assert not other.ok and "(torch_env_torch_sha256): it is torn or another file" in " ".join(other.output.split())
    lacks = play(torch_env_torch_sha256="")
    assert not lacks.ok and "64 hexadecimal digits" in " ".join(lacks.output.split())
