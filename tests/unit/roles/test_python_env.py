"""The boards' environment: what is to be in it, what settings are refused, and how one is put right."""

import getpass
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import ClassVar

import pytest
import yaml

from controller import requirements_file
from tests import PROJECT
from tests.lab.wheels import write_pycuda, write_requirements, write_wheel
from tests.slow_site import slow_site
from trainer.contract import packages, releases

ANSIBLE = Path(sys.executable).with_name("ansible-playbook")
DEFAULTS = yaml.safe_load((PROJECT / "roles/python_env/defaults/main.yml").read_text())
HASH = f"--hash=sha256:{'0' * 64}"
WHEEL = "tensorflow-2.12.0+nv23.05-cp38-cp38-linux_aarch64.whl"
SETTINGS = {
    "requirements": "requirements/own.txt",
    "python_version": "3.8",
    "machine": "aarch64",
    "tensorflow": f"https://example/{WHEEL}",
    "wheel": WHEEL,
    "pycuda": "pycuda==2022.2.2",
    "pins": {},
}
LOCK = f"""\
# made by hand
NumPy==1.23.5 \\
    {HASH} \\
    {HASH}  # twice
pycuda==2022.2.2 {HASH}
ruamel.yaml==0.18.5 {HASH}
wheel==0.43.0 {HASH}
"""


def plan(text=LOCK, **settings):
    return requirements_file.plan(text, {**SETTINGS, **settings})


def problems(text=LOCK, **settings):
    return plan(text, **settings)["problems"]


def found(python="3.8.10", **packages):
    return {"python": python, "packages": {name.replace("_", "-"): version for name, version in packages.items()}}


class TestPlan:
    def test_what_is_wanted_is_the_files_and_the_wheels_own(self):
        planned = plan()
        assert planned["problems"] == []
        assert planned["packages"] == {
            "numpy": "1.23.5",
            "pycuda": "2022.2.2",
            "ruamel-yaml": "0.18.5",
            "wheel": "0.43.0",
            "tensorflow": "2.12.0+nv23.5",
        }
        assert planned["wheel"] == "tensorflow"

    def test_what_is_lacking_is_installed_and_what_others_are_built_with_first(self):
        parts = requirements_file.parts(LOCK, ["pycuda", "numpy", "wheel", "tensorflow"], SETTINGS)
        assert parts["first"].split() == ["wheel==0.43.0", HASH, "NumPy==1.23.5", HASH, HASH]
        assert parts["all"].splitlines()[1:] == [f"pycuda==2022.2.2 {HASH}", f"wheel==0.43.0 {HASH}"]
        assert requirements_file.parts(LOCK, ["tensorflow"], SETTINGS) == {"first": "", "all": ""}

    def test_without_pycuda_it_is_left_out(self):
        planned = plan(pycuda="")
        assert planned["problems"] == [] and "pycuda" not in planned["packages"]

    @pytest.mark.parametrize(
        ("line", "says"),
        [
            ("scipy==1.10.1", "lines without --hash: scipy==1.10.1;"),
            (f"scipy>=1.10 {HASH}", "no NAME==VERSION: scipy>=1.10;"),
            (f"scipy==1.* {HASH}", "no NAME==VERSION: scipy==1.*;"),
            (f"scipy {HASH}", "no NAME==VERSION: scipy;"),
            (f"numpy==1.24.3 ; python_version < '3.9' {HASH}", "packages twice: numpy;"),
            (f"numpy==1.24.3 {HASH}", "packages twice: numpy;"),
            ("--index-url https://example/simple", "options or files instead of NAME==VERSION: --index-url"),
            (f"./x.whl {HASH}", "NAME==VERSION: ./x.whl;"),
        ],
    )
    def test_a_file_that_pins_not_everything_is_refused(self, line, says):
        (problem,) = problems(f"{LOCK}{line}\n")
        assert says in problem and problem.startswith("requirements/own.txt has ") and "--generate-hashes" in problem

    def test_lines_for_other_boards_are_left_out(self):
        lines = (
            f"scipy==1.10.1 ; python_full_version < '3.9' {HASH}",
            f"scipy==1.15.3 ; python_full_version >= '3.9' {HASH}",
            f"tensorflow==2.21.0 ; platform_machine == 'aarch64' and sys_platform == 'linux' {HASH}",
            f"tensorflow-cpu==2.21.0 ; platform_machine != 'aarch64' {HASH}",
        )
        planned = plan("\n".join(lines), wheel="", tensorflow="", pycuda="")
        assert planned == {"packages": {"scipy": "1.10.1", "tensorflow": "2.21.0"}, "wheel": "", "problems": []}
        other = plan("\n".join(lines), wheel="", tensorflow="", pycuda="", machine="x86_64", python_version="3.12")
        assert other["packages"] == {"scipy": "1.15.3", "tensorflow-cpu": "2.21.0"}

    def test_many_lines_of_a_kind_are_one_problem(self):
        text = "".join(f"name{n}==1\n" for n in range(9))
        (problem,) = problems(text, pycuda="")
        assert "lines without --hash: name0==1, name1==1, name2==1 and 6 more;" in problem

    @pytest.mark.parametrize(
        ("settings", "says"),
        [
            ({"pins": {"h5py": 3.10}}, ("python_env_pins: h5py is 3.1,", "quotes")),
            ({"pins": {"h5py": 3}}, ("python_env_pins: h5py is 3,", "quotes")),
            ({"pins": {"h5py": None}}, ("python_env_pins: h5py is None,", "quotes")),
            ({"python_version": 3.10}, ("python_env_python_version is 3.1,", "quotes")),
            (
                {"pins": {"NumPy": "1.24"}},
                ("python_env_pins requires NumPy 1.24, but requirements/own.txt has 1.23.5",),
            ),
            (
                {"pins": {"six": "1.16"}},
                ("python_env_pins requires six 1.16, but requirements/own.txt does not have it",),
            ),
            ({"pycuda": "pycuda==2024.1"}, ("python_env_pycuda requires pycuda 2024.1,", "has 2022.2.2", "make lock")),
            ({"wheel": "", "tensorflow": "tensorflow-cpu==2.12.1"}, ("python_env_tensorflow requires tensorflow-cpu",)),
            ({"wheel": "tensorflow.whl"}, ("python_env_tensorflow names the wheel", "tensorflow.whl")),
            ({"wheel": WHEEL.replace("cp38", "cp310")}, ("made for cp310", "Python 3.8 (python_env_python_version)")),
        ],
    )
    def test_settings_that_cannot_be_followed_are_refused(self, settings, says):
        told = problems(**settings)
        assert any(all(words in problem for words in says) for problem in told), told

    def test_all_problems_are_told_at_once_and_a_missing_file_is_one_alone(self):
        settings = {"pins": {"h5py": 3.10, "numpy": "1.24"}, "pycuda": "pycuda==2024.1"}
        assert len(problems(**settings)) == 3
        (number,) = problems(None, **settings)
        assert "h5py" in number

    @pytest.mark.parametrize("pins", [{"NumPy": "1.23.5"}, {"ruamel_yaml": "0.18.05"}, {"Wheel": "0.43"}])
    def test_pins_that_the_file_keeps_pass(self, pins):
        assert problems(pins=pins) == []

    def test_a_wheel_of_any_python_passes(self):
        for tag in ("py3-none-any", "cp37-abi3-linux_aarch64", "py2.py3-none-any"):
            assert problems(wheel=f"tensorflow-2.12.0-{tag}.whl") == []


class TestDifferences:
    wanted: ClassVar = {"tensorflow": "2.12.0+nv23.05", "typing-extensions": "4.5.0"}

    @pytest.mark.parametrize(
        ("version", "same"),
        [("2.12.0+nv23.5", True), ("2.12.0+NV23.05", True), ("2.12.0", False), ("2.12.0+nv23.6", False)],
    )
    def test_versions_are_compared_as_versions(self, version, same):
        told = requirements_file.differences(found(tensorflow=version, typing_extensions="4.5"), "3.8", self.wanted)
        assert told["problems"] == ([] if same else [f"tensorflow is {version}, not 2.12.0+nv23.05"])
        assert told["lacking"] == ([] if same else ["tensorflow"])

    def test_what_is_missing_and_another_python_are_told(self):
        told = requirements_file.differences(found("3.10.6", tensorflow="2.12.0+nv23.5"), "3.8", self.wanted)
        assert told["problems"] == ["Python is 3.10, not 3.8", "typing-extensions is missing, not 4.5.0"]
        assert told["lacking"] == ["typing-extensions"]

    def test_a_version_that_is_none_is_compared_as_text(self):
        assert requirements_file.differences(found(x="dev-build"), "3.8", {"x": "dev-build"})["lacking"] == []
        assert requirements_file.differences(found(x="dev-build"), "3.8", {"x": "1.0"})["lacking"] == ["x"]


class Role:
    """The role on this machine, which is the board, with a folder of packages and no index."""

    def __init__(self, folder):
        self.folder, self.site = folder, folder / "kit/venv/lib/python{}.{}/site-packages".format(*sys.version_info)
        self.packages, nvcc = folder / "packages", folder / "cuda/bin/nvcc"
        for path in (self.packages, nvcc.parent):
            path.mkdir(parents=True)
        nvcc.touch(mode=0o755)
        numpy = [
            write_wheel(
                self.packages, "numpy", version, "py3-none-any", {"numpy/version.py": f"version = '{version}'\n"}
            )
            for version in ("1.23.5", "1.24.3")
        ]
        self.pycuda = write_pycuda(self.packages)
        write_requirements(folder / "own.txt", numpy[0], self.pycuda)
        files = {"tensorflow/__init__.py": ""}
        named = {"file_version": "2.12.0+nv23.05"}
        self.wheel = write_wheel(folder, "tensorflow", "2.12.0+nv23.5", "py3-none-any", files, "jax>=0.3.15", **named)
        self.settings = {
            "kit_home": str(folder / "kit"),
            "python_env_owner": getpass.getuser(),
            "python_env_python": sys.executable,
            "python_env_python_version": "{}.{}".format(*sys.version_info),
            "python_env_packages": [],
            "python_env_requirements": str(folder / "own.txt"),
            "python_env_wheels": str(self.packages),
            "python_env_tensorflow": str(self.wheel),
            "python_env_pycuda": "pycuda==2022.2.2",
            "kit_cuda_home": str(folder / "cuda"),
        }

    def __call__(self, **settings):
        """Whether it ended well, how much it changed, and what it printed."""
        include = {"ansible.builtin.include_role": {"name": "python_env"}}
        play = {"hosts": "boards", "gather_facts": False, "vars": {**self.settings, **settings}, "tasks": [include]}
        (self.folder / "play.yml").write_text(yaml.safe_dump([play]))
        (self.folder / "hosts.yml").write_text("boards: {hosts: {orin-1: {relative_speed: 1}}}")
        done = subprocess.run(
            [ANSIBLE, "-i", self.folder / "hosts.yml", "-c", "local", self.folder / "play.yml"],
            env={**os.environ, "ANSIBLE_CONFIG": str(PROJECT / "ansible.cfg"), "ANSIBLE_NOCOLOR": "1"},
            capture_output=True,
            text=True,
            timeout=120,
        )
        output = done.stdout + done.stderr
        return done.returncode == 0, int(re.search(r"changed=(\d+)", output)[1]), output

    def installed(self):
        return packages.installed([str(self.site)])


@pytest.mark.slow
def test_an_environment_is_made_and_stays_and_is_put_right_by_what_has_the_right_hash(tmp_path):
    """With a wheel whose metadata writes its version in another way than its name does."""
    role = Role(tmp_path)
    ok, changed, output = role()
    assert ok and changed > 0, output
    wanted = {"tensorflow": "2.12.0+nv23.5", "numpy": "1.23.5", "pycuda": "2022.2.2"}
    assert wanted.items() <= role.installed().items()
    assert "WARNING: in " in output and "requires jax, which is not installed" in output
    (role.site / "~umpy-1.24.3.dist-info").mkdir()
    (role.site / "~umpy-1.24.3.dist-info/METADATA").write_text("Name: numpy\nVersion: 1.24.3\n")
    (role.site / "scipy-1.10.1.dist-info").mkdir()
    ok, changed, output = role()
    assert ok and changed == 0, output
    assert (role.site / "scipy-1.10.1.dist-info").exists()  # what harms nobody is left alone

    for name in ("numpy", "pycuda"):
        shutil.rmtree(role.site / name)
    other = {path.name: path.read_bytes() for path in role.packages.iterdir()}
    other[role.pycuda.name] += b"\n"
    with slow_site(other, 1e9) as site:
        ok, _, output = role(python_env_wheels="", python_env_index=f"{site.url}/simple")
    assert (role.site / "numpy/version.py").read_text() == "version = '1.23.5'\n"
    assert not [path.name for path in role.site.iterdir() if path.name.startswith(("~", "scipy"))]
    assert not ok and "DO NOT MATCH THE HASHES" in output, output
    assert not (role.site / "pycuda").exists()


def test_of_a_folder_boards_get_what_the_file_has_a_hash_of(tmp_path):
    for name in ("numpy-1.23.5-py3-none-any.whl", "numpy-1.24.3-py3-none-any.whl", "six.whl"):
        (tmp_path / name).write_text(name)
    write_requirements(tmp_path / "own.txt", tmp_path / "numpy-1.23.5-py3-none-any.whl")
    text = f"{(tmp_path / 'own.txt').read_text()}scipy==1.10.1 {HASH}\n"
    text = requirements_file.parts(text, ["numpy", "scipy"], SETTINGS)["all"]
    found = requirements_file.staging(text, str(tmp_path), "/opt/wheels")
    (file,) = found["files"]
    assert (file["source"], file["path"]) == (
        str(tmp_path / "numpy-1.23.5-py3-none-any.whl"),
        "/opt/wheels/numpy-1.23.5-py3-none-any.whl",
    )
    assert found["missing"] == ["scipy==1.10.1"]


class TestLock:
    """requirements/jetson.txt, which Jetsons with JetPack 5 are provisioned with."""

    text = (PROJECT / "requirements/jetson.txt").read_text()

    def test_the_roles_defaults_fit_it(self):
        paper = releases.PAPER
        role = {"python_version": paper.python, "pycuda": paper.pycuda, "tensorflow": paper.wheel.address}
        planned = plan(self.text, **role, pins=DEFAULTS["python_env_pins"])
        assert planned["problems"] == []
        parts = requirements_file.parts(self.text, planned["packages"], SETTINGS)
        assert re.findall(r"(?m)^[^=]+", parts["first"]) == ["pip", "setuptools", "wheel", "numpy"]

    def test_it_has_no_address_and_no_tensorflow_and_what_nvidias_takes(self):
        packages = plan(self.text)["packages"]
        assert "://" not in self.text and not packages.keys() & {"tensorflow-cpu-aws", "jaxlib"}
        # by the metadata of TensorFlow 2.12.0
        assert packages["numpy"].startswith(("1.22.", "1.23.")) and packages["typing-extensions"] < "4.6"
        assert packages["protobuf"].startswith("3.20.") and packages["gast"] == "0.4.0" and packages["keras"] < "2.13"
        assert packages["pycuda"] == "2022.2.2" and packages["jax"] == "0.4.13"
