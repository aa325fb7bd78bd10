"""Image archives: the true format, the generated one, and what is wrong with others."""

import gzip
import io
import pickle
import tarfile

import numpy as np
import pytest

from controller import synthetic
from tests.unit.trainer.formats import strangers
from trainer.formats import archives
from trainer.formats.archives import ArchiveError, load


@pytest.fixture(scope="module")
def generated(tmp_path_factory):
    path = tmp_path_factory.mktemp("archives") / "synthetic.tar.gz"
    synthetic.write_archive(path, 400, 100)
    return path


def npz(path, **changes):
    arrays = {
        "x_train": np.zeros((4, 8, 8, 3), np.uint8),
        "y_train": np.array([0, 1, 2, 0]),
        "x_test": np.zeros((2, 8, 8, 3), np.uint8),
        "y_test": np.array([[1], [2]]),
    }
    arrays.update(changes)
    np.savez(path, **{name: array for name, array in arrays.items() if array is not None})
    return path


def test_the_generated_set_has_twenty_balanced_classes_of_a_hundred_and_says_so(generated):
    images = load("synthetic", generated, None, None)
    assert images.x_train.shape == (400, 32, 32, 3) and images.x_train.dtype == np.uint8
    assert images.classes == 100 and images.synthetic, "the model is the paper's"
    assert np.bincount(images.y_train).tolist() == [20] * 20 and np.bincount(images.y_test).tolist() == [5] * 20


def test_the_generated_set_is_the_same_every_time(generated, tmp_path):
    synthetic.write_archive(tmp_path / "again.tar.gz", 400, 100)
    assert archives.sha256(tmp_path / "again.tar.gz") == archives.sha256(generated)


def test_the_generated_set_has_the_official_layout(generated):
    with tarfile.open(generated) as archive:
        assert archive.getnames() == [f"cifar-100-python/{name}" for name in ("meta", "test", "train")]
        train = pickle.loads(archive.extractfile("cifar-100-python/train").read(), encoding="bytes")
        raw = archive.extractfile("cifar-100-python/train").read()
    assert set(train) == {b"batch_label", b"data", b"fine_labels", b"coarse_labels", b"filenames"}
    assert train[b"data"].shape == (400, 3072)
    assert b"numpy._core" not in raw  # older NumPy, such as the boards', could not load it


def test_only_so_many_images_are_taken(generated):
    images = load("cifar100", generated, 10, 5)
    assert (len(images.x_train), len(images.y_train), len(images.x_test)) == (10, 10, 5)


def test_more_images_than_there_are_is_an_error(generated):
    with pytest.raises(ArchiveError, match=r"data\.train_images is 401, but .* has 400"):
        load("cifar100", generated, 401, None)


def test_a_missing_archive_is_named(tmp_path):
    with pytest.raises(ArchiveError, match=r"no\.npz does not exist: give the path"):
        load("npz", tmp_path / "no.npz", None, None)


@pytest.mark.parametrize("keep", [0, 50, 5000])
def test_a_torn_archive_is_corrupt(generated, tmp_path, keep):
    path = tmp_path / "torn.tar.gz"
    path.write_bytes(generated.read_bytes()[:keep])
    with pytest.raises(ArchiveError, match=r"torn\.tar\.gz is (corrupt|not CIFAR-100)"):
        load("cifar100", path, None, None)


def test_an_archive_of_something_else_is_refused(tmp_path):
    path = tmp_path / "other.tar.gz"
    with tarfile.open(path, "w:gz") as archive:
        archive.addfile(tarfile.TarInfo("README"), io.BytesIO())
    with pytest.raises(ArchiveError, match=r"is not CIFAR-100's python archive: .*lacks"):
        load("cifar100", path, None, None)


def test_an_archive_that_wants_to_run_code_is_refused(generated, tmp_path):
    class Evil:
        def __reduce__(self):
            return (print, ("you should not read this",))

    path = tmp_path / "evil.tar.gz"
    with tarfile.open(path, "w:gz") as archive:
        content = pickle.dumps(Evil(), protocol=2)
        member = tarfile.TarInfo("cifar-100-python/train")
        member.size = len(content)
        archive.addfile(member, io.BytesIO(content))
    with pytest.raises(ArchiveError, match="it calls"):
        load("cifar100", path, None, None)


def test_links_in_an_archive_are_not_followed(generated, tmp_path):
    path = tmp_path / "linked.tar.gz"
    with tarfile.open(generated) as whole, tarfile.open(path, "w:gz") as archive:
        for member in whole:
            content = whole.extractfile(member)
            if member.name.endswith("/train"):
                member.name = "elsewhere"
                link = tarfile.TarInfo("cifar-100-python/train")
                link.type, link.linkname = tarfile.LNKTYPE, "elsewhere"
            archive.addfile(member, content)
        archive.addfile(link)
    with pytest.raises(ArchiveError, match="it lacks cifar-100-python/train"):
        load("cifar100", path, None, None)


@pytest.mark.parametrize(
    "contents",
    [
        {"train": [1], "test": [1], "meta": [1]},
        {"train": {b"data": 1, b"fine_labels": [1]}, "test": {}, "meta": {}},
        {"meta": {b"fine_label_names": []}},
        {"meta": {b"fine_label_names": [3]}},
    ],
)
def test_an_archive_with_other_contents_is_told(generated, tmp_path, contents):
    path = tmp_path / "other.tar.gz"
    with tarfile.open(generated) as original, tarfile.open(path, "w:gz") as archive:
        for member in original.getmembers():
            name = member.name.rpartition("/")[2]
            content = pickle.dumps(contents[name]) if name in contents else original.extractfile(member).read()
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    with pytest.raises(ArchiveError, match="is not CIFAR-100's python archive: "):
        load("cifar100", path, None, None)


def repacked(generated, path, **members):
    """The archive with other bytes in some of its members; a callable gets the pickled object of it."""
    with tarfile.open(generated) as original, tarfile.open(path, "w:gz", compresslevel=1) as archive:
        for member in original.getmembers():
            content = original.extractfile(member).read()
            change = members.get(member.name.rpartition("/")[2])
            if callable(change):
                content = pickle.dumps(change(pickle.loads(content, encoding="bytes")), 2)
            elif change is not None:
                content = change
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return path


@pytest.mark.parametrize("encoding", ["bytes", "latin1"])
def test_names_may_be_bytes_or_text(generated, tmp_path, encoding):
    """As Python 2 wrote the original, and as Python 3 writes it again after it was read with either encoding."""

    def again(content):
        text = encoding == "latin1"
        return {key.decode() if text else key: value for key, value in content.items()}

    path = repacked(generated, tmp_path / "again.tar.gz", train=again, test=again, meta=again)
    expected, found = load("cifar100", generated, None, None), load("cifar100", path, None, None)
    assert np.array_equal(found.x_train, expected.x_train) and np.array_equal(found.y_test, expected.y_test)
    assert found.classes == 100 and found.synthetic


def python2(content):
    """A pickle of protocol 2 as Python 2 writes it: its strings are those of BINSTRING."""

    def string(text):
        return b"T" + len(text).to_bytes(4, "little") + text

    if isinstance(content, dict):
        return b"}(" + b"".join(string(key) + python2(value) for key, value in content.items()) + b"u"
    if isinstance(content, list):
        return b"](" + b"".join(map(python2, content)) + b"e"
    if isinstance(content, np.ndarray):
        kind = b"cnumpy\ndtype\n(U\x02u1K\x00K\x01tR(K\x03U\x01|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"
        shape = b"".join(b"J" + length.to_bytes(4, "little") for length in content.shape) + b"\x86"
        made = b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(K\x00tU\x01btR"
        return made + b"(K\x01" + shape + kind + b"\x89" + string(content.tobytes()) + b"tb"
    return string(content) if isinstance(content, bytes) else b"J" + content.to_bytes(4, "little")


def test_the_original_archive_is_of_python_2(generated, tmp_path):
    parts = {}
    with tarfile.open(generated) as archive:
        for name in ("train", "test", "meta"):
            content = pickle.loads(archive.extractfile(f"{archives.FOLDER}/{name}").read(), encoding="bytes")
            parts[name] = b"\x80\x02" + python2(content) + b"."
    found = load("cifar100", repacked(generated, tmp_path / "python2.tar.gz", **parts), None, None)
    assert np.array_equal(found.x_train, load("cifar100", generated, None, None).x_train)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({b"fine_labels": [100] * 400}, "class numbers from 0 to 99"),
        ({b"fine_labels": [-1] * 400}, "class numbers from 0 to 99"),
        ({b"fine_labels": [10**30] * 400}, "class numbers from 0 to 99"),
        ({b"fine_labels": [0.5] * 400}, "class numbers from 0 to 99"),
        ({b"fine_labels": []}, "class numbers from 0 to 99"),
        ({b"fine_labels": [0] * 399}, r"expected uint8 \(399, 3072\)"),
        ({b"data": np.zeros((400, 3072), np.float32)}, r"float32 of shape \(400, 3072\)"),
        ({b"data": np.zeros((400, 3, 32, 32), np.uint8)}, r"shape \(400, 3, 32, 32\)"),
        ({b"data": [0]}, "data of train is no array"),
        ({b"data": np.array([None], object)}, "not numeric"),
    ],
)
def test_labels_and_shapes_are_checked(generated, tmp_path, change, says):
    path = repacked(generated, tmp_path / "odd.tar.gz", train=lambda content: {**content, **change})
    with pytest.raises(ArchiveError, match=says):
        load("cifar100", path, None, None)


def test_an_array_of_objects_ends_in_a_sentence(generated, tmp_path):
    hostile = strangers.PICKLES["objects as raw bytes"][0]
    with pytest.raises(ArchiveError, match="type V8, which is not numeric"):
        load("cifar100", repacked(generated, tmp_path / "objects.tar.gz", train=hostile), None, None)


@pytest.mark.parametrize("kind", [tarfile.XHDTYPE, tarfile.GNUTYPE_LONGNAME, tarfile.REGTYPE])
def test_a_member_that_claims_gigabytes_is_refused(tmp_path, kind):
    member = tarfile.TarInfo("cifar-100-python/train")
    member.type, member.size = kind, 8 << 30
    path = tmp_path / "claims.tar.gz"
    path.write_bytes(gzip.compress(member.tobuf() + bytes(10_000)))
    with pytest.raises(ArchiveError, match=r"is corrupt"):
        load("cifar100", path, None, None)


def test_a_bomb_and_a_second_member_are_refused(generated, tmp_path, monkeypatch):
    with tarfile.open(generated) as original:
        meta = original.extractfile("cifar-100-python/meta").read()
    path = tmp_path / "bomb.tar.gz"
    with tarfile.open(path, "w:gz") as archive:
        for name, content in (("meta", meta), ("zeros", bytes(10**7)), ("meta", meta)):
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    with pytest.raises(ArchiveError, match="it has meta twice"):
        load("cifar100", path, None, None)
    monkeypatch.setattr(archives, "_SMALL_BYTES", 10**6)
    with pytest.raises(ArchiveError, match="it claims to continue at byte"):
        load("cifar100", path, None, None)


def test_a_class_number_that_no_data_set_has_is_refused(tmp_path):
    with pytest.raises(ArchiveError, match="give classes below 100000"):
        load("npz", npz(tmp_path / "own.npz", y_train=np.array([0, 1, 2, 2**31])), None, None)


def test_a_single_array_is_no_numpy_archive(tmp_path):
    np.save(tmp_path / "own.npy", np.zeros(3))
    with pytest.raises(ArchiveError, match="is not a NumPy archive"):
        load("npz", tmp_path / "own.npy", None, None)


def test_a_numpy_archive_is_read(tmp_path):
    images = load("npz", npz(tmp_path / "own.npz"), None, None)
    assert images.classes == 3 and not images.synthetic
    assert images.y_test.tolist() == [1, 2] and images.y_test.dtype == np.int32


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"y_test": None}, "y_test"),
        ({"x_train": np.zeros((4, 8, 8, 3), np.float32)}, "x_train is float32"),
        ({"x_train": np.zeros((4, 8, 8), np.uint8)}, r"shape \(4, 8, 8\)"),
        ({"y_train": np.array([0, 1])}, "expected 4 class numbers"),
        ({"y_train": np.array([0, 1, 2, -1])}, "class numbers from 0"),
        ({"x_test": np.zeros((2, 9, 9, 3), np.uint8)}, "differ in size"),
    ],
)
def test_a_numpy_archive_of_another_shape_is_refused(tmp_path, changes, says):
    with pytest.raises(ArchiveError, match=says):
        load("npz", npz(tmp_path / "own.npz", **changes), None, None)


def test_a_damaged_numpy_archive_is_corrupt(tmp_path):
    path = npz(tmp_path / "own.npz")
    path.write_bytes(path.read_bytes()[:300])
    with pytest.raises(ArchiveError, match="corrupt"):
        load("npz", path, None, None)
    path.write_bytes(gzip.compress(b"x"))
    with pytest.raises(ArchiveError, match=r"corrupt|is not"):
        load("npz", path, None, None)
