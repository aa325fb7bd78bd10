"""The packages that dressed boards are provisioned with: packed from an environment, TensorFlow's as NVIDIA's is."""

import hashlib
import json
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from plugins.module_utils.lab_wheels import make_wheels
from tests import PROJECT

SOURCES = PROJECT / "roles/lab/files/orin/source"
TAGS = {"py3-none-any": ["py3-none-any"], "cp38-cp38-linux": ["cp38-cp38-manylinux_2_17", "cp38-cp38-manylinux2014"]}


def add(site, folder, name, version, tags, files, asks=()):
    info = site / f"{folder}-{version}.dist-info"
    info.mkdir(parents=True)
    text = [f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}", *(f"Requires-Dist: {other}" for other in asks)]
    (info / "METADATA").write_text("\n".join([*text, "", "Text\n"]))
    (info / "WHEEL").write_text("".join(["Wheel-Version: 1.0\n", *(f"Tag: {tag}\n" for tag in tags)]))
    (info / "INSTALLER").write_text("uv")
    for path in files:
        (site / path).parent.mkdir(parents=True, exist_ok=True)
        (site / path).write_text(path)
    own = [f"{info.name}/{file}" for file in ("METADATA", "WHEEL", "INSTALLER", "RECORD")]
    listed = [*files, *own, "../../../bin/program", f"{folder}/__pycache__/x.pyc"]
    (info / "RECORD").write_text("".join(f"{path},,\n" for path in listed))


@pytest.fixture
def environment(tmp_path):
    environment = tmp_path / "env"
    site = environment / "lib/python3.8/site-packages"
    add(site, "six", "six", "1.17.0", TAGS["py3-none-any"], ["six.py"])
    asks = [
        "six (>=1.12.0)",
        "jax (>=0.3.15)",
        "libclang (>=13.0.0)",
        'tensorflow-cpu-aws (==2.12.1) ; platform == "x"',
    ]
    add(site, "tensorflow_cpu", "tensorflow-cpu", "2.12.1", TAGS["cp38-cp38-linux"], ["tensorflow/__init__.py"], asks)
    (environment / "pyvenv.cfg").write_text("home = /opt/python/bin\nversion = 3.8.18\n")
    return environment


def test_tensorflow_is_named_as_nvidias_and_says_its_version_as_pip_writes_it(environment, tmp_path):
    folder = tmp_path / "cache/wheels"
    assert make_wheels(environment, SOURCES, folder) is True
    settings = json.loads((folder / "settings.json").read_text())
    assert (settings["python_env_python"], settings["python_env_python_version"]) == (
        "/opt/python/bin/python3.8",
        "3.8",
    )
    path = Path(settings["python_env_tensorflow"])
    assert path.parent == folder and path.name.startswith("tensorflow-2.12.0+nv23.05-cp38-cp38-linux_")
    info = "tensorflow-2.12.0+nv23.5.dist-info"
    with zipfile.ZipFile(path) as wheel:
        names = {"tensorflow/__init__.py", f"{info}/METADATA", f"{info}/WHEEL", f"{info}/RECORD"}
        assert set(wheel.namelist()) == names
        metadata = wheel.read(f"{info}/METADATA").decode()
        assert wheel.read(f"{info}/RECORD").decode().count(",,\n") == len(names)
    assert "\nName: tensorflow\nVersion: 2.12.0+nv23.5\n" in metadata
    assert [line for line in metadata.splitlines() if line.startswith("Requires")] == [
        "Requires-Dist: six (>=1.12.0)",
        "Requires-Dist: jax (>=0.3.15)",
    ]


def test_the_rest_is_locked_by_its_files(environment, tmp_path):
    make_wheels(environment, SOURCES, tmp_path / "wheels")
    packages = sorted((tmp_path / "wheels/packages").iterdir())
    assert [path.name for path in packages] == [
        "jax-0.4.13.tar.gz",
        "pycuda-2022.2.2.tar.gz",
        "six-1.17.0-py3-none-any.whl",
    ]
    lines = (tmp_path / "wheels/requirements.txt").read_text().replace(" \\\n   ", "").splitlines()
    names = ("jax==0.4.13", "pycuda==2022.2.2", "six==1.17.0")
    digests = [hashlib.sha256(path.read_bytes()).hexdigest() for path in packages]
    assert lines == [f"{name} --hash=sha256:{digest}" for name, digest in zip(names, digests, strict=True)]


def test_it_is_made_once_and_anew_for_another_environment(environment, tmp_path):
    folder = tmp_path / "wheels"
    assert make_wheels(environment, SOURCES, folder) is True
    before = (folder / "requirements.txt").read_text()
    assert make_wheels(environment, SOURCES, folder) is False
    site = environment / "lib/python3.8/site-packages"
    add(site, "wheel", "wheel", "0.45.1", TAGS["py3-none-any"], ["wheel/__init__.py"])
    assert make_wheels(environment, SOURCES, folder) is True
    after = (folder / "requirements.txt").read_text()
    assert before in after and "wheel==0.45.1" in after  # what is the same has the same bytes
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith("wheels-")] == []


def test_what_is_half_made_is_made_again(environment, tmp_path):
    folder = tmp_path / "wheels"
    make_wheels(environment, SOURCES, folder)
    (folder / "settings.json").unlink()
    assert make_wheels(environment, SOURCES, folder) is True


def test_an_environment_without_tensorflow_leaves_the_folder_as_it_is(environment, tmp_path):
    folder = tmp_path / "wheels"
    make_wheels(environment, SOURCES, folder)
    other = tmp_path / "other"
    (other / "lib/python3.8/site-packages").mkdir(parents=True)
    assert make_wheels(other, SOURCES, folder) is False and (folder / "settings.json").exists()


def test_pycudas_source_can_be_built_with_cuda_only(tmp_path):
    (tmp_path / "numpy.py").write_text("def get_include(): pass\n")
    (tmp_path / "setuptools.py").write_text("def setup(name, version, **more): print(name, version)\n")
    nvcc = tmp_path / "bin/nvcc"
    nvcc.parent.mkdir()
    nvcc.write_text("#!/bin/sh\n")
    nvcc.chmod(0o755)

    def build(**environment):
        return subprocess.run(
            [sys.executable, "setup.py"],
            cwd=SOURCES / "pycuda-2022.2.2",
            env={"PYTHONPATH": str(tmp_path), **environment},
            capture_output=True,
            text=True,
        )

    for lacking in ({"PATH": "/bin", "CUDA_ROOT": str(tmp_path)}, {"PATH": str(nvcc.parent)}):
        done = build(**lacking)
        assert done.returncode == 1 and "CUDA_ROOT not set, and nvcc not in path" in done.stderr
    done = build(PATH=f"{nvcc.parent}:/bin", CUDA_ROOT=str(tmp_path))
    assert done.stdout == "pycuda 2022.2.2\n", done.stderr
