"""The environment variables that the trainer runs with. Standard library only.

The supervisor has those of an ssh session, in which /etc/environment counts, and of train_environment. What is set
there on purpose stays, but for proxies.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Dict, Mapping, Optional

_XLA_CUDA = "--xla_gpu_cuda_data_dir="


def of_trainer(given: Mapping[str, str], interface: Optional[str], root: Path = Path("/")) -> Dict[str, str]:
    """What the trainer gets of `given`, and what it needs besides; `interface` is that of the training network.

    - No proxies: TensorFlow's gRPC would speak to its peers through http_proxy, https_proxy or grpc_proxy, and takes
      no networks in no_proxy.
    - NCCL keeps to the training network. It takes the name for a prefix unless an = comes first.
    - Where CPU and GPU share memory, TensorFlow takes what it needs as it needs it, and not nearly all at the start.
    - XLA finds CUDA in the folder of the nvcc on the path.
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
    """Whether the GPU is part of the chip: so it is in every Jetson, and in nothing else that TensorFlow runs on."""
    try:
        compatible = (root / "sys/firmware/devicetree/base/compatible").read_bytes()
    except OSError:
        compatible = b""
    return b"nvidia,tegra" in compatible or (root / "etc/nv_tegra_release").exists()


def _cuda_home(path: Optional[str], root: Path) -> Optional[Path]:
    """The folder of CUDA: of the nvcc on the path, where the role jetpack puts it, else where it usually is."""
    nvcc = shutil.which("nvcc", path=path) if path else None
    usual = root / "usr/local/cuda"
    return Path(nvcc).parent.parent if nvcc else usual if (usual / "bin/nvcc").exists() else None
