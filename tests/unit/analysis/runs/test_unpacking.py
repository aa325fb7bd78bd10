"""Archives that a stranger may have written: what is unpacked, and what is refused."""

import copy
import gzip
import io
import tarfile

import pytest

from analysis.runs.unpacking import UnpackError, unpack


def member(name, content=b"x", **fields):
    info = tarfile.TarInfo(name)
    info.size = len(content)
    for field, value in fields.items():
        setattr(info, field, value)
    return info, content


def packed(path, *members, format=tarfile.PAX_FORMAT):
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode="w", format=format) as archive:
        for info, content in members:
            archive.addfile(info, io.BytesIO(content) if info.isreg() else None)
    path.write_bytes(gzip.compress(raw.getvalue()))
    return path


FINE = member("logs/fine.txt", b"fine")
ODD = {
    "above": (member("../escaped"), "../escaped: not a normal relative path"),
    "above, later": (member("logs/../../escaped"), "not a normal relative path"),
    "absolute": (member("/escaped"), "/escaped: not a normal relative path"),
    "a link": (member("link", type=tarfile.SYMTYPE, linkname="/etc/passwd", content=b""), "neither a regular file nor"),
    "a link inside": (member("link", type=tarfile.SYMTYPE, linkname="logs/fine.txt", content=b""), "neither"),
    "a hard link": (member("link", type=tarfile.LNKTYPE, linkname="logs/fine.txt", content=b""), "neither"),
    "a pipe": (member("pipe", type=tarfile.FIFOTYPE, content=b""), "neither"),
    "a device": (member("null", type=tarfile.CHRTYPE, content=b""), "neither"),
    "there twice": (member("./logs//fine.txt", b"other"), "there twice"),
    "a control character": (member("red\x1b[31m"), "red?[31m: not a normal relative path"),
    "a line break": (member("two\nlines"), "two?lines: not a normal relative path"),
    "endless": (member("n" * 300), "n...: not a normal relative path"),
    "without a name": (member("."), ".: not a normal relative path"),
    "sparse": (
        member("holes", b"0" * 512, pax_headers={"GNU.sparse.map": "0,512", "GNU.sparse.size": "99999"}),
        "holes: neither a regular file nor a folder",
    ),
}


@pytest.mark.parametrize(("odd", "sentence"), ODD.values(), ids=ODD)
def test_an_archive_with_an_odd_member_is_refused_whole_or_the_member_left_out(tmp_path, odd, sentence):
    archive = packed(tmp_path / "a.tar.gz", FINE, odd)
    home = tmp_path / "below" / "home"
    home.mkdir(parents=True)
    with pytest.raises(UnpackError, match="nothing was unpacked") as refusal:
        unpack(archive, home)
    (problem,) = refusal.value.problems
    assert sentence in problem
    assert not any(home.iterdir())

    (left_out,) = unpack(archive, home, strict=False)
    assert sentence in left_out
    assert {path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*") if not path.is_dir()} == {
        "a.tar.gz",
        "below/home/logs/fine.txt",
    }
    assert (home / "logs/fine.txt").read_text() == "fine"


def test_what_is_there_is_written_over_but_not_through_a_link(tmp_path):
    archive = packed(tmp_path / "a.tar.gz", FINE, format=tarfile.GNU_FORMAT)
    home = tmp_path / "home"
    (home / "logs").mkdir(parents=True)
    (home / "logs/fine.txt").write_text("a longer text from before")
    assert unpack(archive, home) == []
    assert (home / "logs/fine.txt").read_text() == "fine"
    (home / "logs/fine.txt").unlink()
    (home / "logs/fine.txt").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OSError, match=r"fine\.txt"):
        unpack(archive, home)
    assert not (tmp_path / "elsewhere").exists()


@pytest.mark.parametrize("limits", [{"max_bytes": 4}, {"max_members": 1}], ids=str)
@pytest.mark.parametrize("strict", [True, False])
def test_an_archive_over_a_limit_is_refused(tmp_path, limits, strict):
    archive = packed(tmp_path / "a.tar.gz", FINE, member("more"))
    with pytest.raises(UnpackError, match="more: the archive is larger than"):
        unpack(archive, tmp_path / "home", strict=strict, **limits)
    assert not (tmp_path / "home").exists()
    assert unpack(archive, tmp_path / "home", max_bytes=5, max_members=2) == []


def with_size(info, size):
    """The bytes of a member's header that claims this size; below 0 in base 256, as GNU tar writes it."""
    claiming = copy.copy(info)
    claiming.size = size
    return claiming.tobuf(tarfile.GNU_FORMAT)


def chain(count):
    headers = b"".join(with_size(member("x", type=tarfile.XHDTYPE)[0], 0) for _ in range(count))
    return headers + with_size(FINE[0], 0)


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"no archive" * 100, "cannot be unpacked"),
        (b"", "cannot be unpacked"),
        (with_size(member("x")[0], -1024) * 2, "larger than"),
        (with_size(member("x", type=tarfile.GNUTYPE_LONGNAME)[0], 10**11), "header claims 1000000"),
        (with_size(member("x", type=tarfile.XHDTYPE)[0], 10**11), "header claims 1000000"),
        (with_size(member("x", type=tarfile.XHDTYPE)[0], -512), "header claims -512"),
        (chain(5000), "cannot be unpacked"),
    ],
    ids=["text", "nothing", "backwards", "a name of 100 GB", "a header of 100 GB", "a negative one", "a chain"],
)
def test_bytes_that_are_no_honest_archive_are_told_in_a_sentence(tmp_path, content, sentence):
    (tmp_path / "a.tar.gz").write_bytes(gzip.compress(content))
    with pytest.raises(UnpackError, match=sentence):
        unpack(tmp_path / "a.tar.gz", tmp_path / "home")


def test_a_torn_archive_is_told(tmp_path):
    archive = packed(tmp_path / "a.tar.gz", member("x", bytes(range(256)) * 999))
    archive.write_bytes(archive.read_bytes()[:-200])
    with pytest.raises(UnpackError, match=r"a\.tar\.gz cannot be unpacked"):
        unpack(archive, tmp_path / "home")
