"""Files that are fetched for a run."""

import gzip
import http.server
import os
import tarfile
import threading
import zipfile
from pathlib import Path

import numpy as np
import pytest

from controller import assets, synthetic
from trainer.contract.config import ConfigError, parse
from trainer.contract.sections import Data
from trainer.formats import archives
from trainer.formats.archives import ArchiveError


@pytest.fixture
def site():
    """An address whose files break off after half of what was announced, except for those in /whole/."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            content = self.path.encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(content) * (1 if self.path.startswith("/whole/") else 2)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *arguments):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()
    thread.join()


def test_a_download_that_breaks_off_is_told_and_not_kept(site, tmp_path):
    with pytest.raises(ArchiveError, match=r"data\.path: .*torn\.npz cannot be downloaded \(9 bytes are missing\)"):
        assets._downloaded("data.path", f"{site}/torn.npz", tmp_path)
    assert not list(tmp_path.glob("*.npz"))


def test_two_addresses_that_end_alike_are_two_files(site, tmp_path):
    first, second = (assets._downloaded("data.path", f"{site}/whole/{name}/a.npz", tmp_path) for name in "ab")
    assert (first.read_text(), second.read_text()) == ("/whole/a/a.npz", "/whole/b/a.npz")


@pytest.fixture
def problem(tmp_path):
    """What is told of a data.path, in a checkout of its own."""
    (tmp_path / ".cache").mkdir()

    def problem(path, source="cifar100"):
        with pytest.raises(ConfigError) as caught:
            assets.prepare(Data(source=source, path=str(path)), None, tmp_path)
        (told,) = caught.value.problems
        return told

    return problem


@pytest.mark.parametrize(
    ("path", "says"),
    [
        ("http://mirror.example/x.tar.gz", "only https://HOST/... is supported: give such a URL, or download the file"),
        ("HTTP://mirror.example/x.tar.gz", "only https://HOST/... is supported"),
        ("ftp://mirror.example/x.tar.gz", "only https://HOST/... is supported"),
        ("s3://bucket/x.tar.gz", "only https://HOST/... is supported"),
        ("file://mirror.example/x.tar.gz", "only https://HOST/... is supported"),
        ("https:///x.tar.gz", "only https://HOST/... is supported"),
        ("https://[::1/x.tar.gz", "which is not a valid URL (Invalid IPv6 URL): correct it"),
        ("https://mirror.example:port/x.tar.gz", "cannot be downloaded"),
        ("https://mirror.example/gr\u00f6\u00dfe.tar.gz", "cannot be downloaded"),
        ("https://mirror.example/a b\n.tar.gz", "cannot be downloaded"),
        ("https://mirror.example/\udcff.tar.gz", "cannot be downloaded"),
        (f"https://mirror.invalid/{'x' * 400}.tar.gz", "cannot be downloaded"),
        ("https:/mirror.example/x.tar.gz", "a URL begins with https://"),
        ("~nosuchuser/x.tar.gz", "there is no home folder ~nosuchuser: give the absolute path"),
        ("~/nowhere/x.tar.gz", "there is no such file"),
        ("$HOME/x.tar.gz", "variables are not filled in; write out the path"),
        ("${DATA}/x.tar.gz", "variables are not filled in"),
        ("%USERPROFILE%/x.tar.gz", "variables are not filled in"),
        ("C:\\data\\x.tar.gz", "it is a Windows path"),
        ("D:/data/x.tar.gz", "it is a Windows path"),
        ("\\\\server\\x.tar.gz", "it is a Windows path"),
        ("own.tar.gz ", "it begins or ends with a space or quote; remove it"),
        ("'own.tar.gz'", "it begins or ends with a space or quote; remove it"),
        ("gone.tar.gz", "/gone.tar.gz; give the path of an existing file"),
        ("own.tar.gz/inside", "there is no such file"),
        ("/nowhere/own.tar.gz", "there is no such file: give the path of one"),
        ("a\0b", "paths cannot contain such characters: remove them"),
        ("a\ud800b", "paths cannot contain such characters: remove them"),
        ("x" * 300, "it cannot be accessed (File name too long): give another path"),
        ("x/" * 3000, "it cannot be accessed (File name too long)"),
        ("loop", "it cannot be accessed (Too many levels of symbolic links)"),
        ("dangling", "it is a link to gone.tar.gz, which does not exist; correct the link"),
        ("folder", "it is a folder: give the path of a file"),
        (".", "it is a folder"),
        ("pipe", "it is a pipe or device: give the path of a regular file"),
        ("/dev/zero", "it is a pipe or device"),
        ("file:///dev/zero", "it is a pipe or device"),
        ("empty", "the file is empty: fetch or write it again"),
    ],
)
def test_a_path_that_leads_to_no_file_is_told_with_the_reason_and_the_remedy(
    problem, tmp_path, path, says, monkeypatch
):
    def no_network(address, timeout):
        raise OSError("no network in this test")

    if ".invalid/" in path:
        monkeypatch.setattr("urllib.request.urlopen", no_network)
    (tmp_path / "own.tar.gz").write_text("x")
    (tmp_path / "folder").mkdir()
    (tmp_path / "empty").write_text("")
    (tmp_path / "dangling").symlink_to("gone.tar.gz")
    (tmp_path / "loop").symlink_to("loop")
    os.mkfifo(tmp_path / "pipe")
    told = problem(path)
    assert told.startswith("data.path") and says in told, told


def test_a_file_that_cannot_be_read_is_told(problem, tmp_path, monkeypatch):
    path = tmp_path / "own.tar.gz"
    path.write_text("x")

    def refused(self, *arguments, **options):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", refused)
    assert (
        problem(path)
        == f"data.path is {str(path)!r}, but it cannot be read (Permission denied): check its owner and permissions"
    )


def packed_elsewise(path: Path, kind: str) -> Path:
    content = path.with_name("content")
    content.write_bytes(b"content")
    if kind in ("", "bz2", "xz"):
        with tarfile.open(path, f"w:{kind}") as archive:
            archive.add(content, "content")
    elif kind == "zip":
        with zipfile.ZipFile(path, "w") as archive:
            archive.write(content, "content")
    elif kind == "npy":
        np.save(path.open("wb"), np.zeros(3))
    else:
        path.write_bytes(bytes.fromhex(kind) + bytes(600))
    return path


@pytest.mark.parametrize(
    ("kind", "says"),
    [
        ("", "is a tar archive without compression"),
        ("bz2", "is a bzip2 archive"),
        ("xz", "is an xz archive"),
        ("zip", "is a zip archive"),
        ("npy", "is a single NumPy array (.npy)"),
        ("377abcaf271c", "is a 7z archive"),
        ("28b52ffd", "is a zstd archive"),
        ("526172211a", "is a rar archive"),
        ("894844460d0a1a0a", "is an HDF5 file"),
        (b"<!DOCTYPE html>".hex(), "is a web page or XML"),
        (b"version https://git-lfs.github.com/spec/v1".hex(), "is a Git LFS pointer"),
    ],
)
def test_another_kind_of_archive_is_named(problem, tmp_path, kind, says):
    path = packed_elsewise(tmp_path / "own", kind)
    told = problem(path)
    assert told.startswith(f"data.path: {path} {says}") and "needs a gzip archive: give the original" in told
    if kind != "zip":
        told = problem(path, "npz")
        assert told.startswith(f"data.path: {path} {says}") and "write one with numpy.savez" in told


def test_a_gzip_archive_is_no_numpy_archive(problem, tmp_path):
    (tmp_path / "own.npz").write_bytes(gzip.compress(b"content"))
    assert "is a gzip archive, but data.source npz needs a zip archive" in problem(tmp_path / "own.npz", "npz")


@pytest.mark.parametrize(
    "name", ["own images.tar.gz", "a'b.tar.gz", "a\nb.tar.gz", "a\\b.tar.gz", f"{'x' * 248}.tar.gz"[-255:]]
)
def test_an_archive_of_any_name_has_a_plain_one_on_the_boards(tmp_path, name):
    synthetic.write_archive(tmp_path / "synthetic.tar.gz", 100, 100)
    path = (tmp_path / "synthetic.tar.gz").rename(tmp_path / name)
    asset = assets.prepare(parse({"data": {"path": str(path)}}).data, None, tmp_path)["dataset"]
    on_board = asset.board_path("/opt/kit").rpartition("/")[2]
    assert on_board.startswith(archives.sha256(path)[:16]) and on_board.endswith(".tar.gz")
    assert not set(on_board) & set(" '\n\\") and len(on_board) <= 230
