"""`python -m benchmarks.machine.turns FOLDER`: train the run of FOLDER/run.json with all its workers; Python 3.8."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from trainer.contract.layout import BOARDS, RUN
from trainer.contract.run import load_run


def main() -> None:
    os.environ["CUDA_VISIBLE_DEVICES"] = ""
    from benchmarks.machine.turns import train  # after the environment: it imports TensorFlow

    folder = Path(sys.argv[1])
    run = load_run(folder / RUN)
    train.set_threads(run.workers)
    train.train(run, folder / BOARDS)


if __name__ == "__main__":
    main()
