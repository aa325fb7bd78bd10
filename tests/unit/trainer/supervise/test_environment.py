"""What the trainer's environment has, whatever the board's sessions have."""

from pathlib import Path

import pytest

from trainer.supervise.environment import of_trainer


def nvcc(folder: Path) -> Path:
    """A folder of CUDA with a compiler in it."""
    program = folder / "bin/nvcc"
    program.parent.mkdir(parents=True)
    program.touch(mode=0o755)
    return folder


@pytest.mark.parametrize("name", ["http_proxy", "https_proxy", "grpc_proxy", "all_proxy", "HTTPS_PROXY", "no_proxy"])
def test_no_proxy_reaches_tensorflow(tmp_path, name):
    assert of_trainer({name: "http://192.0.2.9:3128", "LANG": "C"}, None, tmp_path) == {"LANG": "C"}


def test_nccl_keeps_to_the_training_interface_by_its_whole_name(tmp_path):
    assert of_trainer({}, "eth0", tmp_path) == {"NCCL_SOCKET_IFNAME": "=eth0"}
    assert of_trainer({"NCCL_SOCKET_IFNAME": "=eth1"}, "eth0", tmp_path) == {"NCCL_SOCKET_IFNAME": "=eth1"}


@pytest.mark.parametrize(
    ("path", "content", "growing"),
    [
        ("etc/nv_tegra_release", b"# R35 (release)", True),
        ("sys/firmware/devicetree/base/compatible", b"nvidia,p3701-0005\0nvidia,tegra234\0", True),
        ("sys/firmware/devicetree/base/compatible", b"raspberrypi,4-model-b\0brcm,bcm2711\0", False),
    ],
)
def test_memory_grows_where_cpu_and_gpu_share_it(tmp_path, path, content, growing):
    (tmp_path / path).parent.mkdir(parents=True)
    (tmp_path / path).write_bytes(content)
    name = "TF_FORCE_GPU_ALLOW_GROWTH"
    assert of_trainer({}, None, tmp_path) == ({name: "true"} if growing else {})
    assert of_trainer({name: "false"}, None, tmp_path) == {name: "false"}


def test_xla_gets_the_folder_of_the_nvcc_on_the_path(tmp_path):
    cuda = nvcc(tmp_path / "cuda-11.4")
    nvcc(tmp_path / "usr/local/cuda")
    given = {"PATH": f"/nowhere:{cuda}/bin", "XLA_FLAGS": "--xla_dump_to=/tmp/x"}
    wanted = f"--xla_gpu_cuda_data_dir={cuda}"
    assert of_trainer(given, None, tmp_path)["XLA_FLAGS"] == f"--xla_dump_to=/tmp/x {wanted}"
    own = {"PATH": f"{cuda}/bin", "XLA_FLAGS": "--xla_gpu_cuda_data_dir=/opt/cuda"}
    assert of_trainer(own, None, tmp_path) == own


def test_without_nvcc_on_the_path_xla_gets_the_usual_folder(tmp_path):
    cuda = nvcc(tmp_path / "usr/local/cuda")
    assert of_trainer({"PATH": "/nowhere"}, None, tmp_path)["XLA_FLAGS"] == f"--xla_gpu_cuda_data_dir={cuda}"
