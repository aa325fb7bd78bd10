"""Pickles: numbers, text and numeric arrays are read, and nothing that a pickle names is called or crashes."""

import io
import json
import pickle
import resource
import subprocess
import sys

import numpy as np
import pytest

from tests import PROJECT
from tests.unit.trainer.formats import strangers
from trainer.formats import unpickle

BOARD_PYTHON = PROJECT / ".board-venv/bin/python"
# with the limit of memory that shows whether what a pickle claims is allocated
SNIPPET = """
import json, resource, sys
sys.path[:0] = ["tests/unit/trainer/formats", "."]
import strangers
from trainer.formats import unpickle
resource.setrlimit(resource.RLIMIT_AS, (int(sys.argv[1]),) * 2)
print(json.dumps(strangers.outcomes(unpickle.load)))
"""


def load(content: bytes) -> dict:
    return unpickle.load(io.BytesIO(content), len(content))


@pytest.mark.parametrize(
    "python",
    [
        sys.executable,
        pytest.param(BOARD_PYTHON, marks=pytest.mark.skipif(not BOARD_PYTHON.exists(), reason="make setup-boards")),
    ],
    ids=["controller", "board"],
)
def test_a_strangers_pickle_is_an_error_in_one_sentence_and_never_a_crash(python):
    command = [python, "-c", SNIPPET, str(2 << 30)]
    done = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr[-2000:]
    told = json.loads(done.stdout)
    for name, (_, expected) in strangers.PICKLES.items():
        if expected is None:
            assert told[name] is None, name
        else:
            assert told[name] and expected in told[name], (name, told[name])


@pytest.mark.parametrize("protocol", range(5))
@pytest.mark.parametrize("dtype", ["u1", "<i4", ">f8", "?", "f2"])
def test_arrays_are_read_as_they_were_written(protocol, dtype):
    for array in (np.arange(6).reshape(2, 3), np.arange(6).reshape(3, 2).T, np.array(3)):
        written = array.astype(dtype)
        content = pickle.dumps({b"data": written, "more": [1, 2.5, None, True, "x", b"y", (1,)]}, protocol)
        found = load(content)
        assert found[b"data"].dtype == written.dtype and np.array_equal(found[b"data"], written)
        assert found[b"more"] == [1, 2.5, None, True, "x", b"y", (1,)]


def test_python_2s_strings_and_text_are_the_same_names():
    python2 = b"\x80\x02}q\x01(U\x04dataq\x02U\x03\x00\xffaq\x03X\x04\x00\x00\x00nameq\x04K\x01u."
    assert load(python2) == {b"data": b"\x00\xffa", b"name": 1}


def test_a_pickle_of_something_else_is_no_dictionary():
    with pytest.raises(ValueError, match="not a dictionary"):
        load(pickle.dumps([1]))


def test_opcodes_are_limited(monkeypatch):
    monkeypatch.setattr(unpickle, "_MOST_OPCODES", 100)
    load(pickle.dumps({"a": list(range(50))}))
    with pytest.raises(pickle.UnpicklingError, match="more than 100 opcodes"):
        load(pickle.dumps({"a": list(range(150))}))


def test_what_is_claimed_is_not_allocated():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for content in (b"\x8e" + (1 << 33).to_bytes(8, "little") + b"x.", b"}r\xff\xff\xff\x7f."):
        try:
            load(content)
        except pickle.UnpicklingError as error:
            assert "claims 8589934592 bytes" in str(error)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100_000  # KiB
