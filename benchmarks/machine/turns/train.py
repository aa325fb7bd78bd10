"""Trains a run with all its workers in this process."""

from __future__ import annotations

import contextlib
import dataclasses
import threading
import time
from pathlib import Path
from typing import Any, List

import tensorflow as tf

from benchmarks.machine.turns.collectives import Abandoned, LaterExecutor, Strategy, Turns
from benchmarks.machine.turns.sharing import Shared
from trainer import sync
from trainer.contract.cluster import Cluster
from trainer.contract.config import Config
from trainer.contract.run import Run
from trainer.formats.archives import Images
from trainer.learning.context import TrainingContext

# steps until an average arrives: at the paper's ratio a message of float16 travels as long as one step computes, and a
# quarter to a whole of that longer with more boards
_ARRIVES_AFTER = 2
_BUILDING = threading.Lock()  # Keras draws initial weights from the process' seed


class TurnsContext(TrainingContext):
    """The trainer's context, for one of the workers that take turns."""

    def __init__(self, run: Run, cluster: Cluster, folder: Path, strategy: Strategy, images: List[Images]) -> None:
        """`images`: none, or those of the worker before, to be shared."""
        self._turns, self._shared = strategy, images
        super().__init__(run, cluster, folder, time.monotonic())
        self.in_order = LaterExecutor(_ARRIVES_AFTER)  # type: ignore[assignment]

    def set_threads(self) -> None:
        """They are set for all workers."""

    def build_strategy(self) -> tf.distribute.Strategy:
        return self._turns if self.distributed else super().build_strategy()

    def load_images(self) -> Images:
        if not self._shared:
            self._shared.append(super().load_images())
        return self._shared[0]

    def build_model(self) -> tf.keras.Model:
        with _BUILDING:
            tf.keras.utils.set_random_seed(self.seed)
            return super().build_model()


def set_threads(workers: int) -> None:
    """Give TensorFlow the threads that this many workers need; call it before any operation."""
    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(workers + 2)  # one waits in each worker's function


def train(run: Run, folder: Path) -> None:
    """Train with all workers of the run; records and weights lie in a folder for each board below `folder`.

    Raises the first worker's error.
    """
    turns = Turns(run.workers)
    alike = run.config.data.sharding != "proportional"  # else a board's weight is in the functions that it traces
    shared = [(Strategy(turns), Shared())] * run.workers if alike else []
    shared = shared or [(Strategy(turns), Shared()) for _ in range(run.workers)]
    images: List[Images] = []
    errors: List[Exception] = []
    run = dataclasses.replace(run, config=in_own_loop(run.config) if run.workers > 1 else run.config)
    addresses = [f"127.0.0.1:{port}" for port in range(1, run.workers + 1)]  # nothing listens

    def work(rank: int) -> None:
        own = folder / run.boards[rank]
        own.mkdir(parents=True)
        failed = True
        try:
            turns.begin(rank)
            strategy, functions = shared[rank]
            # alone there is nobody to share functions with, and Keras' own take what cannot be shared
            with functions.as_worker() if run.workers > 1 else contextlib.nullcontext():
                context = TurnsContext(run, Cluster(addresses, rank), own, strategy, images)
                context.finish(sync.train(context))
            failed = False
        except Abandoned:
            pass
        except Exception as error:  # raised by the caller's thread
            errors.append(error)
        finally:
            turns.end(rank, failed)

    threads = [threading.Thread(target=work, args=(rank,), daemon=True) for rank in range(run.workers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]


def in_own_loop(config: Config) -> Config:
    """The same learning in the kit's loop: Keras' `fit` averages the gradient, in float32, every step."""
    if config.sync.method != "keras":
        return config
    method: Any = dict(method="allreduce", gradient_dtype="float32", bucket_bytes=0, accumulate_steps=1)
    return dataclasses.replace(config, sync=dataclasses.replace(config.sync, **method))
