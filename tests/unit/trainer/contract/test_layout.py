"""What people's systems leave beside the kit's files is passed over, by every command, as if it were not there."""

import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

import numpy as np
import pytest
import yaml

from analysis import AnalysisError, load, write_manifest
from analysis.report.plots import figures
from controller.cli import main
from controller.foretell import expected
from controller.presets import configuration
from controller.study import lost, slots, states
from controller.watch import newest
from tests import PROJECT
from tests.data.build_runs import build_prediction, build_run
from tests.data.litter import APPLE_DOUBLE, FILES, FOLDERS, beside, copy_beside, litter, litter_here
from trainer.contract import layout
from trainer.contract.checkpoints import Place, whole
from trainer.contract.config import parse, to_dict
from trainer.contract.layout import ATTEMPTS, CHECKPOINTS
from trainer.contract.run import load_run
from trainer.formats.checkpoint import Checkpoints

REHEARSAL = PROJECT / "tests/data/rehearsal_of_schema1"
JUNK = [*FILES, *FOLDERS, *beside("run.json"), *beside("20261121T185445Z-rehearsal-w2-s1"), *beside("hosts.yml")]


@pytest.mark.parametrize("name", sorted(set(JUNK)))
def test_what_systems_leave_is_known_by_its_name(name):
    assert layout.is_junk(name)


def test_nothing_of_the_kits_own_is_taken_for_it():
    done = subprocess.run(["git", "ls-files"], cwd=PROJECT, capture_output=True, text=True, check=True)
    own = {part for path in done.stdout.splitlines() for part in Path(path).parts if not part.startswith(".")}
    own |= {
        "events.out.tfevents.1795287297.board-1.12.0.v2",
        "final.h5",
        "epoch-00003.npz",
        "hosts_added.yml",
        "copy.yml",
    }
    assert len(own) > 300
    assert [name for name in own if layout.is_junk(name)] == []


def test_a_board_may_have_any_name(tmp_path):
    folder = build_run(tmp_path, workers=2, boards=["orin.old", "board-2"])
    manifest = json.loads((folder / "manifest.json").read_text())
    assert "boards/orin.old/events.jsonl" in manifest["sha256"]


class TestInventories:
    def test_what_lies_beside_hosts_yml_is_no_inventory(self, tmp_path):
        shutil.copytree(PROJECT / "inventory/boards", tmp_path / "clean")
        shutil.copytree(PROJECT / "inventory/boards", tmp_path / "littered")
        litter(tmp_path / "littered")
        for path in (tmp_path / "littered").iterdir():  # copies of another time, with another board
            if path.is_file() and path.name != "hosts.yml":
                path.write_bytes(path.read_bytes().replace(b"orin-1", b"retired"))
        answers = [
            subprocess.run(
                [Path(sys.executable).parent / "ansible-inventory", "-i", tmp_path / folder, "--list"],
                cwd=PROJECT,
                capture_output=True,
                text=True,
                check=True,
            )
            for folder in ("clean", "littered")
        ]
        assert answers[0].stdout == answers[1].stdout
        assert answers[1].stderr == ""

    def test_ansible_passes_over_the_same_names(self):
        text = (PROJECT / "ansible.cfg").read_text()
        patterns = re.search(r"^ignore_patterns = (.*?)\n\n", text, re.DOTALL | re.MULTILINE)
        assert [pattern.strip() for pattern in patterns[1].split(",\n")] == list(layout.JUNK)


def test_git_does_not_take_a_checkout_for_changed(tmp_path):
    def git(*arguments):
        return subprocess.run(["git", *arguments], cwd=tmp_path, capture_output=True, text=True, check=True).stdout

    git("init", "-q")
    shutil.copy(PROJECT / ".gitignore", tmp_path)
    git("add", ".gitignore")
    git("-c", "user.name=n", "-c", "user.email=e@example.org", "commit", "-q", "-m", "m")
    names = [".DS_Store", "._paper.yml", ".directory", ".nfs0001", ".~lock.paper.yml#", "Thumbs.db", "desktop.ini"]
    for name in [*names, "paper.yml~", ".paper.yml.swp"]:
        (tmp_path / name).write_bytes(b"")
    assert git("status", "--porcelain") == ""
    (tmp_path / "paper.yml").write_text("")
    assert git("status", "--porcelain") == "?? paper.yml\n"


@pytest.fixture(scope="module")
def twins(tmp_path_factory):
    """runs/ as collected, and the same with everything that systems leave: in it, in each run, beside each file."""
    clean, littered = (tmp_path_factory.mktemp(name) / "runs" for name in ("clean", "littered"))
    shutil.copytree(REHEARSAL, clean)
    build_prediction(clean, step_s={"one board": 0.1, "no_sync": 0.1, "keras": 0.3}, validation_s=1.0)
    for run in clean.iterdir():
        (run / ATTEMPTS / "1").mkdir(parents=True)
        shutil.copy(run / "manifest.json", run / ATTEMPTS / "1")
        shutil.copytree(run / "boards", run / ATTEMPTS / "1/boards")
        for log in run.glob("boards/*/trainer.log"):
            log.write_text(log.read_text(encoding="utf-8")[-200:], encoding="utf-8")
    shutil.copytree(clean, littered)
    for run in list(littered.iterdir()):
        copy_beside(run)
        litter(run)
    litter_here(littered)
    for run in clean.iterdir():
        write_manifest(run)
        write_manifest(littered / run.name)
    return clean, littered


def said(runs, capsys, *arguments):
    """Exit code and output of a command, with what tells the twins apart taken out."""
    code = main([str(argument) for argument in arguments])
    out, err = capsys.readouterr()
    return code, *(text.replace(str(runs.parent), "HERE") for text in (out, err))


def test_the_litter_is_there(twins):
    clean, littered = (len(list(runs.rglob("*"))) for runs in twins)
    assert littered > 30 * clean > 30
    assert len(list(twins[1].glob("*/run.json"))) > 50


@pytest.mark.parametrize(
    "command, chosen", [(["compare"], "*"), (["compare", "--json"], "*"), (["predict", "--from"], "*rehearsal-w*")]
)
def test_what_is_said_of_runs_is_the_same(twins, capsys, command, chosen):
    clean, littered = (said(runs, capsys, *command, *runs.glob(chosen)) for runs in twins)
    assert clean[0] == 0 and len(clean[1]) > 1000
    assert littered == clean


def test_the_report_is_the_same(twins, capsys, tmp_path, monkeypatch):
    monkeypatch.setattr("analysis.report.report.figures", lambda comparison, drawn: figures(comparison, drawn=False))
    pages = []
    for runs in twins:
        page = runs.parent / "report.html"
        assert said(runs, capsys, "report", *runs.iterdir(), "--out", page)[0] == 0
        pages.append(page.read_text())
    assert pages[0] == pages[1]


def test_the_tables_are_the_same(twins, capsys):
    tables = []
    for runs in twins:
        out = runs.parent / "tables"
        assert said(runs, capsys, "export", *runs.iterdir(), "--to", "csv", "--out", out)[0] == 0
        tables.append({path.name: path.read_text() for path in out.iterdir()})
    assert tables[0] == tables[1]


def test_the_bundle_is_the_same_and_holds(twins, capsys, monkeypatch):
    monkeypatch.setattr("analysis.report.report.figures", lambda comparison, drawn: figures(comparison, drawn=False))
    bundles = []
    for runs in twins:
        out = runs.parent / "evidence.tar.gz"
        code, told, _ = said(runs, capsys, "bundle", *runs.iterdir(), "--out", out)
        assert code == 0, told
        bundles.append(out)
    assert bundles[0].read_bytes() == bundles[1].read_bytes()
    assert main(["verify", str(bundles[1])]) == 0


def test_litter_is_left_out_of_the_bundle_even_where_an_older_manifest_names_it(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("analysis.report.report.figures", lambda comparison, drawn: figures(comparison, drawn=False))
    folder = build_run(tmp_path)
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["sha256"] |= {".DS_Store": "0" * 64, "boards/board-1/._events.jsonl": "0" * 64}
    (folder / "manifest.json").write_text(json.dumps(manifest))
    (folder / ".DS_Store").write_bytes(b"looked at since")
    monkeypatch.setattr("analysis.publish.bundle.PROJECT", tmp_path / "checkout")
    (tmp_path / "checkout/requirements").mkdir(parents=True)
    for name in ("board.txt", "._board.txt", "board copy.txt"):
        (tmp_path / "checkout/requirements" / name).write_bytes(APPLE_DOUBLE)
    assert main(["bundle", str(folder), "--out", str(tmp_path / "out.tar.gz")]) == 0
    with tarfile.open(tmp_path / "out.tar.gz") as archive:
        packed = [name for name in archive.getnames() if "requirements" in name or "._" in name or "DS_Store" in name]
    assert packed == ["evidence/requirements/board.txt"]


def test_manifest_and_energy_are_the_same(twins, capsys):
    for number in range(3):
        clean, littered = (layout.run_folders(layout.entries(runs))[number] for runs in twins)
        told = [
            (said(folder.parent, capsys, "manifest", folder), said(folder.parent, capsys, "energy", folder))
            for folder in (clean, littered)
        ]
        names = [folder.parents[1].name for folder in (clean, littered)]  # a command for them may be among it
        assert str(told[0]).replace(names[0], "") == str(told[1]).replace(names[1], "")
        manifests = [json.loads((folder / "manifest.json").read_text()) for folder in (clean, littered)]
        assert manifests[0] == manifests[1]
        assert len(manifests[0]["attempts"]) == 1
        assert manifests[0]["sha256"]["boards/board-1/events.jsonl"]


def test_a_copy_of_a_run_is_not_the_newest(tmp_path):
    folder = build_run(tmp_path, "one")
    os.utime(folder, (1, 1))
    copy_beside(folder)
    assert newest(tmp_path) == folder


def test_what_is_expected_of_a_run_stands_on_runs_and_not_on_copies(tmp_path):
    steps = {"one board": 0.1, "no_sync": 0.1, "keras": 0.3}
    folder = build_prediction(tmp_path, step_s=steps, validation_s=1.0)
    run = load_run(folder / "run.json")
    found = expected(run.config, 2, run.boards, [tmp_path])
    assert found is not None and found.measured_in == [folder.name]
    renamed = folder.rename(tmp_path / "the-predict-of-monday")
    assert expected(run.config, 2, run.boards, [tmp_path]) == found
    renamed.rename(f"{renamed} copy")
    assert expected(run.config, 2, run.boards, [tmp_path]) is None


def test_litter_that_nobody_may_read_is_passed_over(tmp_path, monkeypatch):
    """As lost+found for all but root."""
    folder, is_file = build_run(tmp_path, "one"), Path.is_file

    def refuse(path):
        if path.parent.name in ("lost+found", "private"):
            raise PermissionError(13, "Permission denied", str(path))
        return is_file(path)

    monkeypatch.setattr(Path, "is_file", refuse)
    (tmp_path / "lost+found").mkdir()
    assert load(tmp_path.iterdir()).runs["folder"].tolist() == [str(folder)]
    (tmp_path / "private").mkdir()
    assert newest(tmp_path) == folder
    with pytest.raises(AnalysisError, match="private cannot be read"):
        load(tmp_path.iterdir())


class TestACopyAlone:
    def test_it_is_passed_over_and_that_is_told(self, tmp_path, capsys):
        folder = build_run(tmp_path, "one")
        copy = folder.rename(tmp_path / "one copy")
        assert main(["compare", str(copy)]) == 2
        assert "one copy: skipped, since its name is that of a copy or backup: to use it, rename it to one" in (
            capsys.readouterr().err
        )

    def test_a_run_with_another_name_is_used_unless_the_run_itself_is_there(self, tmp_path):
        folder = build_run(tmp_path, "one")
        shutil.copytree(folder, tmp_path / "before")
        loaded = load(tmp_path.iterdir())
        assert loaded.runs["folder"].tolist() == [str(folder)] and loaded.problems == []
        shutil.rmtree(folder)
        assert len(load(tmp_path.iterdir()).runs) == 1

    def test_a_name_that_is_not_there_is_an_error(self, tmp_path, capsys):
        assert main(["compare", str(tmp_path / "one copy")]) == 2
        assert "does not exist" in capsys.readouterr().err


def test_a_study_counts_each_run_once_and_lists_only_studies(tmp_path):
    for folder in ("experiments", "studies", "runs"):
        (tmp_path / folder).mkdir()
    (tmp_path / "experiments/paper.yml").write_text("epochs: 2\n")
    study = {"repeats": 2, "order_seed": 7, "arms": {"one": {"workers": 1}, "two": {"workers": 2}}}
    (tmp_path / "studies/own.yml").write_text(yaml.safe_dump(study))
    planned = slots("own", tmp_path, ["a", "b"])
    for number, status in enumerate(["succeeded", "failed", None]):
        slot = planned[number]
        run_id = f"20261121T12{number:02}00Z-paper-w{slot.workers}-s{slot.repeat}"
        folder = build_run(tmp_path / "runs", run_id, workers=slot.workers, seed=slot.repeat, manifest=False)
        made = json.loads((folder / "run.json").read_text())
        config = parse(configuration({"experiment": "paper", "override": {}}, tmp_path, []))
        (folder / "run.json").write_text(json.dumps({**made, "study": slot.name, "config": to_dict(config)}))
        if status:
            write_manifest(folder)
            manifest = json.loads((folder / "manifest.json").read_text())
            (folder / "manifest.json").write_text(json.dumps({**manifest, "status": status}))

    def there():
        runs = tmp_path / "runs"
        return slots("own", tmp_path, ["a", "b"]), states(planned, runs, tmp_path), lost("own", runs)

    before = there()
    for folder in list((tmp_path / "runs").iterdir()):
        copy_beside(folder)
    for folder in ("experiments", "studies", "runs"):
        litter_here(tmp_path / folder)
    assert there() == before
    assert [bool(state.succeeded) for state in before[1]] == [True, False, False, False] and len(before[2]) == 1
    with pytest.raises(AnalysisError, match="studies in studies/: own; give one"):
        slots("none", tmp_path, ["a", "b"])
    problems: list[str] = []
    configuration({"experiment": "none", "override": {}}, tmp_path, problems)
    assert problems == ["experiment is 'none'; presets in experiments/: paper"]


def test_copies_of_checkpoints_are_none(tmp_path):
    checkpoints = Checkpoints(tmp_path)
    for epoch in (1, 2, 3):
        checkpoints.save(Place(epoch), [np.full(3, epoch)])
    checkpoints.wait()
    litter(tmp_path)
    assert whole(tmp_path / CHECKPOINTS) == [Place(2), Place(3)]
    checkpoints.save(Place(4), [np.full(3, 4)])
    checkpoints.wait()
    assert whole(tmp_path / CHECKPOINTS) == [Place(3), Place(4)], "the oldest one goes, not what is called like one"


def test_a_full_disk_leaves_the_file_of_before_and_gets_its_space_back(tmp_path, monkeypatch):
    def full(_):
        raise OSError(28, "No space left on device")

    layout.write_json(tmp_path / "manifest.json", {"status": "failed"})
    monkeypatch.setattr(layout.os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        layout.write_json(tmp_path / "manifest.json", {"status": "succeeded"})
    assert [path.read_text() for path in tmp_path.iterdir()] == ['{\n "status": "failed"\n}\n']
