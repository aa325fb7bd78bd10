"""TF_CONFIG: which boards form the cluster and which of them this one is. Standard library only."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import List


@dataclass(frozen=True)
class Cluster:
    """The cluster as one of its workers sees it."""

    addresses: List[str]  # ip:port in rank order, the same on every board
    rank: int

    def __post_init__(self) -> None:
        if not 0 <= self.rank < len(self.addresses):
            raise ValueError(
                f"task index {self.rank} is outside the cluster of {len(self.addresses)} workers: "
                "render TF_CONFIG with playbooks/run_experiment.yml"
            )

    @property
    def workers(self) -> int:
        return len(self.addresses)

    @property
    def is_chief(self) -> bool:
        """Worker 0 saves the weights."""
        return self.rank == 0

    @property
    def own_address(self) -> str:
        """ip:port of TensorFlow's server on this board."""
        return self.addresses[self.rank]

    @property
    def own_ip(self) -> str:
        """The address of the training network on this board."""
        return self.own_address.rpartition(":")[0]

    def export(self) -> None:
        """Set the environment variable that TensorFlow's cluster resolver reads."""
        os.environ["TF_CONFIG"] = json.dumps(
            {"cluster": {"worker": self.addresses}, "task": {"type": "worker", "index": self.rank}}
        )


def load_cluster(path: Path) -> Cluster:
    """The cluster of a tf_config.json. Raises ValueError where the file does not describe one."""
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
        addresses, task = raw["cluster"]["worker"], raw["task"]
        if task["type"] != "worker":
            raise ValueError(f"task type is {task['type']!r}; this kit has only workers")
        return Cluster(addresses=list(addresses), rank=int(task["index"]))
    except (OSError, KeyError, TypeError) as error:
        raise ValueError(f"{path} is not a TF_CONFIG: {error!r}") from error
