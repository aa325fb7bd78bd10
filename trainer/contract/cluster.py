"""TF_CONFIG: the boards of the cluster, and which of them this one is. Standard library only."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Dict, List, Tuple

from trainer.contract import reading

# added to the kit's port, for tasks of runs with parameter servers; that port is the chief's, the next the heartbeats'
WORKER_PORT, SERVER_PORT = 2, 3
CHIEF, WORKER, SERVER = "chief", "worker", "ps"  # TensorFlow's names of tasks
_REMEDY = "render TF_CONFIG with playbooks/run_experiment.yml"


@dataclass(frozen=True)
class Cluster:
    """The cluster as one of its workers sees it."""

    addresses: List[str]  # ip:port in rank order, the same on every board
    rank: int

    def __post_init__(self) -> None:
        if not 0 <= self.rank < len(self.addresses):
            raise ValueError(
                f"task index {self.rank} is outside the cluster of {len(self.addresses)} workers: {_REMEDY}"
            )

    @property
    def workers(self) -> int:
        return len(self.addresses)

    @property
    def is_chief(self) -> bool:
        """Whether this is worker 0, which saves the weights."""
        return self.rank == 0

    @property
    def own_address(self) -> str:
        """ip:port of TensorFlow's server on this board."""
        return self.addresses[self.rank]

    @property
    def own_ip(self) -> str:
        """The address of the training network on this board."""
        return self.own_address.rpartition(":")[0]

    @property
    def own_addresses(self) -> List[str]:
        """ip:port of each of TensorFlow's servers that may run on this board."""
        return [_moved(self.own_address, ports) for ports in (0, WORKER_PORT, SERVER_PORT)]

    def tasks(self, dedicated: int) -> Dict[str, List[str]]:
        """The addresses of a cluster with parameter servers, by task: the cluster of TF_CONFIG.

        The last `dedicated` boards are servers and nothing else; 0: each board has a server beside its worker.
        """
        computing = self.addresses[: self.workers - dedicated]
        serving = self.addresses[len(computing) :] or computing
        return {
            CHIEF: [self.addresses[0]],
            WORKER: [_moved(address, WORKER_PORT) for address in computing],
            SERVER: [_moved(address, SERVER_PORT) for address in serving],
        }

    def own_tasks(self, dedicated: int) -> List[Tuple[str, int]]:
        """This board's tasks of such a cluster, each with its index in it; the chief is the last."""
        computing = self.workers - dedicated
        own: List[Tuple[str, int]] = []
        if self.rank >= computing or not dedicated:
            own.append((SERVER, self.rank - computing if dedicated else self.rank))
        if self.rank < computing:
            own.append((WORKER, self.rank))
        return own + ([(CHIEF, 0)] if self.is_chief else [])

    def export_task(self, dedicated: int, task: str, index: int) -> None:
        """Set TF_CONFIG for one of this board's tasks of a cluster with parameter servers."""
        told = {"cluster": self.tasks(dedicated), "task": {"type": task, "index": index}}
        os.environ["TF_CONFIG"] = json.dumps(told)

    def export(self) -> None:
        """Set the environment variable that TensorFlow's cluster resolver reads."""
        os.environ["TF_CONFIG"] = json.dumps(
            {"cluster": {"worker": self.addresses}, "task": {"type": "worker", "index": self.rank}}
        )


def dispensable(workers: int, dedicated: int) -> range:
    """The ranks of boards whose end does not end a run: workers alone, beside `dedicated` parameter servers."""
    return range(1, workers - dedicated) if dedicated else range(0)


def _moved(address: str, ports: int) -> str:
    host, _, port = address.rpartition(":")
    return f"{host}:{int(port) + ports}"


def load_cluster(path: Path) -> Cluster:
    """The cluster of a tf_config.json. Raises ValueError where the file does not describe one."""
    try:
        raw = reading.read(path)
        addresses, task = list(map(str, raw["cluster"]["worker"])), raw["task"]
        kind, rank = task["type"], int(task["index"])
    except (OSError, KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{path} is not a TF_CONFIG ({error!r}): {_REMEDY}") from error
    if kind != "worker":
        raise ValueError(f"{path} has the task type {kind!r}, but this kit has only workers: {_REMEDY}")
    return Cluster(addresses=addresses, rank=rank)
