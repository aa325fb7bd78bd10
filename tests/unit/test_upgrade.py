"""What the version before left: tests/data/schema1 has a bundle of it."""

import json
import subprocess
from pathlib import Path

import pytest

from analysis.__main__ import main
from analysis.publish.bundle import ABOUT, SUMS, TOP
from analysis.publish.verify import verify
from analysis.runs.manifest import checksums
from analysis.runs.unpacking import unpack
from trainer.contract.layout import write_json

PROJECT = Path(__file__).parents[2]
BUNDLE = PROJECT / "tests/data/schema1/evidence.tar.gz"
COMMIT = "bf7e712a4fef72c98abed1fe416200d2811f85ba"  # which made all of it
ONE = "20261127T161222Z-rehearsal-w1-s1"


@pytest.fixture
def root(tmp_path):
    """The bundle unpacked."""
    unpack(BUNDLE, tmp_path)
    return tmp_path / TOP


def packed(root):
    """The folder as a bundle with the checksums that it should have."""
    (root / SUMS).unlink()
    (root / SUMS).write_text("".join(f"{sum_}  {name}\n" for name, sum_ in checksums(root).items()))
    path = root.parent / "it's.tar.gz"
    subprocess.run(["tar", "-czf", path, "-C", root.parent, TOP], check=True)
    return path


def test_its_bundle_is_checked_as_far_as_that_can_be_and_the_version_for_the_rest_is_named(capsys):
    assert main(["verify", str(BUNDLE)]) == 1
    out = capsys.readouterr().out
    assert out.startswith(
        f"{BUNDLE} holds as far as this version can check it: its 34 files are as they were packed, and its 2 runs as "
        "their boards recorded them.\nNot checked: comparison.json and report.html, which an earlier version of the kit"
    )
    assert f"git worktree add ../kit-bf7e712 {COMMIT} && cd ../kit-bf7e712 && make setup && " in out
    assert f".venv/bin/python -m analysis verify {BUNDLE}\n" in out
    assert "does not hold" not in out


def test_a_changed_record_in_its_bundle_is_found(root, capsys):
    events = root / f"runs/{ONE}/boards/board-1/events.jsonl"
    events.write_text(events.read_text().replace('"images": 128', '"images": 129'))
    path = packed(root)
    assert main(["verify", str(path)]) == 1
    out = capsys.readouterr().out
    assert f"{path} does not hold:" in out and "boards/board-1/events.jsonl is not the file that manifest.json" in out
    assert "\nNot checked: comparison.json" in out and "verify '" in out  # a path that a shell takes as one


def test_what_a_bundle_says_of_its_commit_becomes_no_command(root):
    about = json.loads((root / ABOUT).read_text())
    about["environment"]["git_commit"] = "HEAD; rm -r ~"
    write_json(root / ABOUT, about)
    found = verify(packed(root))
    assert not found.findings and "rm -r" not in "".join([*found.unchecked, *found.notes])
    assert found.unchecked[0].endswith("bundle.json does not say which commit it is.")
