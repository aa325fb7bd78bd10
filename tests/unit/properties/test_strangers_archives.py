"""Any archive: nothing is written outside the folder, nor more than the limits say, and a bundle's packer is undone."""

import gzip
import io
import os
import tarfile
import tempfile
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from analysis.publish.bundle import TOP, _pack
from analysis.runs.unpacking import UnpackError, unpack

PARTS = st.sampled_from(["a", "b", "..", ".", "", "etc", "a\x1b", "n" * 300, "\udc80"])
NAMES = st.lists(PARTS, min_size=1, max_size=4).map("/".join)
TYPES = st.sampled_from([tarfile.REGTYPE, tarfile.DIRTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE])
MEMBERS = st.lists(st.tuples(NAMES, TYPES, NAMES, st.binary(max_size=30)), max_size=5)
MAX_BYTES, MAX_MEMBERS = 60, 4


def packed(members: list[tuple[str, bytes, str, bytes]]) -> bytes:
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode="w", errors="surrogateescape") as archive:
        for name, kind, link, content in members:
            info = tarfile.TarInfo(name)
            info.type, info.linkname = kind, link
            info.size = len(content) if kind == tarfile.REGTYPE else 0
            archive.addfile(info, io.BytesIO(content))
    return gzip.compress(raw.getvalue(), 1)


def below(folder: Path) -> dict[str, bytes | None]:
    """Every file of a folder and its content; of other things none."""
    return {
        str(path.relative_to(folder)): path.read_bytes() if path.is_file() and not path.is_symlink() else None
        for path in folder.rglob("*")
        if not path.is_dir() or path.is_symlink()
    }


@given(MEMBERS, st.booleans(), st.none() | st.tuples(st.integers(0, 5000), st.integers(1, 255)))
def test_an_archive_is_unpacked_within_its_folder_and_limits_or_refused(members, strict, flip):
    with tempfile.TemporaryDirectory() as name:
        outside = Path(name)
        home = outside / "1" / "2" / "3" / "4" / "home"  # deeper than a name has parts
        home.mkdir(parents=True)
        content = bytearray(packed(members))
        if flip:
            content[flip[0] % len(content)] ^= flip[1]
        archive = outside / "archive.tar.gz"
        archive.write_bytes(content)
        refused = False
        try:
            unpack(archive, home, strict=strict, max_bytes=MAX_BYTES, max_members=MAX_MEMBERS)
        except (UnpackError, OSError):  # OSError: a file where a folder is to be
            refused = True
        found = below(home)
        assert set(below(outside)) == {"archive.tar.gz"} | {str(home.relative_to(outside) / path) for path in found}
        assert None not in found.values()
        assert sum(map(len, found.values())) <= MAX_BYTES and len(found) <= MAX_MEMBERS
        if not refused and not flip:
            plain = {(kind, content) for _, kind, _, content in members}
            assert {(tarfile.REGTYPE, content) for content in found.values()} <= plain


FILES = st.dictionaries(
    st.lists(st.sampled_from(["a", "b", "c d", "é"]), min_size=1, max_size=3).map("/".join),
    st.binary(max_size=50),
    min_size=1,
    max_size=6,
).filter(lambda files: not any(other.startswith(f"{one}/") for one in files for other in files))


@given(FILES)
def test_what_a_bundle_packs_is_unpacked_the_same_and_packed_to_the_same_bytes(files):
    with tempfile.TemporaryDirectory() as name:
        root, home = Path(name) / "bundle", Path(name) / "home"
        for path, content in files.items():
            (root / path).parent.mkdir(parents=True, exist_ok=True)
            (root / path).write_bytes(content)
        _pack(root, Path(name) / "one.tar.gz")
        for path in root.rglob("*"):
            os.utime(path, (1, 1))
        _pack(root, Path(name) / "two.tar.gz")
        assert (Path(name) / "one.tar.gz").read_bytes() == (Path(name) / "two.tar.gz").read_bytes()
        home.mkdir()
        assert unpack(Path(name) / "one.tar.gz", home) == []
        assert below(home) == {f"{TOP}/{path}": content for path, content in files.items()}
