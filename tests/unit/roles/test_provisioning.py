"""What provisioning makes of a board's own words: power modes, clocks, releases, NCCL; and the kit's ports."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from types import ModuleType

import pytest
import yaml

from tests import PROJECT
from trainer.contract import releases

PORT = 12345
ROLES = ("run_config", "firewall", "check")


def load(path: str) -> ModuleType:
    """Imports a module or plugin of Ansible's from its file."""
    spec = importlib.util.spec_from_file_location(Path(path).stem, PROJECT / path)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # where dataclasses look
    spec.loader.exec_module(module)
    return module


class TestWords:
    power = load("plugins/modules/jetson_power.py")
    conf = (
        "# < POWER_MODEL ID=9 NAME=OFF >\n< POWER_MODEL ID=0 NAME=MAXN >\nX Y 1\n< POWER_MODEL ID=3 NAME=MODE_40W >\n"
    )

    @pytest.mark.parametrize("odd", ["a" * 200_000, "NV Power Mode:\n" * 10_000 + "\n" * 50_000, "<" * 200_000])
    def test_text_of_something_else_takes_no_time(self, odd: str) -> None:
        began_s = time.process_time()
        assert self.power.parse_modes(odd) == {}
        for parse in (self.power.parse_mode, self.power.clocks_pinned):
            with pytest.raises(ValueError, match="check '"):
                parse(odd)
        assert time.process_time() - began_s < 1

    def test_modes_are_the_boards_own(self) -> None:
        assert self.power.parse_modes(self.conf) == {0: "MAXN", 3: "MODE_40W"}

    @pytest.mark.parametrize(("wanted", "number"), [("MAXN", 0), ("maxn", 0), ("3", 3), ("MODE_40W", 3)])
    def test_a_mode_has_a_name_and_an_id(self, wanted: str, number: int) -> None:
        assert self.power.find_mode(self.power.parse_modes(self.conf), wanted) == number

    def test_an_unknown_mode_is_told_with_those_there_are(self) -> None:
        with pytest.raises(ValueError, match=r"kit_power_mode=MODE_50W .* give one of MAXN \(0\), MODE_40W \(3\)"):
            self.power.find_mode(self.power.parse_modes(self.conf), "MODE_50W")

    def test_query(self) -> None:
        assert self.power.parse_mode("NVPM VERB: x\nNV Power Mode: MODE_30W\n2\n") == 2
        with pytest.raises(ValueError, match="no power mode"):
            self.power.parse_mode("NVPM ERROR: no such file\n")

    @pytest.mark.parametrize(
        ("cpu", "gpu", "override", "pinned"),
        [
            (2201600, 1300500000, 1, True),
            (729600, 1300500000, 1, False),
            (2201600, 306000000, 1, False),
            (2201600, 1300500000, 0, False),
        ],
    )
    def test_clocks_are_pinned_when_all_of_them_are(self, cpu: int, gpu: int, override: int, pinned: bool) -> None:
        shown = (
            "SOC family:tegra234  Machine:Jetson AGX Orin\nOnline CPUs: 0-3\n"
            f"cpu0:  Online=1 Governor=schedutil MinFreq={cpu} MaxFreq=2201600 CurrentFreq=2201600\n"
            "cpu8:  Online=0 Governor=schedutil MinFreq=729600 MaxFreq=2201600 CurrentFreq=729600\n"
            f"GPU MinFreq={gpu} MaxFreq=1300500000 CurrentFreq=1300500000\n"
            f"EMC MinFreq=204000000 MaxFreq=3199000000 CurrentFreq=3199000000 FreqOverride={override}\n"
            "DLA0_CORE:   Online=1 MinFreq=0 MaxFreq=1600000000 CurrentFreq=1600000000\n"
        )
        assert self.power.clocks_pinned(shown) is pinned

    def test_a_gpu_whose_driver_is_not_there_is_not_pinned(self) -> None:
        cpu = "cpu0:  Online=1 Governor=schedutil MinFreq=2201600 MaxFreq=2201600 CurrentFreq=2201600\n"
        emc = "EMC MinFreq=204000000 MaxFreq=3199000000 CurrentFreq=3199000000 FreqOverride=1\n"
        assert not self.power.clocks_pinned(cpu + emc)
        assert self.power.clocks_pinned(cpu + "GPU MinFreq=9 MaxFreq=9 CurrentFreq=9\n" + emc)

    def test_clocks_that_were_not_given_back_are_told(self) -> None:
        stored = (
            "/sys/a/scaling_min_freq:729600\n/sys/a/scaling_max_freq:5\n/sys/gpu/min_freq:3\n/sys/off/min_freq:1\nx:1\n"
        )
        now = {"/sys/a/scaling_min_freq": "729600", "/sys/gpu/min_freq": "612"}
        assert self.power.not_restored(stored, now.get) == ["/sys/gpu/min_freq is 612, was 3"]
        assert self.power.not_restored(stored, {**now, "/sys/gpu/min_freq": "3"}.get) == []

    def test_gates_and_firewall_have_the_trainers_port_and_folder(self) -> None:
        shared = yaml.safe_load((PROJECT / "roles/kit/defaults/main.yml").read_text())
        assert (shared["kit_port"], shared["kit_home"]) == (PORT, "/opt/cluster-kit")
        for role in ROLES:
            uses_it = any("kit_" in path.read_text() for path in (PROJECT / "roles" / role).rglob("*.y*ml"))
            depends = (PROJECT / f"roles/{role}/meta/main.yml").exists()
            assert depends or not uses_it, f"{role} depends on the role kit, whose variables it reads"


class TestPinning:
    """The program that pins clocks on a board, which begins before the GPU's driver is there."""

    @pytest.fixture
    def pin(self, tmp_path: Path) -> Path:
        """The program, with a board's files in place of this machine's; its jetson_clocks counts how often it ran."""
        program = (PROJECT / "roles/power/files/pin_clocks.sh").read_text()
        program = program.replace("/sys/", f"{tmp_path}/sys/").replace("/usr/bin/jetson_clocks", f"{tmp_path}/tool")
        (tmp_path / "pin").write_text(program.replace("-lt 30", "-lt 3").replace("sleep 1", "sleep 0"))
        for number, (cpus, least) in enumerate((("0 1", 5), ("", 1))):  # the second one's CPUs are off
            folder = tmp_path / f"sys/devices/system/cpu/cpufreq/policy{number}"
            folder.mkdir(parents=True)
            for name, text in (("affected_cpus", cpus), ("scaling_min_freq", least), ("scaling_max_freq", 5)):
                (folder / name).write_text(f"{text}\n")
        (tmp_path / "sys/class/devfreq/15340000.vic").mkdir(parents=True)
        return tmp_path

    def ran(self, pin: Path, tool: str) -> tuple[int, str, int]:
        """Exit code, what was told, and how often jetson_clocks ran."""
        (pin / "tool").write_text(f"#!/bin/sh\ncd {pin}\necho >>count\nlines=$(wc -l <count)\n{tool}\n")
        (pin / "tool").chmod(0o755)
        done = subprocess.run(["sh", pin / "pin"], capture_output=True, text=True)
        return done.returncode, done.stderr.strip(), len((pin / "count").read_text().splitlines())

    def gpu(self, least: int) -> str:
        folder = "sys/class/devfreq/17000000.ga10b"
        return f"mkdir -p {folder}; echo {least} >{folder}/min_freq; echo 9 >{folder}/max_freq"

    def test_it_tries_again_until_all_clocks_are_pinned(self, pin: Path) -> None:
        assert self.ran(pin, self.gpu(9)) == (0, "", 1)

    def test_it_waits_for_the_gpu(self, pin: Path) -> None:
        assert self.ran(pin, f"[ $lines -lt 3 ] || {{ {self.gpu(9)}; }}") == (0, "", 3)

    def test_it_tells_what_jetson_clocks_does_not(self, pin: Path) -> None:
        (pin / "sys/devices/system/cpu/cpufreq/policy0/scaling_min_freq").write_text("2\n")
        told = "jetson_clocks does not pin policy0 (2 to 5) 17000000.ga10b (3 to 9)"
        assert self.ran(pin, self.gpu(3)) == (1, told, 3)

    def test_it_tells_that_there_is_no_gpu(self, pin: Path) -> None:
        assert self.ran(pin, ":") == (1, "jetson_clocks does not pin the GPU, whose driver is not there", 3)


class TestNcclProbe:
    def found(self, folder: Path, kernels: int, library: str) -> dict:
        """What the probe says of a TensorFlow with so many kernels, and this in its library."""
        package = folder / "tensorflow/python/framework"
        package.mkdir(parents=True)
        (folder / "tensorflow/__init__.py").write_text("__version__ = '2.12.0'\n")
        (folder / "tensorflow/libtensorflow_framework.so.2").write_text(library)
        registered = f"type('Registered', (), dict(kernel=[type('Kernel', (), dict(device_type='GPU'))] * {kernels}))"
        (package / "kernels.py").write_text(f"def get_registered_kernels_for_op(name):\n    return {registered}\n")
        probe = (PROJECT / "roles/nccl/files/probe.py").read_text()
        environment = {**os.environ, "PYTHONPATH": str(folder)}
        return json.loads(subprocess.check_output([sys.executable, "-c", probe], env=environment))

    def test_kernels_and_a_library_are_capable(self, tmp_path: Path) -> None:
        found = self.found(tmp_path, 7, "...NCCL version 2.18.1+cuda11.4...")
        assert (found["capable"], found["kernels"]) == (True, 7)
        assert "7 GPU kernels of NcclAllReduce" in found["evidence"]

    def test_the_version_is_the_installed_ones_whatever_pip_has_left(self, tmp_path: Path) -> None:
        for folder, version in (("tensorflow-2.12.0", "2.12.0+nv23.5"), ("~ensorflow-2.11.0", "2.11.0")):
            info = tmp_path / f"{folder}.dist-info"
            info.mkdir()
            (info / "METADATA").write_text(f"Name: tensorflow\nVersion: {version}\n")
        (tmp_path / "numpy-1.24.3.dist-info").mkdir()
        assert self.found(tmp_path, 7, "nothing")["tensorflow"] == "2.12.0+nv23.5"

    def test_kernels_alone_are_not(self, tmp_path: Path) -> None:
        found = self.found(tmp_path, 7, "nothing")
        assert found["capable"] is False and "does not load" in found["evidence"]

    def test_nor_is_a_library_alone(self, tmp_path: Path) -> None:
        found = self.found(tmp_path, 0, "...NCCL version 2.18.1+cuda11.4...")
        assert found["capable"] is False and "no GPU kernel" in found["evidence"]


@pytest.mark.parametrize(
    ("line", "package", "linux", "jetpack"),
    [
        ("# R35 (release), REVISION: 3.1, GCID: 1", None, "35.3.1", "5.1.1"),
        ("# R32 (release), REVISION: 7.1, GCID: 1", "35.3.1-2023", "32.7.1", "L4T 32.7.1"),
        (None, "35.3.1-20230319081403", "35.3.1", "5.1.1"),
        ("", "36.4.0-20240912212859", "36.4.0", "6.1"),
        ("", "36.9.9-20240912212859", "36.9.9", "L4T 36.9.9"),
        ("", "", None, None),
    ],
)
def test_the_release_is_the_files_else_the_packages(line: str, package: str, linux: str, jetpack: str) -> None:
    assert (releases.l4t(line, package), releases.jetpack(line, package)) == (linux, jetpack)
