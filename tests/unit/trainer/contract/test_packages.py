"""What an environment has: packages as pip sees them, and what interrupted or older tools left of others."""

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from trainer.contract import packages


def add(site, folder, name=None, version="1.23.5", files=None, record=True):
    """Metadata of a package in a folder, and its files with their content."""
    (site / folder).mkdir(parents=True)
    if name:
        (site / folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n\nText\n")
    listed = [f"{folder}/METADATA,,"]
    for path, text in (files or {}).items():
        (site / path).parent.mkdir(exist_ok=True)
        (site / path).write_text(text)
        listed.append(f"{path},sha256=x,{len(text)}")
    if record:
        (site / folder / "RECORD").write_text("\n".join(listed) + "\n")


@pytest.fixture
def site(tmp_path):
    add(tmp_path, "numpy-1.23.5.dist-info", "NumPy", files={"numpy/__init__.py": "", "numpy/version.py": "1.23.5"})
    return tmp_path


def installed(site):
    return packages.installed([str(site)])


def test_names_are_canonical_and_versions_as_the_metadata_has_them(site):
    add(site, "tensorflow-2.12.0+nv23.5.dist-info", "tensorflow", "2.12.0+nv23.5", {"tensorflow/__init__.py": ""})
    add(site, "typing_extensions-4.5.0.dist-info", "typing_extensions", "4.5.0", {"typing_extensions.py": ""})
    add(site, "ruamel.yaml-0.18.5.dist-info", "ruamel.yaml", "0.18.5", {"ruamel/yaml.py": ""})
    found = installed(site)
    assert found == {
        "numpy": "1.23.5",
        "tensorflow": "2.12.0+nv23.5",
        "typing-extensions": "4.5.0",
        "ruamel-yaml": "0.18.5",
    }
    assert packages.tensorflow_version(found) == "2.12.0+nv23.5"
    assert packages.tensorflow_version({}) is None


def taken_away(site):
    add(site, "~umpy-1.24.3.dist-info", "numpy", "1.24.3")
    add(site, "~umpy", files={"~umpy/version.py": "1.24.3"}, record=False)


def without_metadata(site):
    add(site, "numpy-1.24.3.dist-info")
    add(site, "scipy-1.10.1.dist-info", files={"scipy/__init__.py": ""})


def torn(site):
    add(site, "scipy-1.10.1.dist-info")
    (site / "scipy-1.10.1.dist-info/METADATA").write_bytes(b"\0" * 100)


def whose_files_are_gone(site):
    add(site, "scipy-1.10.1.dist-info", "scipy", "1.10.1", {"scipy/__init__.py": "all"})
    (site / "scipy/__init__.py").unlink()


def overwritten_by_another_version(site):
    add(site, "numpy-1.22.4.dist-info", "numpy", "1.22.4")
    record = "numpy/__init__.py,,0\nnumpy/version.py,,60\nnumpy/gone.py,,7\n"
    (site / "numpy-1.22.4.dist-info/RECORD").write_text(record)


def without_a_list_of_files(site):
    add(site, "numpy-1.22.4.dist-info", "numpy", "1.22.4", record=False)
    os.utime(site / "numpy-1.22.4.dist-info", (2e9, 2e9))


def egg_of_a_removed_package(site):
    (site / "scipy-1.10.1.egg-info").mkdir()
    (site / "scipy-1.10.1.egg-info/PKG-INFO").write_text("Name: scipy\nVersion: 1.10.1\n")
    (site / "scipy-1.10.1.egg-info/top_level.txt").write_text("scipy\n")


def egg_whose_list_leads_nowhere(site):
    egg_of_a_removed_package(site)
    (site / "scipy-1.10.1.egg-info/installed-files.txt").write_text("../scipy/__init__.py\nPKG-INFO\n")


def egg_that_is_a_file(site):
    (site / "scipy-1.10.1.egg-info").write_text("Metadata-Version: 1.1\nName: scipy\nVersion: 1.10.1\n")


def egg_beside_the_new_one(site):
    (site / "numpy-1.22.4.egg-info").write_text("Metadata-Version: 1.1\nName: numpy\nVersion: 1.22.4\n")


@pytest.mark.parametrize(
    "leave",
    [
        taken_away,
        without_metadata,
        torn,
        whose_files_are_gone,
        overwritten_by_another_version,
        without_a_list_of_files,
        egg_of_a_removed_package,
        egg_whose_list_leads_nowhere,
        egg_that_is_a_file,
        egg_beside_the_new_one,
    ],
)
def test_what_is_left_of_a_package_is_none(site, leave):
    before = set(site.iterdir())
    leave(site)
    assert installed(site) == {"numpy": "1.23.5"}
    _, leftovers = packages._survey([str(site)])
    modules = {site / "scipy"}
    assert set(leftovers) == set(site.iterdir()) - before - modules


def test_a_package_that_only_asks_for_others_is_one_and_so_is_an_older_tools(site):
    add(site, "tensorflow-2.12.0.dist-info", "tensorflow", "2.12.0")
    (site / "PyYAML-6.0.egg-info").mkdir()
    (site / "PyYAML-6.0.egg-info/PKG-INFO").write_text("Name: PyYAML\nVersion: 6.0\n")
    (site / "PyYAML-6.0.egg-info/top_level.txt").write_text("_yaml\nyaml\n")
    (site / "yaml").mkdir()
    assert installed(site) == {"numpy": "1.23.5", "pyyaml": "6.0", "tensorflow": "2.12.0"}


def test_a_list_that_cannot_be_read_harms_nobody(site):
    (site / "numpy-1.23.5.dist-info/RECORD").write_bytes(b'numpy/__init__.py,,0\n"\0\0')
    assert installed(site) == {"numpy": "1.23.5"}
    assert packages.installed([str(site / "nowhere"), str(site)]) == {"numpy": "1.23.5"}


def test_the_first_folder_on_the_path_counts(site, tmp_path_factory):
    other = tmp_path_factory.mktemp("other")
    add(other, "numpy-1.24.3.dist-info", "numpy", "1.24.3", {"numpy/version.py": "1.24.3"})
    assert packages.installed([str(site), str(other)]) == {"numpy": "1.23.5"}
    assert packages.installed([str(other), str(site)]) == {"numpy": "1.24.3"}


def test_what_a_package_brings_along_for_itself_is_not_installed(tmp_path, monkeypatch):
    """setuptools, once imported, has its own folder of these on the path: what is installed would depend on that."""
    site = tmp_path / "site-packages"
    add(site, "numpy-1.23.5.dist-info", "numpy", "1.23.5", {"numpy/version.py": ""})
    add(site / "setuptools/_vendor", "backports.tarfile-1.2.0.dist-info", "backports.tarfile", "1.2.0")
    monkeypatch.setattr(sys, "path", ["", str(site), str(site / "setuptools/_vendor")])
    assert packages.installed() == {"numpy": "1.23.5"}


def test_the_digest_is_that_of_the_sorted_list():
    found = {"wheel": "0.43.0", "numpy": "1.23.5"}
    assert packages.digest(found) == hashlib.sha256(b"numpy==1.23.5\nwheel==0.43.0\n").hexdigest()


@pytest.mark.parametrize(
    ("installed", "missing"),
    [
        ({"tensorflow-cpu": "2.12.1", "keras": "2.12.0"}, None),
        ({"tensorflow": "2.15.1"}, None),
        ({"tensorflow": "2.16.1+nv24.8", "keras": "3.12.4"}, "tf-keras==2.16.*"),
        ({"tensorflow-cpu": "2.21.0", "keras": "3.12.4"}, "tf-keras==2.21.*"),
        ({"tensorflow-cpu": "2.21.0", "keras": "3.12.4", "tf-keras": "2.21.0"}, None),
        ({"keras": "3.12.4"}, None),
    ],
)
def test_keras_2_is_a_package_of_its_own_from_tensorflow_2_16_on(installed, missing):
    assert packages.missing_keras(installed) == missing


def test_it_is_a_script_for_boards_where_the_kit_is_not(site):
    script = Path(packages.__file__).read_text()
    environment = {**os.environ, "PYTHONPATH": str(site)}
    done = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, check=True, text=True)
    said = json.loads(done.stdout)
    assert said["packages"]["numpy"] == "1.23.5"  # the first on the path
    assert said["python"].count(".") == 2 and said["writable"] is True
