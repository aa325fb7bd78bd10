"""The main command on emulated boards: real ssh, real Ansible, real TensorFlow."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import re
import shlex
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from conftest import ANSIBLE, PROJECT, Lab, training_lab

from analysis import compare, load
from analysis.runs.timeline import lags
from controller import synthetic

if TYPE_CHECKING:
    from conftest import Outcome

pytestmark = [pytest.mark.lab, pytest.mark.tensorflow]

lab = training_lab(7)

# the smallest run that has more than one epoch, window and board
WHOLE = {
    "epochs": 2,
    "batch_size": 32,
    "window_steps": 2,
    "data": {"train_images": 128, "validation_images": 64},
    "model": {"image_size": 32},
}
# most of what happens to a run does not depend on how much is trained, and boards trace the head much sooner
SHORT = {**WHOLE, "model": {**WHOLE["model"], "fine_tune": "head"}}


AHEAD_S = 2.5  # the second board's clock, in `pair`
LOGGING = {"TF_CPP_MIN_LOG_LEVEL": "0", "TF_CPP_VMODULE": "collective_param_resolver_local=1"}


@dataclass
class Experiment:
    """Runs the playbook on a lab, into a folder of its own."""

    lab: Lab
    runs: Path

    def run(self, workers: object, override: dict | None = None, **variables: object) -> Outcome:
        extra = {"override": override or {}, "run_config_runs_dir": str(self.runs), **variables}
        given = ["-e", f"workers={workers}", "-e", json.dumps(extra)]
        return self.lab.ansible("ansible-playbook", "playbooks/run_experiment.yml", *given)

    def folders(self) -> list[Path]:
        return sorted(self.runs.glob("*")) if self.runs.exists() else []

    def left_on(self, board: int) -> str:
        """What a run should not leave on a board: its folder, processes, Ansible's job files."""
        return self.lab.ssh(
            board, "ls -A /opt/cluster-kit/runs ~/.ansible_async 2>/dev/null | grep -v :$; pgrep -af '[t]rainer'"
        )


@pytest.fixture
def experiment(lab: Lab, tmp_path: Path) -> Experiment:
    return Experiment(lab, tmp_path / "runs")


@pytest.fixture(scope="module")
def pair(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Experiment]:
    """A run on one board and one on two; the second board's clock is ahead."""
    experiment = Experiment(lab, tmp_path_factory.mktemp("pair") / "runs")
    ahead = f"import time\nnow = time.time\ntime.time = lambda: now() + {AHEAD_S}\n"
    date = f"#!/bin/sh\nexec /usr/bin/python3 -c 'import time; print(time.time() + {AHEAD_S})'\n"
    lab.root(2, f"mkdir /srv/ahead && printf {shlex.quote(ahead)} >/srv/ahead/sitecustomize.py")
    lab.root(2, f"printf {shlex.quote(date)} >/usr/local/bin/date && chmod 755 /usr/local/bin/date")
    try:
        for workers in (1, 2):
            outcome = experiment.run(workers, WHOLE, train_environment={"PYTHONPATH": "/srv/ahead", **LOGGING})
            assert outcome.ok, outcome.output
            assert "val_accuracy" not in outcome.output, "it is quiet where nobody looks"
    finally:
        lab.root(2, "rm -r /srv/ahead /usr/local/bin/date")
    yield experiment


class TestRefusals:
    """What cannot go well is refused on the controller: nothing is started, nothing is left."""

    def refused(self, experiment: Experiment, /, *says: str, **arguments: object) -> None:
        before = time.monotonic()
        outcome = experiment.run(**{"workers": 2, **arguments})
        assert not outcome.ok
        for words in says:
            assert words in outcome.output, outcome.output
        assert time.monotonic() - before < 60
        assert experiment.folders() == []
        assert [experiment.left_on(board) for board in (1, 2)] == ["", ""]

    def test_more_workers_than_boards(self, experiment: Experiment) -> None:
        self.refused(experiment, "workers is 3, but there are 2 boards", "hosts.yml", workers=3)

    def test_an_idle_time_that_would_cut_boards_off(self, experiment: Experiment) -> None:
        self.refused(experiment, "train_idle_s is 10", "train_silence_limit_s (10 s)", train_idle_s=10)

    def test_a_mistyped_field(self, experiment: Experiment) -> None:
        self.refused(experiment, "unknown key epohcs; did you mean epochs?", override={"epohcs": 3})

    def test_everything_that_is_wrong_at_once(self, experiment: Experiment) -> None:
        self.refused(
            experiment,
            "workers is 0",
            "seed is 'x'",
            'epochs is "3" (text)',
            "experiment is 'papre'; presets in experiments/: ",
            'train_stall_limit_s is "soon" (text); give a number of seconds',
            'check_temperature_c is "hot" (text); give a number of degrees Celsius',
            'collect_switch_power_w is "12W" (text); give a number of watts',
            workers=0,
            train_stall_limit_s="soon",
            check_temperature_c="hot",
            collect_switch_power_w="12W",
            seed="x",
            override={"epochs": "3"},
            experiment="papre",
        )

    def test_a_missing_archive(self, experiment: Experiment, tmp_path: Path) -> None:
        path = str(tmp_path / "cifar.tar.gz")
        self.refused(experiment, path, "give the path", override={"data": {"source": "cifar100", "path": path}})

    def test_a_corrupt_archive(self, experiment: Experiment, tmp_path: Path) -> None:
        path = tmp_path / "cifar.tar.gz"
        synthetic.write_archive(path, 1280, 320)
        path.write_bytes(path.read_bytes()[:-1000])
        override = {"data": {"source": "cifar100", "path": str(path)}}
        self.refused(experiment, f"{path} is corrupt", "fetch or write it again", override=override)

    def test_a_board_that_does_not_answer(self, experiment: Experiment) -> None:
        experiment.lab.ssh(2, "pkill sshd", user="root")  # the open connection, too
        try:
            before = time.monotonic()
            outcome = experiment.run(2, SHORT)
            assert time.monotonic() - before < 60
            assert not outcome.ok
            assert "board-2 cannot be reached at" in outcome.output, outcome.output
            assert experiment.folders() == []
            assert experiment.left_on(1) == ""
        finally:
            assert experiment.lab.up().ok


class TestRuns:
    def test_a_run_has_its_folder(self, pair: Experiment) -> None:
        one, two = pair.folders()
        assert "-rehearsal-w1-s1-" in one.name and "-rehearsal-w2-s1-" in two.name
        files = {str(path.relative_to(two)) for path in two.rglob("*") if path.is_file()}
        each = {"tf_config.json", "events.jsonl", "trainer.log", "result.json"}
        wanted = {f"boards/board-{n}/{name}" for n in (1, 2) for name in each}
        assert files >= wanted | {"run.json", "manifest.json", "boards/board-1/weights/final.h5"}
        assert not list(two.glob("boards/board-2/weights/*"))

    def test_its_manifest_says_what_it_was(self, pair: Experiment) -> None:
        manifest = json.loads((pair.folders()[1] / "manifest.json").read_text())
        assert (manifest["status"], manifest["cause"], manifest["rehearsal"]) == ("succeeded", None, True)
        assert [board["name"] for board in manifest["boards"]] == ["board-1", "board-2"]
        facts = [board["facts"] for board in manifest["boards"]]
        assert [fact["hostname"] for fact in facts] == ["board-1", "board-2"]
        assert {fact["tensorflow"] for fact in facts} == {"2.12.1"}
        assert {fact["cores"] for fact in facts} == {1}
        assert manifest["synthetic"] is True

    def test_every_board_has_its_tf_config(self, pair: Experiment) -> None:
        lab, folder = pair.lab, pair.folders()[1]
        for rank in (0, 1):
            config = json.loads((folder / f"boards/board-{rank + 1}/tf_config.json").read_text())
            assert config["cluster"]["worker"] == [f"{lab.address(1)}:12345", f"{lab.address(2)}:12345"]
            assert config["task"] == {"type": "worker", "index": rank}

    def test_the_boards_agree(self, pair: Experiment) -> None:
        epochs = load([pair.folders()[1]]).epochs
        first, second = (epochs[epochs["rank"] == rank].reset_index() for rank in (0, 1))
        assert len(first) == 2
        for column in ("loss", "accuracy", "val_loss", "val_accuracy", "learning_rate"):
            assert first[column].tolist() == pytest.approx(second[column].tolist(), rel=1e-5), column

    def test_the_gradient_and_no_more_is_on_the_wire(self, pair: Experiment) -> None:
        compared = compare(load(pair.folders())).to_dict()
        one, two = compared["arms"]
        assert (one["sync"], two["sync"]) == ("none", "keras")
        assert two["sent_bytes_per_step"] == pytest.approx(4 * 2_931_044, rel=0.02)
        assert one["sent_bytes_per_step"] < 10_000
        # of so few steps one board's may take longer
        others = [problem for problem in compared["problems"] if "longer per step" not in problem]
        assert compared["rehearsal"] is True and others == []

    def test_windows_add_up_to_their_epoch(self, pair: Experiment) -> None:
        loaded = load(pair.folders())
        keys = ["run_id", "rank", "epoch"]
        windows = loaded.windows.groupby(keys)[["steps", "images", "elapsed_s", "sent_bytes"]].sum()
        epochs = loaded.epochs.set_index(keys).sort_index()
        assert windows["steps"].tolist() == epochs["steps"].tolist()
        assert windows["images"].tolist() == epochs["images"].tolist()
        assert windows["elapsed_s"].tolist() == pytest.approx(epochs["train_s"].tolist())
        assert windows["sent_bytes"].tolist() == pytest.approx(epochs["sent_bytes"].tolist())

    def test_windows_tell_computing_from_communication(self, pair: Experiment) -> None:
        windows = load(pair.folders()).windows
        stall_s = windows["communication_s"] + windows["waiting_s"].astype(float).fillna(0.0)
        assert (windows["compute_s"] + stall_s).tolist() == pytest.approx(windows["elapsed_s"].tolist())
        together = windows["payload_bytes"] > 0
        assert together.any() and not together.all()  # one board has nobody to send to
        assert (stall_s[together] > 0).all() and (stall_s[~together] == 0).all()

    def test_the_collective_that_ran_is_in_the_records(self, pair: Experiment) -> None:
        boards = load(pair.folders()).boards
        assert set(boards["facts.collective_used"].dropna()) == {"RingReduce"}
        assert boards["facts.collective_used"].isna().sum() == 1  # the board that trained alone

    def test_a_clock_that_is_ahead_is_found_and_the_time_line_is_right(self, pair: Experiment) -> None:
        folder = pair.folders()[1]
        clocks = [board["clock"] for board in json.loads((folder / "manifest.json").read_text())["boards"]]
        for clock, ahead_s in zip(clocks, (0.0, AHEAD_S), strict=True):
            assert clock["offset_s"] == pytest.approx([ahead_s, ahead_s], abs=0.1)
            assert clock["uncertainty_s"] < 0.1
        epochs = load([folder]).epochs
        told = epochs.pivot(index="epoch", columns="board", values="time_s")
        assert (told["board-2"] - told["board-1"]).to_list() == pytest.approx([AHEAD_S] * 2, abs=0.5)
        assert lags(epochs, folder)["lag_s"].max() < 0.5, "they end an epoch together"

    def test_nothing_is_left_on_the_boards(self, pair: Experiment) -> None:
        assert [pair.left_on(board) for board in (1, 2)] == ["", ""]


def test_two_runs_at_once_on_boards_of_their_own(experiment: Experiment) -> None:
    given = ["-e", json.dumps({"override": SHORT, "run_config_runs_dir": str(experiment.runs)})]
    play = ("ansible-playbook", "playbooks/run_experiment.yml", *given, "--limit")
    with ThreadPoolExecutor(2) as at_once:
        outcomes = list(at_once.map(lambda board: experiment.lab.ansible(*play, board), ["board-1", "board-2"]))
    assert all(outcome.ok for outcome in outcomes), "".join(outcome.output for outcome in outcomes)
    manifests = [json.loads((folder / "manifest.json").read_text()) for folder in experiment.folders()]
    assert sorted(board["name"] for it in manifests for board in it["boards"]) == ["board-1", "board-2"]
    assert [it["status"] for it in manifests] == ["succeeded"] * 2
    assert [experiment.left_on(board) for board in (1, 2)] == ["", ""]


@pytest.mark.thorough
def test_in_a_terminal_a_run_says_how_it_gets_on(experiment: Experiment) -> None:
    """A line per epoch; after a third of them the time left is right within a fifth."""
    override = {**SHORT, "epochs": 15, "data": {"train_images": 320, "validation_images": 64}}
    variables = {"workers": 2, "override": override, "run_config_runs_dir": str(experiment.runs)}
    command = ["ansible-playbook", "-i", experiment.lab.inventory, "playbooks/run_experiment.yml"]
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [ANSIBLE / command[0], *command[1:], "-e", json.dumps(variables)], cwd=PROJECT, stdout=theirs
    )
    os.close(theirs)
    seen: dict[int, tuple[float, str]] = {}
    text = b""
    with contextlib.suppress(OSError):  # its end
        while chunk := os.read(ours, 4096):
            text += chunk
            for number, line in re.findall(r"epoch +(\d+)/15 (.*) left", text.decode(errors="replace")):
                seen.setdefault(int(number), (time.monotonic(), line))
    os.close(ours)
    assert process.wait() == 0, text.decode()
    assert sorted(seen) == list(range(1, 16)), text.decode()
    told_at, line = seen[5]
    assert re.search(r"loss \d.* val_accuracy 0\.\d+ .* images/s .*% stalled ", line)
    told_s = float(re.findall(r"(\d+) s$", line)[0])
    assert told_s == pytest.approx(seen[15][0] - told_at, rel=0.2)


def test_a_run_that_fails_is_collected_and_says_why(experiment: Experiment, tmp_path: Path) -> None:
    # looks like a Keras weight file to the controller, but the model cannot load it
    weights = tmp_path / "weights.h5"
    weights.write_bytes(b"\x89HDF\r\n\x1a\n".ljust(96, b"\0"))
    outcome = experiment.run(2, {**SHORT, "model": {"weights": str(weights)}})
    assert not outcome.ok
    (folder,) = experiment.folders()
    manifest = json.loads((folder / "manifest.json").read_text())
    assert manifest["status"] == "failed"
    assert "board-" in manifest["cause"] and "ArchiveError" in manifest["cause"]
    for board in (1, 2):
        assert "ArchiveError" in (folder / f"boards/board-{board}/trainer.log").read_text()
        assert experiment.left_on(board) == ""


def test_a_third_board_is_one_line_of_the_inventory(experiment: Experiment) -> None:
    """Last of this module: its lab has three boards from here."""
    lab, hosts = experiment.lab, experiment.lab.inventory / "hosts.yml"
    listed = json.loads(hosts.read_text())
    listed["boards"]["hosts"]["board-3"] = {"ansible_host": lab.address(3)}
    hosts.write_text(json.dumps(listed))
    assert lab.up().ok
    images = {**SHORT["data"], "sharding": "sharded"}
    outcome = experiment.run(3, {**SHORT, "batch_size": 48, "data": images})
    assert outcome.ok, outcome.output
    (folder,) = experiment.folders()
    manifest = json.loads((folder / "manifest.json").read_text())
    assert [board["name"] for board in manifest["boards"]] == ["board-1", "board-2", "board-3"]
    assert manifest["status"] == "succeeded"
    assert set(load([folder]).epochs["board"]) == {"board-1", "board-2", "board-3"}
    assert experiment.left_on(3) == ""
