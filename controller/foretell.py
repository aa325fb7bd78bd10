"""What a run will take, from what the same boards measured before: the newest prediction that fits.

`playbooks/predict.yml` leaves a run that trained nothing; it fits a run of the same model and batch on boards that it
measured.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from analysis.prediction.allreduce import Network
from analysis.prediction.measured import Measured, combine
from analysis.prediction.predict import Plan, predict
from analysis.runs.errors import AnalysisError
from analysis.runs.manifest import read_manifest
from trainer.contract.config import Config, ConfigError, Run, load_run
from trainer.contract.layout import RUN, entries, run_folders
from trainer.contract.methods import METHODS

TASK = "predict"


@dataclass(frozen=True)
class Expectation:
    """Of a whole run."""

    epoch_s: float  # with validation
    total_s: float  # from the trainer's start; what only a first epoch does is not counted
    energy_j: float | None  # of all boards
    measured_in: list[str]  # run ids


def expected(config: Config, workers: int, boards: Sequence[str], runs_dir: Path) -> Expectation | None:
    """What such a run will take on the first of these boards; None where nothing that fits was measured."""
    found = [made for made in _predictions(runs_dir) if _fits(made[0], config, boards[:workers])]
    if not found or METHODS[config.sync.method].exchange is None:
        return None
    # measured on as many boards where there is such a one; else the latest
    run, folder = max(found, key=lambda made: (made[0].workers == workers, made[0].run_id))
    try:
        measured = combine([Measured.from_folder(folder)])
        images = _images(config, run, measured)
        if images is None:
            return None
        asked = dataclasses.replace(measured, epochs=config.epochs, sharding=config.data.sharding, train_images=images)
        plan = Plan([workers], Network(measured.link_bit_per_s), {"asked": config.sync})
        row = predict(asked, plan).iloc[-1 if workers > 1 else 0]
    except (AnalysisError, ConfigError, OSError):
        return None
    if math.isnan(row["total_s"]):
        return None
    energy_j = None if math.isnan(row["energy_j"]) else float(row["energy_j"])
    return Expectation(
        float(row["epoch_s"]), float(row["total_s"]) + (measured.startup_s or 0.0), energy_j, [run.run_id]
    )


def _predictions(runs_dir: Path) -> Iterator[tuple[Run, Path]]:
    """Those that ended well, with their folders: one that was stopped may lack any of its records."""
    for folder in run_folders(entries(runs_dir, f"*-{TASK}-*")):
        manifest, _ = read_manifest(folder)
        if manifest is None or manifest["status"] != "succeeded":
            continue
        with suppress(ConfigError):  # of another version
            run = load_run(folder / RUN)
            if run.task == TASK:
                yield run, folder


def _fits(run: Run, config: Config, boards: Sequence[str]) -> bool:
    same = run.config.model == config.model and run.config.board_batch(run.workers) == config.board_batch(len(boards))
    return same and set(boards) <= set(run.boards)


def _images(config: Config, run: Run, measured: Measured) -> int | None:
    """Training images of the asked run; None where its archive was not the measured one's and its length is unknown."""
    if config.data.train_images is not None:
        return config.data.train_images
    same = (config.data.source, config.data.path) == (run.config.data.source, run.config.data.path)
    return measured.train_images if same and run.config.data.train_images is None else None
