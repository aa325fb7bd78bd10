"""The tasks of a run with parameter servers that wait for the chief's operations: workers and servers."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
from pathlib import Path
from typing import Any, Dict

import tensorflow as tf

from trainer.contract.cluster import WORKER, Cluster
from trainer.contract.config import Config
from trainer.contract.events import Record, Resume, Start
from trainer.contract.layout import PROGRESS, RELAY, UNPACKED, append_json
from trainer.contract.records import EventLog
from trainer.contract.run import Run
from trainer.formats import archives

RELAYED = f"file://{RELAY}"  # the relay's file, as TensorFlow's print names it


class Boards(EventLog):
    """Tells all boards what the chief would write: each board's relay makes its records of it."""

    def __init__(self, config: Config, cluster: Cluster, folder: Path) -> None:
        self._relay, self._progress = folder / RELAY, folder / PROGRESS
        # another board: through its server, which lasts as long as the run, or else through its worker
        others = [Cluster(cluster.addresses, rank).own_tasks(config.servers)[0] for rank in range(1, cluster.workers)]
        self._devices = [f"/job:{task}/replica:0/task:{index}/device:CPU:0" for task, index in others]
        self.more: Dict[str, Any] = {}  # further fields of the start

    def write(self, record: Record) -> None:
        fields = dataclasses.asdict(record)
        if isinstance(record, Start):
            fields.update(self.more, resumed=None)
        elif isinstance(record, Resume):
            fields = {"resumed": record.epoch, "startup_s": record.startup_s, **self.more}
        self.tell(Start.KIND if isinstance(record, Resume) else record.KIND, **fields)

    def tell(self, event: str, **fields: Any) -> None:
        """Append a line to the relay's file on every board whose task is there."""
        told = {"event": event, **fields}
        line = json.dumps(told)
        for device in self._devices:
            # a worker may have ended; of a server, the next step tells
            with contextlib.suppress(tf.errors.OpError), tf.device(device):
                tf.print(tf.constant(line), output_stream=RELAYED)
        append_json(self._relay, told)  # last: after the end, this board's tasks are stopped

    def close(self) -> None:
        pass


def serve(run: Run, cluster: Cluster, folder: Path, task: str) -> None:
    """Wait for operations until the process is killed."""
    os.chdir(str(folder))  # the chief names files by their path from here, whatever board they are on
    if task == WORKER:
        _write_images(run)
    # with fewer threads, what waits for other tasks could keep the operations that these wait for from running
    threads = max(len(os.sched_getaffinity(0)), run.config.computing(cluster.workers) + 1)
    options = tf.compat.v1.ConfigProto(
        inter_op_parallelism_threads=threads, device_count={} if task == WORKER else {"GPU": 0}
    )
    (index,) = (index for name, index in cluster.own_tasks(run.config.servers) if name == task)
    spec = tf.train.ClusterSpec(cluster.tasks(run.config.servers))
    tf.distribute.Server(spec, job_name=task, task_index=index, protocol="grpc", config=options).join()


def _write_images(run: Run) -> None:
    """Write the images as they are in memory: what the chief has a worker do can read files, but not archives."""
    config, staged = run.config.data, run.assets["dataset"]
    images = archives.load(config.source, Path(staged["path"]), config.train_images, config.validation_images)
    for name, array in zip(UNPACKED, (images.x_train, images.y_train, images.x_test, images.y_test)):
        array.tofile(name)
