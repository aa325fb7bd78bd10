"""NumPy's archives: numeric arrays are read, and a header claims no more than the archive has."""

import io
import zipfile

import numpy as np
import pytest

from trainer.contract.checkpoints import is_whole
from trainer.formats import npz
from trainer.formats.npz import NpzError

MOST = 1 << 20


def header(descr="'|u1'", shape="(4,)", fortran="False", content=b"abcd", version=b"\x01\x00") -> bytes:
    text = f"{{'descr': {descr}, 'fortran_order': {fortran}, 'shape': {shape}, }}\n".encode()
    width = 2 if version == b"\x01\x00" else 4
    return b"\x93NUMPY" + version + len(text).to_bytes(width, "little") + text + content


def archive(tmp_path, content: bytes, compression=zipfile.ZIP_STORED):
    path = tmp_path / "own.npz"
    with zipfile.ZipFile(path, "w", compression) as file:
        file.writestr("a.npy", content)
    return path


@pytest.mark.parametrize("dtype", ["u1", "<i8", ">f4", "?", "f2"])
@pytest.mark.parametrize("write", [np.savez, np.savez_compressed])
def test_arrays_are_read_as_they_were_written(tmp_path, dtype, write):
    arrays = {
        "rows": np.arange(6).reshape(2, 3).astype(dtype),
        "columns": np.arange(6).reshape(3, 2).T.astype(dtype, order="K"),
        "scalar": np.array(1).astype(dtype),
        "empty": np.zeros((0, 3)).astype(dtype),
    }
    write(tmp_path / "own.npz", **arrays)
    found = npz.read(tmp_path / "own.npz", MOST)
    assert list(found) == list(arrays)
    for name, array in arrays.items():
        assert found[name].dtype == array.dtype and np.array_equal(found[name], array)


def test_later_versions_of_the_header_are_read(tmp_path):
    for version in (b"\x02\x00", b"\x03\x00"):
        path = archive(tmp_path, header(version=version))
        assert npz.read(path, MOST)["a"].tobytes() == b"abcd"


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (header("'|O'", content=b"A" * 8), "not an array of numbers"),
        (header("[('a', '|u1')]"), "not an array of numbers"),
        (header("'<U1'"), "not an array of numbers"),
        (header(shape="(10**12,)"), "not an array of numbers"),
        (header(shape="(-1,)"), "not an array of numbers"),
        (header(shape="(" * 5000 + ")" * 5000), "not an array of numbers"),
        (header(shape=f"({10**12},)"), "claims the shape"),
        (header(shape=f"({10**12}, {10**12}, {10**12}, 0)"), "claims the shape"),
        (header(shape=f"({'1, ' * 40}4)"), "claims the shape"),
        (header(shape="(3,)"), "claims the shape"),
        (header("'<f8'"), "claims the shape"),
        (b"", "not an array of NumPy's"),
        (b"\x93NUMPY\x01\x00\x01", "not an array of numbers"),
        (b"\x93NUMPY\x02\x00\xff\xff\xff\xff{", "not an array of numbers"),
    ],
)
def test_a_header_that_claims_something_else_is_refused_before_anything_is_made(tmp_path, content, says):
    with pytest.raises(NpzError, match=says):
        npz.read(archive(tmp_path, content), MOST)


def test_what_is_missing_is_named(tmp_path):
    with pytest.raises(NpzError, match="it lacks b"):
        npz.read(archive(tmp_path, header()), MOST, ("a", "b"))


def test_a_bomb_is_refused_unopened(tmp_path):
    path = archive(tmp_path, header(shape=f"({MOST},)", content=bytes(MOST)), zipfile.ZIP_DEFLATED)
    assert path.stat().st_size < MOST // 100
    with pytest.raises(NpzError, match="more than 1048576 bytes"):
        npz.read(path, MOST)
    assert not is_whole(path)


def test_another_compression_is_refused(tmp_path):
    with pytest.raises(NpzError, match="another way"):
        npz.read(archive(tmp_path, header(), zipfile.ZIP_LZMA), MOST)


def test_a_member_that_is_shorter_than_the_archive_says_is_refused(tmp_path):
    content = bytearray(archive(tmp_path, header()).read_bytes())
    directory = content.index(b"PK\x01\x02")
    content[directory + 24 : directory + 28] = (len(header()) + 4).to_bytes(4, "little")  # its size, unpacked
    path = tmp_path / "short.npz"
    path.write_bytes(content.replace(b"(4,)", b"(8,)"))
    with pytest.raises((NpzError, zipfile.BadZipFile, EOFError)):
        npz.read(path, MOST)


def test_members_that_share_their_bytes_are_no_whole_archive(tmp_path):
    """Many entries for the same bytes: a bomb without compression."""
    path = archive(tmp_path, header(shape="(100000,)", content=bytes(100_000)))
    assert is_whole(path)
    content = path.read_bytes()
    start, end = content.index(b"PK\x01\x02"), content.rindex(b"PK\x05\x06")
    entry, tail = content[start:end], bytearray(content[end:])
    entries = b"".join(entry.replace(b"a.npy", b"%05d" % place) for place in range(50))
    tail[8:12], tail[12:16] = (50).to_bytes(2, "little") * 2, len(entries).to_bytes(4, "little")
    path.write_bytes(content[:start] + entries + tail)
    assert len(zipfile.ZipFile(io.BytesIO(path.read_bytes())).namelist()) == 50
    assert not is_whole(path)
