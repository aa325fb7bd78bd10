"""`python -m trainer --config run.json`: run its task as the worker named in the tf_config.json beside it.

Writes events.jsonl, the chief's weights and finally result.json into the folder of run.json. With --check it only reads
and checks the files.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
import time
import traceback
from pathlib import Path
from typing import Callable, Optional

from trainer.contract import causes, packages, strategies
from trainer.contract.causes import Cause, KerasError
from trainer.contract.cluster import CHIEF, SERVER, WORKER, Cluster, load_cluster
from trainer.contract.config import ConfigError
from trainer.contract.generation import Generation, load_generation
from trainer.contract.layout import RUN, TF_CONFIG
from trainer.contract.records import EventLog
from trainer.contract.run import Run, load_run
from trainer.contract.strategies import PYTORCH
from trainer.formats import archives
from trainer.supervise import relay, tasks
from trainer.supervise.result import write_result


def main() -> int:
    started, started_s = time.monotonic(), time.time()
    parser = argparse.ArgumentParser(prog="python -m trainer", description=__doc__)
    parser.add_argument("--config", type=Path, required=True, help="path of the run's run.json")
    parser.add_argument("--check", action="store_true", help="check the configuration without training")
    parser.add_argument("--task", choices=(CHIEF, WORKER, SERVER), help="be this task of a run with parameter servers")
    arguments = parser.parse_args()
    folder: Path = arguments.config.resolve().parent
    try:
        run, cluster = load_run(arguments.config), load_cluster(folder / TF_CONFIG)
        generation = load_generation(folder, run.workers)
        run, cluster = generation.narrow(run, cluster)
    except (ConfigError, ValueError) as error:
        print(f"trainer: {error}", file=sys.stderr)
        return 2
    if arguments.check:
        return 0
    if arguments.task:
        cause = _guarded(lambda: _be(arguments.task, run, cluster, folder, started))
        if cause:
            relay.tell_failure(folder, cause)
        return 1 if cause else 0
    cause = _guarded(lambda: _train(run, cluster, folder, started, generation))
    status, code = ("failed", 1) if cause else ("succeeded", 0)
    write_result(folder, status=status, cause=cause, exit_code=code, started_s=started_s)
    return code


def _train(run: Run, cluster: Cluster, folder: Path, started: float, generation: Generation) -> Optional[Cause]:
    """Train; return the cause of a failure, or None."""
    for kind, staged in run.assets.items():
        found = archives.sha256(Path(staged["path"]))
        if found != staged["sha256"]:
            return Cause("data", f"the staged {kind} {staged['path']} has checksum {found}, not {staged['sha256']}")
    strategy = strategies.found(run.config.engine, run.config.strategy_on(cluster.workers))
    if strategy.servers:
        return tasks.run_tasks(folder / RUN, run, cluster)
    perform(run, cluster, folder, started, generation=generation)
    return None


def _guarded(act: Callable[[], Optional[Cause]]) -> Optional[Cause]:
    """The cause of a failure that `act` returns or raises, or None."""
    try:
        return act()
    except Exception as error:  # every failure must reach the result
        with contextlib.suppress(OSError):  # the disk may be full
            traceback.print_exc()
        return causes.of_exception(error)


def perform(
    run: Run,
    cluster: Cluster,
    folder: Path,
    started: float,
    log: Optional[EventLog] = None,
    generation: Optional[Generation] = None,
) -> None:
    """Run the task on this board as one worker of the cluster.

    `folder` is the run's folder on this board, `started` the monotonic time at which the process began, `log` where
    records go; null: to this board's own. `generation`: that of the boards if some were lost.
    """
    # imported last: engines take seconds to import, and all else can fail early
    if run.config.engine == PYTORCH:
        from trainer.pytorch import training

        return training.perform(run, cluster, folder, started)
    missing = packages.missing_keras(packages.installed())
    if missing:
        raise KerasError(f"this environment's TensorFlow has Keras 3 alone, and the trainer needs Keras 2: {missing}")
    from trainer import sync
    from trainer.learning.context import TrainingContext
    from trainer.measure import predict, probe, trial

    context = TrainingContext(run, cluster, folder, started, log, generation)
    measures = {"probe": probe, "trial": trial, "predict": predict}
    if run.task in measures:
        measures[run.task].measure(context)
    else:
        context.finish(sync.train(context))
    return None


def _be(task: str, run: Run, cluster: Cluster, folder: Path, started: float) -> Optional[Cause]:
    """Be one of this board's tasks of a run with parameter servers; return the cause of a failure, or None."""
    from trainer.sync import served

    if task == CHIEF:
        perform(run, cluster, folder, started, served.Boards(run.config, cluster, folder))
        sys.stdout.flush()
        os._exit(0)  # at its usual end TensorFlow would wait for a worker that is lost
    served.serve(run, cluster, folder, task)
    return None


if __name__ == "__main__":
    sys.exit(main())
