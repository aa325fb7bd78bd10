"""Pickles that a stranger could put into an image archive, and what is said of each."""

import io
import pickle

import numpy as np

DTYPE = b"cnumpy\ndtype\n"
PLAIN_STATE = b"(K\x03C\x01|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"


def raw(content: bytes) -> bytes:
    return b"B" + len(content).to_bytes(4, "little") + content


def array(shape: bytes, content: bytes, code: bytes = b"u1", state: bytes = PLAIN_STATE) -> bytes:
    """A dictionary with one array, as NumPy pickles it, of any shape (opcodes), bytes and type."""
    kind = DTYPE + b"(C" + bytes([len(code)]) + code + b"K\x00K\x01tR" + state
    made = b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\nK\x00\x85C\x01btR"
    return b"\x80\x03}C\x04data" + made + b"(K\x01" + shape + kind + b"\x89" + raw(content) + b"tbs."


STRUCTURED = b"(K\x03C\x01|N(C\x01at}C\x01aK\x00K\x00\x86sJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"
# says that it has objects, and in its flags (the last number) that it has none: NumPy takes the raw bytes for pointers
OBJECTS = DTYPE + b"(C\x02O8K\x00K\x01tR(K\x03C\x01|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x3ftb"
HIDDEN = b"(K\x03C\x01|NX\x01\x00\x00\x00a\x85}X\x01\x00\x00\x00a" + OBJECTS + b"K\x00\x86sK\x08K\x01K\x00tb"
HUGE = b"\x8a\x09\x00\x00\x00\x00\x00\x00\x00\x00\x01\x85"  # (2**64,)

PICKLES = {
    "plain": (array(b"K\x02\x85", b"\x01\x02"), None),
    "array of objects": (
        array(b"K\x01\x85", b"\x01" * 8, b"O8", PLAIN_STATE.replace(b"K\x00tb", b"K\x3ftb")),
        "numeric",
    ),
    "objects by pickle": (pickle.dumps({b"data": np.array([{}, None], object)}, 2), "numeric"),
    "structured type": (array(b"K\x01\x85", b"\x01", state=STRUCTURED), "structured"),
    "objects as raw bytes": (array(b"K\x01\x85", b"\x41" * 8, b"V8", HIDDEN), "numeric"),
    "shape too large": (array(HUGE, b"\x01\x02"), "shape"),
    "shape below zero": (array(b"J\xff\xff\xff\xff\x85", b"\x01\x02"), "shape"),
    "shape whose product is huge": (array(b"K\x02K\x02K\x02\x87", b"\x01\x02"), "8 numbers in 2 bytes"),
    "shape of no numbers": (array(b"}\x85", b"\x01\x02"), "shape"),
    "no shape": (array(b"N", b"\x01\x02"), "shape"),
    "bytes that are a list": (array(b"K\x01\x85", b"").replace(raw(b""), b"]"), "damaged"),
    "a call": (b"cos\nsystem\nC\x04true\x85R.", "calls os.system"),
    "a call by opcodes of a class": (b"(C\x04truei" + b"os\nsystem\n.", "opcode INST"),
    "a codec": (b"c_codecs\nencode\nX\x01\x00\x00\x00aX\x03\x00\x00\x00hex\x86R.", "calls encode"),
    "a type that is no name": (DTYPE + b"}\x85R.", "damaged"),
    "state for what is called": (DTYPE + b"}b.", "damaged"),
    "state for a dictionary": (b"}}b.", "damaged"),
    "bytes it does not have": (b"\x8e" + (2**40).to_bytes(8, "little") + b"x.", "claims 1099511627776 bytes"),
    "a place in the memo": (b"}r\xff\xff\xff\x7f.", None),
    "a buffer elsewhere": (b"\x97.", "opcode NEXT_BUFFER"),
    "bytes to be changed": (b"\x96" + (2**40).to_bytes(8, "little") + b".", "claims"),
    "an object of its own": (b"P1\n.", "opcode PERSID"),
    "a number of a million digits": (b"I" + b"1" * 10**6 + b"\n.", "damaged"),
    "a key of nested tuples": (b"})" + b"\x85" * 100_000 + b"Ns.", "key"),
    "nested lists": (b"}C\x01a" + b"]" * 100_000 + b"a" * 99_999 + b"s.", None),
    "a list in itself": (b"}C\x01a]q\x01h\x01as.", None),
    "nothing": (b"", "0 are left"),
    "no end": (b"}", "0 are left"),
    "an empty stack": (b".", "damaged"),
}


def outcomes(load) -> dict:
    """What `load` (of a stream and its size) says of each pickle by name, None where it is read."""
    told = {}
    for name, (content, _) in PICKLES.items():
        try:
            load(io.BytesIO(content), len(content))
            told[name] = None
        except (pickle.UnpicklingError, ValueError) as error:
            told[name] = str(error)
    return told
