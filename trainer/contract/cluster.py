"""TF_CONFIG: the boards of the cluster, and which of them this one is. Standard library only."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import List

from trainer.contract import reading

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

    def export(self) -> None:
        """Set the environment variable that TensorFlow's cluster resolver reads."""
        os.environ["TF_CONFIG"] = json.dumps(
            {"cluster": {"worker": self.addresses}, "task": {"type": "worker", "index": self.rank}}
        )


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
