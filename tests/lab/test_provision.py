"""Provisioning of JetPack and the Python environment, on emulated boards that look like factory-new Orins."""

from __future__ import annotations

import hashlib
import json
import platform
import re
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import pytest
import yaml
from conftest import PROJECT, Lab, require_root

if TYPE_CHECKING:
    from conftest import Outcome

pytestmark = [pytest.mark.lab, pytest.mark.tensorflow]

BOARDS = ("board-1", "board-2")
SOFTWARE = "jetpack,python_env,nccl"
RELEASE = "/etc/nv_tegra_release"
KERNELS = """
class Kernel:
    device_type = "GPU"
class Registered:
    kernel = [Kernel()] * 7
def get_registered_kernels_for_op(name):
    return Registered()
"""
# stands in for pycuda's own build: a wheel only where nvcc is found
BACKEND = """
import os, shutil, zipfile
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


def write_wheel(folder: Path, name: str, version: str, tag: str, files: dict[str, str], *requires: str) -> Path:
    path = folder / f"{name}-{version}-{tag}.whl"
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


@dataclass
class Provisioning:
    """The playbook on a lab's boards, with wheels that are small and no index."""

    lab: Lab
    variables: dict[str, Any]

    def run(self, *arguments: str, tags: str = SOFTWARE, **variables: object) -> Outcome:
        extra = json.dumps({**self.variables, **variables})
        return self.lab.ansible("ansible-playbook", "playbooks/provision.yml", "--tags", tags, "-e", extra, *arguments)

    def files(self) -> dict[str, tuple[int, str]]:
        """What the boards have of their own: mode and content of every file, but for logs and caches of Ansible's."""
        found = {}
        for board in BOARDS:
            upper = self.lab.folder / "boards" / board / "upper"
            for path in upper.rglob("*"):
                name = str(path.relative_to(upper))
                if not re.match(r"(var/log|home/board/[.]ansible|root/[.]ansible|var/lib/sudo|run)(/|$)", name):
                    content = hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else ""
                    found[f"{board}:{name}"] = (path.lstat().st_mode, content)
        return found


def changed(outcome: Outcome) -> dict[str, int]:
    """Changed tasks by board, from the recap."""
    recap = re.findall(r"^(board-\d+) .* changed=(\d+) ", outcome.output, re.MULTILINE)
    return {board: int(count) for board, count in recap}


def unchanged(outcome: Outcome) -> bool:
    return outcome.ok and changed(outcome) == dict.fromkeys(BOARDS, 0)


@pytest.fixture(scope="module")
def provisioning(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Provisioning]:
    """Two dressed boards, and wheels for them: TensorFlow's with kernels, pycuda's source, two versions of numpy."""
    require_root()
    config = re.findall(r"^(\w+) *= *(.*)$", (PROJECT / ".board-venv/pyvenv.cfg").read_text(), re.MULTILINE)
    home, python = dict(config)["home"], ".".join(dict(config)["version_info"].split(".")[:2])
    wheels = tmp_path_factory.mktemp("wheels")
    release = wheels.parent / "release"
    release.mkdir(exist_ok=True)
    abi = f"cp{python.replace('.', '')}"
    files = {
        "tensorflow/__init__.py": "__version__ = '2.12.0'\n",
        "tensorflow/python/framework/kernels.py": KERNELS,
        "tensorflow/libtensorflow_framework.so.2": "...NCCL version 2.18.1+cuda11.4...",
    }
    tag = f"{abi}-{abi}-linux_{platform.machine()}"
    wheel = write_wheel(release, "tensorflow", "2.12.0+nv23.05", tag, files, "numpy<1.25,>=1.22")
    for version in ("1.23.5", "1.24.3"):
        write_wheel(wheels, "numpy", version, "py3-none-any", {"numpy/__init__.py": ""})
    with zipfile.ZipFile(wheels / "pycuda-2022.2.2.zip", "w") as source:
        project = "[build-system]\nrequires = []\nbuild-backend = 'backend'\nbackend-path = ['.']\n"
        source.writestr("pycuda-2022.2.2/pyproject.toml", project)
        source.writestr("pycuda-2022.2.2/backend.py", BACKEND)
        source.writestr("pycuda-2022.2.2/PKG-INFO", "Metadata-Version: 2.1\nName: pycuda\nVersion: 2022.2.2\n")
    lab = Lab(tmp_path_factory.mktemp("provision_lab"), 30, 2, PROJECT / ".board-venv")
    try:
        started = lab.up(lab_dress="orin")
        assert started.ok, started.output
        defaults = yaml.safe_load((PROJECT / "roles/python_env/defaults/main.yml").read_text())
        variables = {
            "jetpack_apt_address": "file:/opt",
            "jetpack_apt_parts": ["nvidia-repo"],
            "jetpack_apt_options": "[trusted=yes]",
            "python_env_path": "/home/board/venv",
            "python_env_python": f"{home}/python{python}",
            "python_env_python_version": python,
            "python_env_tensorflow": str(wheel),
            "python_env_wheels": str(wheels),
            "python_env_tools": [],
            # the role's own, which inventory/lab leaves out
            **{f"python_env_{name}": defaults[f"python_env_{name}"] for name in ("pycuda", "pins")},
            "nccl_python": "/home/board/venv/bin/python",
        }
        yield Provisioning(lab, variables)
    finally:
        ended = lab.down()
    assert ended.ok, ended.output


class TestFresh:
    """In this order: boards as they come from the factory, then provisioned ones."""

    def test_a_preview_changes_nothing(self, provisioning: Provisioning) -> None:
        before = provisioning.files()
        outcome = provisioning.run("--check", "--diff")
        assert outcome.ok, outcome.output
        assert provisioning.files() == before
        for words in ("apt would install nvidia-jetpack=5.1.1-b56", "/home/board/venv would be changed: there is none"):
            assert outcome.output.count(words) == 2, outcome.output

    def test_other_releases_are_refused_by_name(self, provisioning: Provisioning) -> None:
        lab = provisioning.lab
        right = lab.ssh(1, f"cat {RELEASE}", user="root")
        for board, release in ((1, "R32 (release), REVISION: 7.1"), (2, "R36 (release), REVISION: 4.0")):
            lab.ssh(board, f"echo '# {release}, GCID: 1, BOARD: generic, EABI: aarch64' > {RELEASE}", user="root")
        try:
            before = provisioning.files()
            outcome = provisioning.run()
            assert not outcome.ok and provisioning.files() == before
        finally:
            for board in (1, 2):
                lab.ssh(board, f"echo '{right}' > {RELEASE}", user="root")
        said = " ".join(outcome.output.split())
        assert "board-1 has Jetson Linux R32.7.1; wanted is R35.3.1: flash JetPack 5.1.1" in said, outcome.output
        assert "board-2 has Jetson Linux R36.4.0; wanted is R35.3.1: flash JetPack 5.1.1" in said, outcome.output

    def test_the_package_tells_the_release_too(self, provisioning: Provisioning) -> None:
        lab = provisioning.lab
        lab.ssh(1, f"mv {RELEASE} {RELEASE}.away", user="root")
        try:
            outcome = provisioning.run("--check", "--limit", "board-1", tags="jetpack")
        finally:
            lab.ssh(1, f"mv {RELEASE}.away {RELEASE}", user="root")
        assert outcome.ok, outcome.output

    def test_a_wheel_with_another_checksum_is_refused(self, provisioning: Provisioning) -> None:
        outcome = provisioning.run(tags="python_env", python_env_tensorflow_sha256="0" * 64)
        assert not outcome.ok and "another file" in outcome.output, outcome.output
        for board in BOARDS:
            assert f"fatal: [{board}]" in outcome.output
        assert "No such file" in provisioning.lab.ssh(1, "ls /home/board/venv")

    def test_wrong_settings_are_refused_with_value_and_remedy(self, provisioning: Provisioning) -> None:
        for setting, value in (
            ("python_env_tensorflow", "/no/where.whl"),
            ("python_env_pycuda", "pycuda>2022"),
        ):
            outcome = provisioning.run("--limit", "board-1", tags="python_env", **{setting: value})
            assert not outcome.ok and value in outcome.output and setting in outcome.output, outcome.output

    def test_fresh_boards_are_provisioned(self, provisioning: Provisioning) -> None:
        outcome = provisioning.run()
        assert outcome.ok, outcome.output
        for board in (1, 2):
            python = "/home/board/venv/bin/python"
            wanted = "tensorflow==2.12.0+nv23.05 pycuda==2022.2.2 numpy==1.23.5"
            names = ("tensorflow", "pycuda", "numpy")
            script = f"from importlib import metadata as m; print(*(f'{{n}}=={{m.version(n)}}' for n in {names}))"
            assert provisioning.lab.ssh(board, f'{python} -c "{script}"') == wanted
            assert provisioning.lab.ssh(board, "stat -c %U /home/board/venv/bin/python") == "board"
            installed = "dpkg-query --show --showformat='${Version}' nvidia-jetpack"
            assert provisioning.lab.ssh(board, installed) == "5.1.1-b56"
            path = provisioning.lab.ssh(board, "grep ^PATH= /etc/environment")
            assert path.startswith('PATH="/usr/local/cuda-11.4/bin:/'), path
            assert provisioning.lab.ssh(board, "ls /opt/cluster-kit").split() == ["nccl.json", "venv"]

    def test_a_second_run_changes_nothing(self, provisioning: Provisioning) -> None:
        outcome = provisioning.run()
        assert unchanged(outcome), outcome.output

    def test_a_changed_environment_is_put_right(self, provisioning: Provisioning) -> None:
        provisioning.lab.ssh(1, "rm -r /home/board/venv/lib/python*/site-packages/pycuda*")
        outcome = provisioning.run(tags="python_env")
        assert outcome.ok and changed(outcome)["board-2"] == 0 < changed(outcome)["board-1"], outcome.output

    def test_another_python_is_not_overwritten(self, provisioning: Provisioning) -> None:
        outcome = provisioning.run(tags="python_env", python_env_python_version="3.7")
        assert not outcome.ok and ", not 3.7" in outcome.output, outcome.output
        assert "remove that folder" in outcome.output


class TestMountedEnvironment:
    """The lab's own environment, which is read-only."""

    SETTINGS: ClassVar[dict[str, Any]] = {
        "python_env_path": "/opt/cluster-kit/venv",
        "python_env_tensorflow": "tensorflow-cpu==2.12.1",
        "python_env_pycuda": "",
        "python_env_pins": {},
        "python_env_wheels": "",
    }

    def test_one_that_fits_is_left_alone(self, provisioning: Provisioning) -> None:
        assert unchanged(provisioning.run(tags="python_env", **self.SETTINGS))

    def test_one_that_does_not_fit_is_refused(self, provisioning: Provisioning) -> None:
        outcome = provisioning.run(tags="python_env", **{**self.SETTINGS, "python_env_pycuda": "pycuda==2022.2.2"})
        said = " ".join(outcome.output.split())
        assert not outcome.ok and "pycuda is missing, not 2022.2.2), and is mounted read-only" in said, outcome.output


class TestNccl:
    def test_kernels_and_a_library_are_capable(self, provisioning: Provisioning) -> None:
        found = json.loads(provisioning.lab.ssh(1, "cat /opt/cluster-kit/nccl.json"))
        assert (found["capable"], found["kernels"], found["tensorflow"]) == (True, 7, "2.12.0+nv23.05")
        assert "7 GPU kernels of NcclAllReduce" in found["evidence"]

    def test_kernels_alone_are_not(self, provisioning: Provisioning) -> None:
        library = "/home/board/venv/lib/python*/site-packages/tensorflow/libtensorflow_framework.so.2"
        provisioning.lab.ssh(2, f"echo nothing > $(echo {library})")
        assert provisioning.run(tags="nccl").ok
        found = json.loads(provisioning.lab.ssh(2, "cat /opt/cluster-kit/nccl.json"))
        assert found["capable"] is False and "does not load" in found["evidence"]

    def test_nor_is_a_build_without(self, provisioning: Provisioning) -> None:
        outcome = provisioning.run(tags="nccl", nccl_python="/opt/cluster-kit/venv/bin/python")
        assert outcome.ok, outcome.output
        found = json.loads(provisioning.lab.ssh(1, "cat /opt/cluster-kit/nccl.json"))
        assert (found["capable"], found["kernels"], found["tensorflow"]) == (False, 0, "2.12.1")

    def test_no_tensorflow_is_an_error_with_a_remedy(self, provisioning: Provisioning) -> None:
        outcome = provisioning.run(tags="nccl", nccl_python="/usr/bin/python3")
        assert not outcome.ok and "cannot import TensorFlow" in outcome.output, outcome.output
