"""Evidence: what a bundle holds, and what is found where someone changed it."""

import gzip
import json
import os
import shutil
import subprocess
import tarfile

import pytest

from analysis import AnalysisError, write_manifest
from analysis.__main__ import main
from analysis.publish.bundle import SUMS, TOP, write_bundle
from analysis.publish.verify import changes, verify
from analysis.report.plots import figures
from analysis.runs.manifest import checksums, digest
from analysis.runs.unpacking import unpack
from tests import PROJECT
from tests.data.build_runs import build_run
from trainer.contract.layout import write_json

REHEARSAL = PROJECT / "tests/data/rehearsal_of_schema1"
ONE, TWO, FAST = sorted(path.name for path in REHEARSAL.iterdir())


def copies(folder):
    """The rehearsal as it was collected, but for the weights, and the long logs, which are not kept in the sources."""
    shutil.copytree(REHEARSAL, folder)
    for run in folder.iterdir():
        for log in run.glob("boards/*/trainer.log"):
            log.write_text(log.read_text(encoding="utf-8")[-200:], encoding="utf-8")
        write_manifest(run)
    return sorted(folder.iterdir())


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    return copies(tmp_path_factory.mktemp("controller") / "runs")


@pytest.fixture(scope="module")
def bundle(runs, tmp_path_factory):
    return write_bundle(runs, tmp_path_factory.mktemp("out") / "evidence.tar.gz")


@pytest.fixture
def root(bundle, tmp_path):
    """The bundle unpacked, to be tampered with."""
    unpack(bundle.path, tmp_path)
    return tmp_path / TOP


@pytest.fixture
def undrawn(monkeypatch):
    """For bundles whose drawings nobody looks at: they take a second."""
    monkeypatch.setattr("analysis.report.report.figures", lambda comparison, drawn: figures(comparison, drawn=False))


def sum_again(root):
    """What who tampers does next."""
    (root / SUMS).unlink(missing_ok=True)
    (root / SUMS).write_text("".join(f"{sum_}  {name}\n" for name, sum_ in checksums(root).items()))


def findings(root):
    packed = root.parent / "tampered.tar.gz"
    with tarfile.open(packed, "w:gz") as archive:
        archive.add(root, TOP)
    return verify(packed).findings


def edit(path, change):
    content = json.loads(path.read_text())
    change(content)
    write_json(path, content)


def test_a_good_bundle_holds_and_says_what_that_does_not_prove(bundle, capsys):
    assert main(["verify", str(bundle.path), "--sha256", bundle.sha256]) == 0
    out = " ".join(capsys.readouterr().out.split())
    assert f"is valid: its {bundle.files} files" in out
    assert "figures of its comparison follow from the records of its 3 runs." in out
    assert "nobody signed them" in out


def test_it_is_another_one_than_was_published(bundle, capsys):
    assert main(["verify", str(bundle.path), "--sha256", "0" * 64]) == 1
    assert f"has the SHA-256 {bundle.sha256}, not the published {'0' * 64}" in capsys.readouterr().out


def test_its_checksums_are_checked_without_the_kit(root):
    done = subprocess.run(["sha256sum", "--strict", "-c", SUMS], cwd=root, capture_output=True, text=True)
    assert done.returncode == 0
    assert len(done.stdout.splitlines()) == len(checksums(root)) - 1


def test_it_has_the_runs_the_figures_the_environment_and_the_locks(root, runs):
    assert sorted(path.name for path in (root / "runs").iterdir()) == [ONE, TWO, FAST]
    for run in runs:
        assert checksums(root / "runs" / run.name) == checksums(run)
    about = json.loads((root / "bundle.json").read_text())
    assert about["options"] == {"study": None, "runs": [ONE, TWO, FAST]}
    assert about["environment"]["packages"]["pandas"]
    assert {"git_commit", "git_dirty", "python"} <= about["environment"].keys()
    assert len(json.loads((root / "comparison.json").read_text())["arms"]) == 3
    assert f'href="runs/{ONE}/"' in (root / "report.html").read_text()
    assert (root / "requirements" / "controller.txt").read_text().startswith("#")


def test_the_same_runs_elsewhere_give_the_same_bytes(bundle, tmp_path):
    again = write_bundle(reversed(copies(tmp_path / "elsewhere")), tmp_path / "again.tar.gz")
    assert again.sha256 == bundle.sha256


def test_nothing_in_it_tells_whose_it_is_or_where_it_was_made(bundle, runs):
    with tarfile.open(bundle.path) as archive:
        assert {(it.uid, it.gid, it.uname, it.gname, it.mtime, it.mode) for it in archive} == {
            (0, 0, "", "", 315_532_800, 0o644)
        }
    content = gzip.decompress(bundle.path.read_bytes())
    assert str(runs[0].parent).encode() not in content
    assert os.fsencode(PROJECT) not in content


def test_a_users_path_in_a_run_is_warned_of_and_is_not_in_the_report(tmp_path, undrawn):
    place = str(tmp_path / "images" / "own.npz")
    override = {"data": {"source": "npz", "path": place}}
    bundle = write_bundle([build_run(tmp_path, override=override)], tmp_path / "out.tar.gz")
    warned = [warning for warning in bundle.warnings if "contains" in warning]
    assert len(warned) == 1
    assert warned[0].startswith("runs/20250101T000000Z-test-w1-s1/run.json contains ")
    assert place in warned[0]


def test_uncommitted_changes_are_told(monkeypatch, runs, tmp_path, undrawn):
    monkeypatch.setattr("analysis.publish.bundle.git_state", lambda project: ("c" * 40, ["trainer/x.py"]))
    dirty = write_bundle(runs[:1], tmp_path / "dirty.tar.gz")
    assert dirty.warnings == [f"made with uncommitted changes on top of commit {'c' * 40}: trainer/x.py"]
    remarks = verify(dirty.path).notes
    assert f"Made with commit {'c' * 40}, with uncommitted changes, according to the bundle." in remarks
    assert "Not checked: requirements/, as it may have been changed." in remarks


def test_runs_that_depart_from_their_manifest_are_refused_all_at_once(tmp_path, capsys):
    bare = build_run(tmp_path, "bare", manifest=False)
    changed, lacking = build_run(tmp_path, "changed"), build_run(tmp_path, "lacking")
    (changed / "boards/board-1/events.jsonl").write_text("")
    (lacking / "boards/board-1/result.json").unlink()
    good = build_run(tmp_path, "good")
    out = tmp_path / "out.tar.gz"
    assert main(["bundle", *map(str, (bare, changed, lacking, good)), "--out", str(out)]) == 2
    err = capsys.readouterr().err
    assert "3 problems" in err
    assert "  bare: manifest.json is missing" in err
    assert "  changed: boards/board-1/events.jsonl is not the file that manifest.json names" in err
    assert "  lacking: boards/board-1/result.json is missing, but manifest.json names it" in err
    assert "good" not in err
    assert not out.exists()


def test_a_run_by_another_name_or_given_twice_is_refused(tmp_path):
    renamed = build_run(tmp_path, "before").rename(tmp_path / "after")
    with pytest.raises(AnalysisError, match=r"after: its run\.json is of before: rename the folder to that"):
        write_bundle([renamed], tmp_path / "out.tar.gz")
    twice = [build_run(tmp_path / "a", "run"), build_run(tmp_path / "b", "run")]
    with pytest.raises(AnalysisError, match=r"run: given twice, as .*a/run and .*b/run"):
        write_bundle(twice, tmp_path / "out.tar.gz")


def test_a_manifest_that_its_records_do_not_bear_out_is_refused(tmp_path):
    folder = build_run(tmp_path, failed={0: "out of memory"})
    edit(folder / "manifest.json", lambda manifest: manifest.update(status="succeeded"))
    with pytest.raises(AnalysisError, match='status "succeeded", but the boards\' records give "failed"'):
        write_bundle([folder], tmp_path / "out.tar.gz")


def test_probes_checkpoints_and_files_of_the_user_are_left_out(tmp_path, undrawn):
    failed, good, probe = (
        build_run(tmp_path, "bad", failed={0: "out of memory"}, manifest=False),
        build_run(tmp_path, "good"),
        build_run(tmp_path, "probe", task="probe"),
    )
    checkpoints = failed / "boards/board-1/checkpoints"
    checkpoints.mkdir()
    (checkpoints / "epoch-00001.npz").write_bytes(b"large")
    write_manifest(failed)
    (good / "notes.txt").write_text("private")
    bundle = write_bundle([failed, good, probe], tmp_path / "out.tar.gz")
    with tarfile.open(bundle.path) as archive:
        names = archive.getnames()
    assert bundle.run_ids == ["bad", "good"]
    assert not [name for name in names if "checkpoints" in name or "notes" in name or "probe" in name]
    assert verify(bundle.path).findings == []


def test_a_study_is_chosen_by_its_name(tmp_path, undrawn):
    for run_id, study in (("a", "paper/one/1"), ("b", "paper/two/1"), ("c", "papers/one/1"), ("d", None)):
        folder = build_run(tmp_path, run_id, seed=ord(run_id))
        edit(folder / "run.json", lambda run, study=study: run.update(study=study))
        write_manifest(folder)
    folders = [path for path in tmp_path.iterdir() if path.is_dir()]
    assert write_bundle(folders, tmp_path / "out.tar.gz", "paper").run_ids == ["a", "b"]
    with pytest.raises(AnalysisError, match=r"no run of study 'pap' was given.*paper, papers"):
        write_bundle(folders, tmp_path / "out.tar.gz", "pap")


def test_a_changed_byte_is_found(root):
    with (root / "runs" / TWO / "boards/board-2/trainer.log").open("r+b") as file:
        file.write(b"X")
    found = findings(root)
    assert len(found) == 2
    assert found[0].startswith(f"runs/{TWO}/boards/board-2/trainer.log was changed: its SHA-256 is ")
    assert found[1].startswith(f"runs/{TWO}: boards/board-2/trainer.log is not the file that manifest.json names")


def test_a_missing_run_is_found_although_the_sums_were_made_again(root):
    shutil.rmtree(root / "runs" / FAST)
    sum_again(root)
    found = findings(root)
    assert f"{FAST}: named in comparison.json, but not in runs/" in found
    assert "comparison.json: arms: 3 entries in the bundle, 2 recomputed" in found


def test_a_changed_figure_is_found_although_the_sums_were_made_again(root):
    before = json.loads((root / "comparison.json").read_text())["arms"][1]["pass_ratio"]
    edit(root / "comparison.json", lambda comparison: comparison["arms"][1].update(pass_ratio=1.9))
    sum_again(root)
    assert findings(root) == [f"comparison.json: arms[1].pass_ratio: 1.9 in the bundle, {before} recomputed"]


def test_a_changed_record_is_found_although_manifest_and_sums_were_made_again(root):
    path = root / "runs" / TWO / "boards/board-1/events.jsonl"
    path.write_text(path.read_text().replace('"epoch_s": ', '"epoch_s": 1'))
    write_manifest(root / "runs" / TWO)
    sum_again(root)
    found = findings(root)
    assert any(finding.startswith("comparison.json: arms[1].pass_s: ") for finding in found)
    assert "report.html differs from a report recomputed from the records" in found


def test_a_rehearsal_that_claims_real_boards_is_found(root):
    edit(root / "runs" / TWO / "manifest.json", lambda manifest: manifest.update(rehearsal=False))
    sum_again(root)
    finding = f"runs/{TWO}: manifest.json has rehearsal false, but the boards' records give true"
    assert finding in findings(root)


def test_a_changed_word_in_the_report_is_found(root):
    page = (root / "report.html").read_text()
    (root / "report.html").write_text(page.replace("emulated boards", "boards"))
    sum_again(root)
    assert findings(root) == [
        "report.html differs from a report recomputed from the records",
        "report.html has drawings with other names and numbers than those drawn from the records",
    ]


def test_missing_sums_are_found(root):
    (root / SUMS).unlink()
    assert findings(root) == [f"{SUMS} is missing"]


def test_sums_without_entries_are_found(root):
    (root / SUMS).write_text("")
    assert f"report.html is not named in {SUMS}" in findings(root)
    edit(root / "runs" / ONE / "manifest.json", lambda manifest: manifest.update(sha256={}))
    sum_again(root)
    assert f"runs/{ONE}: run.json is not named in manifest.json" in findings(root)


@pytest.mark.parametrize(
    "content",
    ["{", "[]", '{"arms": 1, "excluded": [{"run_ids": 1}, 2]}', pytest.param("[" * 100_000, id="a deep one")],
)
def test_a_comparison_that_is_none_is_a_finding_and_no_crash(root, content):
    (root / "comparison.json").write_text(content)
    sum_again(root)
    assert findings(root)[0].startswith(("comparison.json cannot be read", ONE, "1: named in comparison.json"))


@pytest.mark.parametrize("boards", [3, [3], [{"name": []}]])
def test_a_manifest_with_values_of_another_kind_is_a_finding_and_no_crash(root, boards):
    edit(root / "runs" / ONE / "manifest.json", lambda manifest: manifest.update(boards=boards))
    sum_again(root)
    problem = "manifest.json has values of another kind, which are not used: boards"
    assert f"runs/{ONE}: {problem}" in findings(root)


def test_a_run_with_values_of_another_kind_is_a_finding_and_no_crash(root):
    run = root / "runs" / ONE
    edit(run / "run.json", lambda content: content.update(boards=[3]))
    edit(run / "manifest.json", lambda content: content["sha256"].update({"run.json": digest(run / "run.json")}))
    sum_again(root)
    found = findings(root)
    assert found[0] == f"runs/{ONE}: run.json: boards is [3] (a list)"


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("more.txt", ["more.txt is not part of a bundle"]),
        ("manifest.json", ["manifest.json is not part of a bundle"]),
        (f"runs/{ONE}/more.txt", [f"runs/{ONE}: more.txt is not named in manifest.json"]),
    ],
)
def test_an_extra_file_is_found_although_the_sums_were_made_again(root, name, found):
    (root / name).write_text("")
    sum_again(root)
    assert findings(root) == found


def test_an_extra_file_is_found(root):
    (root / "runs" / ONE / "more.txt").write_text("")
    assert f"runs/{ONE}/more.txt is not named in {SUMS}" in findings(root)


def _member(name, **fields):
    member = tarfile.TarInfo(name)
    for field, value in fields.items():
        setattr(member, field, value)
    return member


@pytest.mark.parametrize(
    ("member", "found"),
    [
        (_member(f"{TOP}/../../escaped"), "outside of evidence/"),
        (_member("/escaped"), "outside of evidence/"),
        (_member("escaped"), "outside of evidence/"),
        (_member(f"{TOP}/link", type=tarfile.SYMTYPE, linkname="/etc/passwd"), "neither a regular file nor a folder"),
        (_member(f"{TOP}/link", type=tarfile.LNKTYPE, linkname=f"{TOP}/{SUMS}"), "neither a regular file nor a folder"),
        (_member(f"{TOP}/pipe", type=tarfile.FIFOTYPE), "neither a regular file nor a folder"),
        (_member(f"{TOP}/{SUMS}"), "there twice"),
        (_member(f"{TOP}/huge", size=10**12), "larger than"),
    ],
)
def test_an_unsafe_archive_is_not_unpacked(bundle, tmp_path, monkeypatch, member, found):
    monkeypatch.setattr("analysis.runs.unpacking._write", lambda *_: pytest.fail("unpacked"))
    content = gzip.decompress(bundle.path.read_bytes()).rstrip(b"\0")
    content += b"\0" * (-len(content) % tarfile.BLOCKSIZE) + member.tobuf() + b"\0" * 2 * tarfile.BLOCKSIZE
    packed = tmp_path / "unsafe.tar.gz"
    packed.write_bytes(gzip.compress(content))
    (finding,) = verify(packed).findings
    assert finding.startswith(f"{member.name}: ")
    assert found in finding


@pytest.mark.parametrize(
    "content", [b"", b"no archive", gzip.compress(b"no archive" * 100)], ids=["nothing", "text", "packed text"]
)
def test_what_is_no_archive_is_told(tmp_path, content):
    (tmp_path / "x.tar.gz").write_bytes(content)
    (finding,) = verify(tmp_path / "x.tar.gz").findings
    assert finding.startswith("x.tar.gz cannot be unpacked: ") or finding.endswith("is missing")


def test_a_cut_archive_is_told(bundle, tmp_path):
    (tmp_path / "cut.tar.gz").write_bytes(bundle.path.read_bytes()[:5000])
    assert "cut.tar.gz cannot be unpacked" in verify(tmp_path / "cut.tar.gz").findings[0]


def test_figures_are_the_same_within_the_tolerance_and_of_the_same_kind():
    claimed = {"a": [1.0, None, True, "x"], "b": 0.0}
    assert list(changes(claimed, {"a": [1.0 + 1e-10, None, True, "x"], "b": 1e-17})) == []
    assert list(changes(claimed, {"a": [1.0 + 1e-8, 0, 1, "x"], "c": 2})) == [
        "a[0]: 1.0 in the bundle, 1.00000001 recomputed",
        "a[1]: null in the bundle, 0 recomputed",
        "a[2]: true in the bundle, 1 recomputed",
        "b: 0.0 in the bundle, not recomputed",
        "c: not in the bundle, 2 recomputed",
    ]


def test_a_bundle_that_is_not_there_is_an_error(tmp_path, capsys):
    assert main(["verify", str(tmp_path / "none.tar.gz")]) == 2
    assert "none.tar.gz" in capsys.readouterr().err
