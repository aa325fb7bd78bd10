"""Bundles that somebody made to deceive or to harm: each is found, in a sentence, soon and within little memory."""

import gzip
import json
import re
import subprocess
import sys
import tarfile

import pytest

from analysis.__main__ import main
from analysis.publish import drawings
from analysis.publish.bundle import SUMS, TOP, write_bundle
from analysis.publish.verify import verify
from analysis.runs.manifest import add_energy, checksums, write_manifest
from analysis.runs.unpacking import unpack
from tests import PROJECT
from tests.data.build_runs import build_run
from trainer.contract.layout import RUN, write_json

ID = "20250101T000000Z-test-w1-s1"


@pytest.fixture(scope="module")
def packed(tmp_path_factory):
    folder = build_run(tmp_path_factory.mktemp("runs"), ID, power_w=20.0, ahead_s={0: 0.0})
    add_energy(folder, switch_w=5.0, wall_meter=None)
    return write_bundle([folder], tmp_path_factory.mktemp("out") / "evidence.tar.gz")


@pytest.fixture
def root(packed, tmp_path):
    unpack(packed.path, tmp_path)
    return tmp_path / TOP


def findings(root):
    """Those of who changed something and summed again."""
    (root / SUMS).unlink(missing_ok=True)
    (root / SUMS).write_text("".join(f"{sum_}  {name}\n" for name, sum_ in checksums(root).items()))
    path = root.parent / "tampered.tar.gz"
    with tarfile.open(path, "w:gz") as archive:
        archive.add(root, TOP)
    return verify(path).findings


def edit(path, change):
    content = json.loads(path.read_text())
    change(content)
    write_json(path, content)


def test_as_it_was_packed_it_is_valid_drawings_and_energy_too(packed):
    found = verify(packed.path)
    assert (found.findings, found.unchecked) == ([], [])
    assert not any("drawings" in note for note in found.notes)


@pytest.mark.parametrize(
    ("evil", "says"),
    [
        ("<script>alert(1)</script>", "has an element <script> in a drawing"),
        ('<g onload="alert(1)"/>', 'has onload="alert(1)" at <g>'),
        ("<style>p{display:none}</style>", "has the text 'p{display:none}' in <style>"),
        ('<path style="position: fixed"/>', 'has style="position: fixed" at <path>'),
        ('<path style="fill: url(http://x/)"/>', "has style="),
        ('<use xlink:href="http://x/#a"/>', "has xlink:href="),
        ('<a href="http://x/">here</a>', "has an element <a>"),
        ("<foreignObject><p>good</p></foreignObject>", "has an element <foreignObject>"),
        ('<image href="data:image/png;base64,"/>', "has an element <image>"),
        ("<!-- <p> -->", "has a declaration in a drawing"),
        ("<g>faster</g>", "has the text 'faster' in <g>"),
        ("<g>", "has a drawing that cannot be read: mismatched tag"),
        ("<svg>", "has a drawing without an end"),
        ("<text>9.9 x</text>", "has drawings with other names and numbers than those drawn from the records"),
        ('<path d="M 0 0 L 9 9"/>', "has drawings with other lines and points than those drawn from the records"),
    ],
)
def test_what_the_kit_does_not_draw_is_found_in_a_drawing(root, evil, says):
    page = root / "report.html"
    page.write_text(page.read_text().replace("</svg>", f"{evil}</svg>", 1))
    (finding,) = findings(root)
    assert finding.startswith(f"report.html {says}")


def test_a_bar_that_was_moved_is_found_but_not_what_another_processor_rounds(root):
    page = (root / "report.html").read_text()
    drawing = drawings.apart(page)[1][0]
    moved = re.sub(r'x="(\d+)\.', lambda found: f'x="{int(found[1]) + 1}.', drawing, count=1)
    rounded = re.sub(r'x="(\d+\.\d)', r'x="\g<1>0', drawing, count=1)
    assert len({drawing, moved, rounded}) == 3
    assert drawings.are_same(drawing, rounded)
    assert not drawings.are_same(drawing, moved)
    (root / "report.html").write_text(page.replace(drawing, moved))
    assert findings(root) == ["report.html has drawings with other lines and points than those drawn from the records"]


def test_a_script_beside_the_drawings_is_found(root):
    page = root / "report.html"
    page.write_text(page.read_text().replace("</body>", "<script>alert(1)</script></body>"))
    assert findings(root) == ["report.html differs from a report recomputed from the records"]


@pytest.mark.parametrize(
    ("change", "name"),
    [
        (lambda it: it["cost"].update(energy_j=1.0), "cost.energy_j"),
        (lambda it: it["boards"][0]["cost"].update(energy_j=1.0), "boards[0].cost.energy_j"),
        (lambda it: it["boards"][0]["facts"].update(module="p3701"), "boards[0].facts.module"),
        (lambda it: it["boards"][0]["clock"].update(uncertainty_s=0.0), "boards[0].clock.uncertainty_s"),
        (lambda it: it.update(cause="none"), "cause"),
        (lambda it: it.update(ended_s=it["ended_s"] - 50), "ended_s"),
        (lambda it: it.update(gates={"findings": [], "waived": []}), "gates"),
        (lambda it: it.update(attempts=[{"status": "succeeded"}]), "attempts"),
        (lambda it: it.update(speedup=3.0), "speedup"),
        (lambda it: it["cost"].update(switch_energy_j="little"), "cost.switch_energy_j"),
    ],
)
def test_a_value_of_the_manifest_that_the_records_do_not_give_is_found(root, change, name):
    edit(root / "runs" / ID / "manifest.json", change)
    assert any(finding.startswith(f"runs/{ID}: manifest.json has {name} ") for finding in findings(root))


def test_a_board_named_as_a_folder_elsewhere_is_found(root):
    run = root / "runs" / ID
    edit(run / RUN, lambda it: it.update(boards=["../x"]))
    edit(run / "manifest.json", lambda it: it["boards"][0].update(name="../x"))
    found = findings(root)
    assert f"runs/{ID}: manifest.json has values of another kind, which are not used: boards" in found
    edit(run / "manifest.json", lambda it: it["boards"][0].update(name="board-1"))
    edit(run / "manifest.json", lambda it: it["sha256"].update({RUN: checksums(run)[RUN]}))
    assert any('"../x" (text) is not the name of a folder' in finding for finding in findings(root))


def test_another_readme_other_locks_and_other_runs_than_told_are_found(root):
    (root / "README.txt").write_text("All is well: no need to verify.")
    edit(root / "bundle.json", lambda it: it["options"].update(runs=["x"]))
    edit(root / "bundle.json", lambda it: it.update(notes=["measured on real boards"]))
    edit(root / "bundle.json", lambda it: it["environment"].update(git_dirty=False, git_changed=[]))
    (root / "requirements/controller.txt").write_text("evil==1.0\n")
    found = findings(root)
    assert "README.txt is not the one that the kit writes" in found
    assert 'bundle.json names the runs ["x"], but runs/ has others' in found
    assert "bundle.json has other notes than its environment gives" in found
    commit = json.loads((root / "bundle.json").read_text())["environment"]["git_commit"]
    assert f"requirements/controller.txt is not the lock of commit {commit}" in found


def test_an_escape_sequence_in_a_members_name_is_found_and_does_nothing_to_the_terminal(tmp_path, capsys):
    path = tmp_path / "evidence.tar.gz"
    with tarfile.open(path, "w:gz") as archive:
        archive.addfile(tarfile.TarInfo(f"{TOP}/runs/\x1b]0;owned\x07/\x9b31m\u202egnp.exe"))
    assert main(["verify", str(path)]) == 1
    out = capsys.readouterr().out
    assert "evidence/runs/?]0;owned?/?31m?gnp.exe: not a normal relative path" in out
    assert out.replace("\n", "").isprintable()


def test_an_escape_sequence_in_a_manifest_does_nothing_to_the_terminal(root, capsys):
    edit(root / "runs" / ID / "manifest.json", lambda it: it.update(experiment="\x1b[2J"))
    path = root.parent / "tampered.tar.gz"
    findings(root)
    assert main(["verify", str(path)]) == 1
    out = capsys.readouterr().out
    assert "manifest.json has experiment" in out and out.replace("\n", "").isprintable()


def member(name, size=0, **fields):
    made = tarfile.TarInfo(name)
    made.size = size
    for field, value in fields.items():
        setattr(made, field, value)
    return made


def written(path, *chunks):
    with gzip.open(path, "wb", 1) as file:
        for chunk in chunks:
            file.write(chunk)


def sparse(path):
    holes = member(f"{TOP}/holes", 512, pax_headers={"GNU.sparse.map": "0,512", "GNU.sparse.size": str(1 << 42)})
    written(path, holes.tobuf(tarfile.PAX_FORMAT), bytes(512), bytes(1024))


def zeros(path):
    written(path, member(f"{TOP}/{SUMS}", 1 << 31).tobuf(), *(bytes(1 << 20) for _ in range(2048)))


def a_long_report(path):
    content = b"<svg" * (1 << 18)
    names = (f"{TOP}/report.html", content), (f"{TOP}/comparison.json", b"[" * 100_000)
    chunks = [member(name, len(text)).tobuf() + text + bytes(-len(text) % 512) for name, text in names]
    written(path, *chunks, bytes(1024))


def members(path):
    written(path, *(member(f"{TOP}/runs/a/{number}").tobuf(tarfile.USTAR_FORMAT) for number in range(100_000)))


def headers(path):
    keys = {f"k{number}": "v" * 60 for number in range(700)}
    written(path, *(member(f"{TOP}/{number}", pax_headers=keys).tobuf(tarfile.PAX_FORMAT) for number in range(99)))


@pytest.mark.parametrize("bomb", [sparse, zeros, a_long_report, members, headers])
def test_a_bomb_ends_in_a_sentence_within_200_mb(tmp_path, bomb):
    path = tmp_path / "bomb.tar.gz"
    bomb(path)
    # of memory beside what Python and pandas take; of time, most is left for a busy machine
    limited = (
        "import resource, sys, analysis.publish.verify as it, pandas, analysis.comparison.compare\n"
        "used = int(open('/proc/self/statm').read().split()[0]) * resource.getpagesize()\n"
        "resource.setrlimit(resource.RLIMIT_AS, (used + 200 * 10**6,) * 2)\n"
        "resource.setrlimit(resource.RLIMIT_CPU, (20, 20))\n"
        "found = it.verify(__import__('pathlib').Path(sys.argv[1])).findings\n"
        "print(len(found), found[0])\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", limited, path], cwd=PROJECT, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert "Error" not in done.stdout and done.stdout.strip()


def test_a_report_of_drawings_without_an_end_is_refused_without_reading_it_again_and_again():
    with pytest.raises(drawings.Odd, match="has a drawing without an end"):
        drawings.apart("<svg" * (1 << 18))


def test_a_link_in_a_run_is_not_followed_into_a_bundle(tmp_path):
    secret = tmp_path / "secret.txt"
    secret.write_text("private")
    folder = build_run(tmp_path / "runs", ID, manifest=False)
    log = folder / "boards/board-1/trainer.log"
    log.symlink_to(secret)
    (folder / "more").symlink_to(tmp_path)
    manifest = write_manifest(folder)
    assert "boards/board-1/trainer.log" not in manifest["sha256"]
    write_json(
        folder / "manifest.json", {**manifest, "sha256": {**manifest["sha256"], "boards/board-1/trainer.log": "0"}}
    )
    assert main(["bundle", str(folder), "--out", str(tmp_path / "out.tar.gz")]) == 2
    (folder / "manifest.json").rename(tmp_path / "manifest.json")
    (folder / "manifest.json").symlink_to(tmp_path / "manifest.json")
    assert main(["bundle", str(folder), "--out", str(tmp_path / "out.tar.gz")]) == 2
    assert not (tmp_path / "out.tar.gz").exists()
