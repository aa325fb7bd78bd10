"""Weight files: what a stranger's may claim is refused before Keras and HDF5 read it."""

import json
import subprocess

import pytest

from tests import PROJECT
from trainer.formats import weights
from trainer.formats.archives import ArchiveError

BOARD_PYTHON = PROJECT / ".board-venv/bin/python"
SNIPPET = """
import json, os, pathlib, sys
import h5py, numpy as np
sys.path.insert(0, ".")
from trainer.formats import weights

def plain(file):
    file.create_dataset("dense/kernel", data=np.zeros((3, 4), np.float32))
    file.attrs["layer_names"] = [b"dense"]

def huge(file): file.create_dataset("dense/kernel", (2**40,), np.float32, chunks=(2**20,))
def contiguous(file): file.create_dataset("kernel", (2**40,), np.float32)
def objects(file): file.create_dataset("kernel", data=np.array(["a"], object), dtype=h5py.string_dtype())
def records(file): file.create_dataset("kernel", data=np.zeros(3, [("a", "u1")]))
def elsewhere(file): file.create_dataset("kernel", (3,), np.uint8, external=[("/etc/passwd", 0, 3)])
def named_type(file): file["kernel"] = np.dtype("f4")
def nothing(file): file.create_dataset("kernel", data=h5py.Empty("f4"))
def outside(file): file["kernel"] = h5py.ExternalLink("/etc/passwd", "/")
def soft(file): file["kernel"] = h5py.SoftLink("/")
def circle(file): file.create_group("a")["b"] = file["/"]

def virtual(file):
    layout = h5py.VirtualLayout((3,), "u1")
    layout[:] = h5py.VirtualSource("/etc/passwd", "x", (3,))
    file.create_virtual_dataset("kernel", layout)

told = {}
for make in (plain, huge, contiguous, objects, records, elsewhere, named_type, nothing, outside, soft, circle, virtual):
    path = pathlib.Path(sys.argv[1]) / (make.__name__ + ".h5")
    with h5py.File(path, "w") as file:
        make(file)
    try:
        told[make.__name__] = weights.check(path)
    except weights.ArchiveError as error:
        told[make.__name__] = str(error)
content = (pathlib.Path(sys.argv[1]) / "plain.h5").read_bytes()
torn = pathlib.Path(sys.argv[1]) / "torn.h5"
for place in range(8, len(content), 7):
    torn.write_bytes(content[:place] + bytes([content[place] ^ 0xFF]) + content[place + 1 :])
    try:
        weights.check(torn)
    except weights.ArchiveError:
        pass
print(json.dumps(told))
"""


@pytest.mark.tensorflow
def test_every_array_in_a_weight_file_is_looked_at(tmp_path):
    done = subprocess.run(
        [BOARD_PYTHON, "-c", SNIPPET, tmp_path], cwd=PROJECT, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr[-2000:]
    told = json.loads(done.stdout)
    assert told.pop("plain") is None and told.pop("nothing") is None
    assert "claims more bytes than the file has" in told["huge"] and "'kernel'" in told["huge"]
    assert all("is not an array of numbers in it" in told[name] for name in ("objects", "records", "elsewhere"))
    assert all("'kernel' is a link" in told[name] for name in ("outside", "soft"))
    assert "20 levels" in told["circle"]
    assert all(told.values()), told


def test_a_file_that_is_too_large_or_of_something_else_is_refused(tmp_path, monkeypatch):
    path = tmp_path / "weights.h5"
    path.write_bytes(b"text")
    with pytest.raises(ArchiveError, match="not a Keras weight file"):
        weights.check(path)
    monkeypatch.setattr(weights, "_MOST_BYTES", 3)
    with pytest.raises(ArchiveError, match="has 4 bytes"):
        weights.check(path)
