"""Wheels that are small, and what provisioning is told so that it takes them: no index, no download."""

from __future__ import annotations

import hashlib
import json
import platform
import re
import zipfile
from pathlib import Path
from typing import Any

import yaml

from tests import PROJECT

KERNELS = """
class Kernel:
    device_type = "GPU"
class Registered:
    kernel = [Kernel()] * 7
def get_registered_kernels_for_op(name):
    return Registered()
"""
# stands in for pycuda's own build: a wheel only where nvcc and NumPy are found
BACKEND = """
import os, shutil, zipfile
import numpy
def build_wheel(folder, settings=None, metadata=None):
    assert shutil.which("nvcc") and os.path.isdir(os.environ["CUDA_ROOT"]), "no nvcc on " + os.environ["PATH"]
    name = "pycuda-2022.2.2-py3-none-any.whl"
    with zipfile.ZipFile(os.path.join(folder, name), "w") as wheel:
        wheel.writestr("pycuda/__init__.py", "")
        info = "pycuda-2022.2.2.dist-info/"
        wheel.writestr(info + "METADATA", "Metadata-Version: 2.1\\nName: pycuda\\nVersion: 2022.2.2\\n")
        wheel.writestr(info + "WHEEL", "Wheel-Version: 1.0\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n")
        wheel.writestr(info + "RECORD", "")
    return name
"""


def write_wheel(
    folder: Path, name: str, version: str, tag: str, files: dict[str, str], *requires: str, file_version: str = ""
) -> Path:
    """`file_version` is what the file's name says, where that is not how its metadata writes it."""
    path = folder / f"{name}-{file_version or version}-{tag}.whl"
    info = f"{name}-{version}.dist-info"
    metadata = [f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}", *(f"Requires-Dist: {r}" for r in requires)]
    wheel_info = f"Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: {tag}\n"
    with zipfile.ZipFile(path, "w") as wheel:
        for file, text in files.items():
            wheel.writestr(file, text)
        wheel.writestr(f"{info}/METADATA", "\n".join(metadata) + "\n")
        wheel.writestr(f"{info}/WHEEL", wheel_info)
        wheel.writestr(f"{info}/RECORD", "")
    return path


def write_pycuda(folder: Path) -> Path:
    """Its source, which is built with CUDA and NumPy only; what it says that it needs for that cannot be fetched."""
    path = folder / "pycuda-2022.2.2.zip"
    project = "[build-system]\nrequires = ['oldest-supported-numpy']\n"
    with zipfile.ZipFile(path, "w") as source:
        source.writestr("pycuda-2022.2.2/pyproject.toml", f"{project}build-backend = 'backend'\nbackend-path = ['.']\n")
        source.writestr("pycuda-2022.2.2/backend.py", BACKEND)
        source.writestr("pycuda-2022.2.2/PKG-INFO", "Metadata-Version: 2.1\nName: pycuda\nVersion: 2022.2.2\n")
    return path


def write_requirements(path: Path, *files: Path) -> None:
    """Locks packages by their files, as `make lock` does it by an index."""
    lines = []
    for file in files:
        name, version = file.name.removesuffix(".zip").split("-")[:2]
        lines.append(f"{name}=={version} \\\n    --hash=sha256:{hashlib.sha256(file.read_bytes()).hexdigest()}\n")
    path.write_text("".join(lines))


def lab_variables() -> dict[str, Any]:
    """What inventory/lab sets for the provisioning of dressed boards, after lab_up."""
    of_the_lab = yaml.safe_load((PROJECT / "inventory/lab/group_vars/boards.yml").read_text())
    packages = json.loads((PROJECT / ".cache/board-wheels/settings.json").read_text())
    return {
        **{name: value for name, value in of_the_lab.items() if name.startswith("jetpack_")},
        **{name: value for name, value in packages.items() if name.startswith("python_env_")},
        "run_config_experiment": "rehearsal",
    }


def provisioning_variables(folder: Path, environment: str) -> dict[str, Any]:
    """Writes wheels: TensorFlow's with kernels, pycuda's source, two versions of numpy.

    Returns the settings of dressed boards that make an environment of them at this path of the boards.
    """
    config = dict(re.findall(r"^(\w+) *= *(.*)$", (PROJECT / ".board-venv/pyvenv.cfg").read_text(), re.MULTILINE))
    python = ".".join(config["version_info"].split(".")[:2])
    wheels, release = folder / "wheels", folder / "release"
    for path in (wheels, release):
        path.mkdir()
    abi = f"cp{python.replace('.', '')}"
    files = {
        "tensorflow/__init__.py": "__version__ = '2.12.0'\n",
        "tensorflow/python/framework/kernels.py": KERNELS,
        "tensorflow/libtensorflow_framework.so.2": "...NCCL version 2.18.1+cuda11.4...",
    }
    tag = f"{abi}-{abi}-linux_{platform.machine()}"
    asks = ("numpy<1.25,>=1.22",)
    wheel = write_wheel(release, "tensorflow", "2.12.0+nv23.5", tag, files, *asks, file_version="2.12.0+nv23.05")
    numpy, _ = (
        write_wheel(wheels, "numpy", version, "py3-none-any", {"numpy/__init__.py": f"__version__ = '{version}'\n"})
        for version in ("1.23.5", "1.24.3")
    )
    pycuda = write_pycuda(wheels)
    write_requirements(folder / "requirements.txt", numpy, pycuda)
    return {
        **lab_variables(),
        "kit_venv": environment,
        "python_env_python": f"{config['home']}/python{python}",
        "python_env_python_version": python,
        "python_env_tensorflow": str(wheel),
        "python_env_wheels": str(wheels),
        "python_env_requirements": str(folder / "requirements.txt"),
        "python_env_pins": {"NumPy": "1.23.5"},
    }
