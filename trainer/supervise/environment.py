"""The trainer's environment variables. Standard library only.

The supervisor has those of an ssh session (with /etc/environment) and of train_environment. They are kept, except for
proxies.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Dict, Mapping, Optional

_XLA_CUDA = "--xla_gpu_cuda_data_dir="


def of_trainer(given: Mapping[str, str], interface: Optional[str], root: Path = Path("/")) -> Dict[str, str]:
    """`given` without proxies, plus what the trainer needs; `interface` is that of the training network.

    - No proxies: TensorFlow's gRPC would reach its peers through http_proxy, https_proxy or grpc_proxy, and does not
      understand networks in no_proxy.
    - NCCL uses the training network only. Without a leading =, it takes the name as a prefix.
    - If CPU and GPU share memory, TensorFlow allocates it as needed, instead of nearly all at the start.
    - XLA finds CUDA through the nvcc on the path.
    """
    environment = {name: value for name, value in given.items() if not name.lower().endswith("_proxy")}
    if interface:
        environment.setdefault("NCCL_SOCKET_IFNAME", f"={interface}")
    if _shares_memory(root):
        environment.setdefault("TF_FORCE_GPU_ALLOW_GROWTH", "true")
    cuda = _cuda_home(environment.get("PATH"), root)
    flags = environment.get("XLA_FLAGS", "")
    if cuda and _XLA_CUDA not in flags:
        environment["XLA_FLAGS"] = f"{flags} {_XLA_CUDA}{cuda}".strip()
    return environment


def _shares_memory(root: Path) -> bool:
    """Whether the GPU is integrated and shares the CPU's memory, as in every Jetson."""
    try:
        compatible = (root / "sys/firmware/devicetree/base/compatible").read_bytes()
    except OSError:
        compatible = b""
    return b"nvidia,tegra" in compatible or (root / "etc/nv_tegra_release").exists()


def _cuda_home(path: Optional[str], root: Path) -> Optional[Path]:
    """CUDA's folder: that of the nvcc on the path, where the role jetpack puts it; else the usual one."""
    nvcc = shutil.which("nvcc", path=path) if path else None
    usual = root / "usr/local/cuda"
    return Path(nvcc).parent.parent if nvcc else usual if (usual / "bin/nvcc").exists() else None
