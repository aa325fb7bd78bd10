"""Prints whether this environment's TensorFlow can run NCCL, as one JSON object; runs in that environment.

Asking TensorFlow for NCCL proves nothing: a build without its kernels silently uses another collective.
"""

import ctypes
import json
import mmap
from importlib import metadata
from pathlib import Path
from typing import Optional

import tensorflow
from tensorflow.python.framework import kernels

LIBRARY = "libnccl.so.2"


def loads(library: str) -> bool:
    try:
        ctypes.CDLL(library)
    except OSError:
        return False
    return True


def contains_nccl(folder: Path) -> bool:
    """Whether a library of TensorFlow's contains NCCL, by NCCL's banner."""
    for path in folder.rglob("*.so*"):
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
            if content.find(b"NCCL version ") >= 0:
                return True
    return False


def installed(name: str) -> Optional[str]:
    """The version of a package by its name: pip's leftovers have others."""
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


registered = kernels.get_registered_kernels_for_op("NcclAllReduce").kernel
count = sum(kernel.device_type == "GPU" for kernel in registered)
libnccl = loads(LIBRARY)
capable = count > 0 and (libnccl or contains_nccl(Path(tensorflow.__file__).parent))
if count == 0:
    found = "has no GPU kernel of NcclAllReduce, so it cannot run NCCL"
elif not capable:
    found = f"has {count} GPU kernels of NcclAllReduce, but no NCCL in it, and {LIBRARY} does not load"
else:
    found = f"has {count} GPU kernels of NcclAllReduce, and NCCL {'loads' if libnccl else 'is built in'}"
names = ("tensorflow", "tensorflow-cpu", "tensorflow-cpu-aws")  # with NVIDIA's suffix: 2.12.0+nv23.5
version = next(filter(None, map(installed, names)), tensorflow.__version__)
evidence = f"TensorFlow {version} {found}"
facts = {"capable": capable, "kernels": count, "libnccl": libnccl, "tensorflow": version, "evidence": evidence}
print(json.dumps(facts))
