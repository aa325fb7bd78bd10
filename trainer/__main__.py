"""`python -m trainer --config run.json`: run its task as the worker named in the tf_config.json beside it.

Writes events.jsonl, the chief's weights and finally result.json into the folder of run.json. With --check it only reads
and checks the files.
"""

from __future__ import annotations

import argparse
import contextlib
import sys
import time
import traceback
from pathlib import Path
from typing import Optional

from trainer.contract import causes
from trainer.contract.causes import Cause
from trainer.contract.cluster import Cluster, load_cluster
from trainer.contract.config import ConfigError
from trainer.contract.generation import Generation, load_generation
from trainer.contract.layout import TF_CONFIG
from trainer.contract.run import Run, load_run
from trainer.formats import archives
from trainer.supervise.result import write_result


def main() -> int:
    started, started_s = time.monotonic(), time.time()
    parser = argparse.ArgumentParser(prog="python -m trainer", description=__doc__)
    parser.add_argument("--config", type=Path, required=True, help="path of the run's run.json")
    parser.add_argument("--check", action="store_true", help="check the configuration without training")
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
    cause = _train(run, cluster, folder, started, generation)
    status, code = ("failed", 1) if cause else ("succeeded", 0)
    write_result(folder, status=status, cause=cause, exit_code=code, started_s=started_s)
    return code


def _train(run: Run, cluster: Cluster, folder: Path, started: float, generation: Generation) -> Optional[Cause]:
    """Train; return the cause of a failure, or None."""
    try:
        for kind, staged in run.assets.items():
            found = archives.sha256(Path(staged["path"]))
            if found != staged["sha256"]:
                return Cause("data", f"the staged {kind} {staged['path']} has checksum {found}, not {staged['sha256']}")
        perform(run, cluster, folder, started, generation)
    except Exception as error:  # every failure must reach the result
        with contextlib.suppress(OSError):  # the disk may be full
            traceback.print_exc()
        return causes.of_exception(error)
    return None


def perform(run: Run, cluster: Cluster, folder: Path, started: float, generation: Optional[Generation] = None) -> None:
    """Run the task on this board as one worker of the cluster.

    `folder` is the run's folder on this board, `started` the monotonic time at which the process began, `generation`
    that of the boards if some were lost.
    """
    # imported last: TensorFlow takes seconds to import, and all else can fail early
    from trainer import sync
    from trainer.learning.context import TrainingContext
    from trainer.measure import predict, probe, trial

    context = TrainingContext(run, cluster, folder, started, generation)
    measures = {"probe": probe, "trial": trial, "predict": predict}
    if run.task in measures:
        measures[run.task].measure(context)
    else:
        context.finish(sync.train(context))


if __name__ == "__main__":
    sys.exit(main())
