"""Joins strategy and method of a run; see STRATEGIES in contract/strategies.py."""

from __future__ import annotations

import importlib
from pathlib import Path

from trainer.contract.cluster import Cluster
from trainer.contract.run import Run
from trainer.contract.strategies import NONE
from trainer.pytorch import local_sgd, synchronous
from trainer.pytorch.context import TrainingContext
from trainer.pytorch.worker import Method, Worker


def perform(run: Run, cluster: Cluster, folder: Path, started: float) -> None:
    """Run the task on this board as one worker of the cluster; see trainer.__main__."""
    context = TrainingContext(run, cluster, folder, started)
    if run.task == "train":
        worker = Worker(context)
        worker.train(method(worker))
        context.finish()
    else:
        importlib.import_module(f"trainer.pytorch.{run.task}").measure(context)
    context.group.close()


def method(worker: Worker) -> Method:
    """The configured method of synchronising under the configured strategy."""
    context = worker.context
    if context.strategy == NONE:
        return synchronous.Synchronous(worker)
    if context.strategy == "c10d":
        local = context.config.sync.method == "local_sgd"
        return local_sgd.LocalSgd(worker) if local else synchronous.Synchronous(worker)
    found: Method = importlib.import_module(f"trainer.pytorch.{context.strategy}").method(worker)
    return found
