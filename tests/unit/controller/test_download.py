"""Large files are fetched whole or not at all, and how much of them is there can be seen meanwhile."""

import hashlib
import re
import subprocess
import sys
import threading
import time

import pytest

from controller import download as downloads
from controller.download import download
from tests import PROJECT
from tests.slow_site import slow_site

CONTENT = bytes(range(256)) * 8000  # 2 MB
SHA256 = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture
def noted(tmp_path, monkeypatch):
    """Every note that is left, in order."""
    texts = []
    monkeypatch.setattr(downloads.notes, "note", texts.append)
    monkeypatch.setattr(downloads, "_NOTE_S", 0.01)
    return texts


@pytest.mark.parametrize(("stated", "form"), [(True, r"(\d) of 2 MB of big-1\+2\.whl"), (False, r"(\d) MB of .*")])
def test_how_much_is_there_is_noted_while_it_comes(noted, tmp_path, stated, form):
    with slow_site({"big-1%2B2.whl": CONTENT}, 4e6, stated=stated) as site:
        assert download(f"{site.url}/big-1%2B2.whl", tmp_path / "big", 5.0)
    assert (tmp_path / "big").read_bytes() == CONTENT
    done = [int(re.fullmatch(form, text)[1]) for text in noted]
    assert set(done) == {0, 1, 2} and done == sorted(done)


def test_a_slow_line_is_noted_long_before_a_megabyte_is_there(noted, tmp_path):
    with slow_site({"x": CONTENT[:20_000]}, 2e4) as site:
        download(f"{site.url}/x", tmp_path / "x", 5.0)
    assert len(noted) > 5


def test_a_server_that_falls_silent_is_given_up(tmp_path):
    began = time.monotonic()
    with slow_site({"x": CONTENT}, 4e7, stalls_after=0.5) as site, pytest.raises(OSError, match="timed out"):
        download(f"{site.url}/x", tmp_path / "x", 0.5)
    assert time.monotonic() - began < 5 and not (tmp_path / "x").exists()


def test_what_has_another_checksum_is_not_taken_and_what_was_there_stays(tmp_path):
    path = tmp_path / "x"
    path.write_bytes(b"before")
    with slow_site({"x": CONTENT}, 4e7) as site, pytest.raises(OSError, match=f"checksum {SHA256}, expected 000"):
        download(f"{site.url}/x", path, 5.0, "0" * 64)
    assert path.read_bytes() == b"before"


def test_a_file_that_is_there_is_fetched_again_only_if_its_checksum_differs(tmp_path):
    path = tmp_path / "x"
    path.write_bytes(b"before")
    (tmp_path / "x.part").write_bytes(CONTENT + b"left by one that was killed")
    with slow_site({"x": CONTENT}, 4e7) as site:
        assert not download(f"{site.url}/x", path, 5.0)
        assert download(f"{site.url}/x", path, 5.0, SHA256)
        assert not download(f"{site.url}/x", path, 5.0, SHA256)
        assert path.read_bytes() == CONTENT and site.asked == ["/x"]


def test_of_two_at_once_one_fetches_it(tmp_path):
    with slow_site({"x": CONTENT}, 8e6) as site:
        threads = [threading.Thread(target=download, args=(f"{site.url}/x", tmp_path / "x", 5.0)) for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert site.asked == ["/x"] and (tmp_path / "x").read_bytes() == CONTENT


def run(*arguments):
    command = [sys.executable, "-m", "controller.download", *map(str, arguments)]
    return subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, timeout=30)


def test_the_command_takes_files_too_and_says_in_a_sentence_what_is_wrong(tmp_path):
    (tmp_path / "here").write_bytes(CONTENT)
    address, path = (tmp_path / "here").as_uri(), tmp_path / "there"
    assert run(address, path, f"--sha256={SHA256}").stdout == "fetched\n" and path.read_bytes() == CONTENT
    assert run(address, path, "--sha256=", f"--notes={tmp_path}/notes").stdout == "is there\n"
    assert not (tmp_path / "notes").exists()
    assert run(address, tmp_path / "again", f"--notes={tmp_path}/notes").stdout == "fetched\n"
    assert (tmp_path / "notes/localhost").read_text() == "1 of 2 MB of here"
    for address, said in (
        ((tmp_path / "nowhere").as_uri(), "No such file"),
        ("https://localhost:1/x", "refused"),
        ("http://[x/y", "IPv6"),
        ("nothing://x/y", "unknown url type: nothing"),
    ):
        failed = run(address, tmp_path / "other", "--timeout-s=2")
        assert failed.returncode == 1 and said in failed.stderr and len(failed.stderr.splitlines()) == 1
