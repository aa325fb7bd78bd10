"""What emulated boards look like: each dress is whole, and says one release everywhere."""

import pytest

from plugins.module_utils.lab_dresses import DRESSES, compose
from tests import PROJECT
from trainer.contract import releases


def files_of(folder):
    paths = [path for path in folder.rglob("*") if path.is_file() and not path.is_symlink()]
    return {str(path.relative_to(folder)): path.read_text() for path in paths}


@pytest.mark.parametrize("name", [name for name, dress in DRESSES.items() if dress.jetson])
def test_a_jetsons_files_name_its_release_alone(name, tmp_path):
    files = files_of(compose(name, PROJECT / "roles/lab/files", tmp_path))
    linux = releases.l4t(files["etc/nv_tegra_release"], None)
    release = releases.RELEASES[linux]
    assert DRESSES[name].suite == release.suite
    assert f"Version: {linux}-" in files["installed.control"]
    packages = files["packages/nvidia-repo.control"]
    assert f"Version: {release.jetpack}-b" in packages and f"cuda-nvcc-{release.cuda.replace('.', '-')}" in packages
    assert f"payload/cuda-nvcc-{release.cuda.replace('.', '-')}/usr/local/cuda-{release.cuda}/bin/nvcc" in files
    if linux != releases.PAPER.l4t:
        others = ("35.3.1", "5.1.1-b", "r35.3")
        assert not [path for path, text in files.items() if any(it in text for it in others)]
    assert releases.module_name(files["device-tree/compatible"]), "a module that the kit knows"


def test_a_plain_board_has_nothing_of_nvidias(tmp_path):
    files = files_of(compose("debian", PROJECT / "roles/lab/files", tmp_path))
    assert "nvidia" not in files["installed.control"] and "packages/ubuntu-repo.control" in files
    assert not [path for path in files if "nv" in path.split("/")[-1] and not path.startswith("payload/")]
    assert "scaling_governor" in files["kernel.sh"] and "wlan0" not in files["power.sh"]


def test_it_is_composed_once(tmp_path):
    first = compose("orin-6.2", PROJECT / "roles/lab/files", tmp_path)
    (first / "mark").touch()
    assert (compose("orin-6.2", PROJECT / "roles/lab/files", tmp_path) / "mark").exists()
