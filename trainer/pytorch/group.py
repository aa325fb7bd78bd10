"""The workers of a run as a process group of torch.distributed."""

from __future__ import annotations

import os
import socket
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from typing import Callable, List, Optional, Sequence

import torch
import torch.distributed as dist

from trainer.contract.cluster import Cluster
from trainer.contract.collectives import announced
from trainer.contract.interface import interface_with
from trainer.pytorch.compute import Compute

_NO_LIMIT_S = 86_400.0  # the supervisor stops a run that hangs


class Group:
    """The process group of a cluster; with one board there is none, and means are the values themselves."""

    def __init__(self, cluster: Cluster, compute: Compute, asked: str, timeout_s: float) -> None:
        """`asked`: sync.implementation. Every worker listens at its own address, where the supervisor looks for it.

        Raises OSError where another process has the port.
        """
        self.workers, self.rank, self._compute = cluster.workers, cluster.rank, compute
        self.backend: Optional[str] = None  # that of vectors on the device
        # collectives are paired by the order in which each board calls them: if one may run in the background, all
        # others are called from this one thread
        self.in_order = ThreadPoolExecutor(max_workers=1)
        self.closing: List[Callable[[], object]] = []  # what is to be done once all workers have come to their end
        self._listening = socket.socket()
        host, _, port = cluster.own_address.rpartition(":")
        self._listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._listening.bind((host, int(port)))
        self._listening.listen(socket.SOMAXCONN)
        if self.workers == 1:
            return
        interface = interface_with(host)
        if interface:
            os.environ["GLOO_SOCKET_IFNAME"] = os.environ["TP_SOCKET_IFNAME"] = interface
        self.limit_s = timeout_s or _NO_LIMIT_S
        limit = timedelta(seconds=self.limit_s)
        chief, _, chief_port = cluster.addresses[0].rpartition(":")
        # the store's own server would listen on all interfaces: it gets this one's socket
        own = self._listening.detach() if cluster.is_chief else None
        self.store = dist.TCPStore(
            chief, int(chief_port), self.workers, cluster.is_chief, limit, master_listen_fd=own, use_libuv=False
        )
        self.backend = self._choose(asked)
        backends = "gloo" if self.backend == "gloo" else f"cpu:gloo,cuda:{self.backend}"
        dist.init_process_group(backends, store=self.store, rank=self.rank, world_size=self.workers, timeout=limit)
        print(announced(self.backend), flush=True)  # what the result's collective_used is read from

    def _choose(self, asked: str) -> str:
        """nccl where every board can run it and has a GPU of its own, unless gloo's ring is asked for; else gloo."""
        able = asked in ("auto", "nccl") and self._compute.device.type == "cuda" and dist.is_nccl_available()
        self.store.set(f"gpu {self.rank}", _gpu(self._compute.device) if able else "")
        gpus = [self.store.get(f"gpu {rank}").decode() for rank in range(self.workers)]
        return "nccl" if all(gpus) and len(set(gpus)) == self.workers else "gloo"

    @property
    def reduces_on_host(self) -> bool:
        """Whether vectors of the device are copied to host memory, once, and reduced there."""
        return self._compute.device.type != "cpu" and self.backend != "nccl"

    def mean(self, vector: torch.Tensor) -> torch.Tensor:
        """vector: [n] -> elementwise mean over workers, same shape, dtype and device; `vector` may be changed."""
        if self.workers == 1:
            return vector
        if not self.reduces_on_host:
            dist.all_reduce(vector)
            return vector.div_(self.workers)
        there = vector.cpu()
        dist.all_reduce(there)
        return there.to(vector.device).div_(self.workers)

    def meet(self) -> None:
        """Return when all workers have called it: a four-byte all-reduce, as with TensorFlow."""
        if self.workers > 1:
            dist.all_reduce(torch.zeros(1))

    def means(self, values: Sequence[float]) -> List[float]:
        """The mean of each value over all workers, the same on all."""
        vector = torch.tensor(values, dtype=torch.float64)
        if self.workers > 1:
            self.in_order.submit(dist.all_reduce, vector).result()
        return [float(value) / self.workers for value in vector]

    def spread(self, tensors: Sequence[torch.Tensor]) -> None:
        """Give every worker the chief's values, in place."""
        if self.workers == 1:
            return
        whole = torch.cat([tensor.detach().reshape(-1) for tensor in tensors]).cpu()
        dist.broadcast(whole, src=0)
        with torch.no_grad():
            for tensor, part in zip(tensors, whole.split([tensor.numel() for tensor in tensors])):
                tensor.copy_(part.view(tensor.shape))

    def close(self) -> None:
        """Leave the group once all workers have come so far."""
        self.in_order.shutdown()
        if self.workers > 1:
            self.meet()
            for close in self.closing:
                close()
            dist.destroy_process_group()


def _gpu(device: torch.device) -> str:
    """A name of a GPU that no other one has. PyTorch before 2.5 cannot tell apart those of one machine."""
    machine = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    return f"{machine} {getattr(torch.cuda.get_device_properties(device), 'uuid', '')}"
