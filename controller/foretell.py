"""Predicts a run's time from earlier measurements on the same boards.

It uses the newest matching run of `playbooks/predict.yml`, else the newest run of one board and, for several boards, a
probe of their all-reduce. A run matches if its engine, model and batch are the same and its boards take part.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from analysis.runs.errors import AnalysisError
from analysis.runs.manifest import read_manifest
from trainer.contract.config import Config, ConfigError
from trainer.contract.layout import RUN, entries, run_folders
from trainer.contract.methods import METHODS
from trainer.contract.run import Run, load_run
from trainer.contract.strategies import MULTI_WORKER_MIRRORED, NONE

if TYPE_CHECKING:
    from analysis.prediction.measured import Measured

_Made = tuple[Run, Path]


@dataclass(frozen=True)
class Expectation:
    epoch_s: float  # including validation
    epoch_low_s: float | None  # its 90 % interval; null if nothing was measured twice
    epoch_high_s: float | None
    total_s: float  # from the trainer's start, without the first epoch's extra time
    energy_j: float | None  # of all boards
    measured_in: list[str]  # run ids


def expected(config: Config, workers: int, boards: Sequence[str], places: Sequence[Path]) -> Expectation | None:
    """The prediction for a run on these boards; None without matching measurements.

    `places`: folders of runs.
    """
    sources = _sources(config, list(boards[:workers]), places)
    if not sources or METHODS[config.sync.method].exchange is None:
        return None
    # imported late: pandas takes a second
    from analysis.prediction.allreduce import Network
    from analysis.prediction.measured import Measured, combine
    from analysis.prediction.predict import Plan, predict

    try:
        measured = combine([Measured.from_folder(folder) for _, folder in sources])
        images = _images(config, sources[0][0], measured)
        if images is None:
            return None
        asked = dataclasses.replace(measured, epochs=config.epochs, sharding=config.data.sharding, train_images=images)
        plan = Plan([workers], Network(measured.link_bit_per_s), {"asked": config.sync})
        row = predict(asked, plan).iloc[-1 if workers > 1 else 0]
    except (AnalysisError, ArithmeticError, ConfigError, OSError, ValueError):
        return None
    if math.isnan(row["total_s"]):
        return None
    energy_j = None if math.isnan(row["energy_j"]) else float(row["energy_j"])
    total_s = float(row["total_s"]) + (measured.startup_s or 0.0)
    low, high = (None if math.isnan(row[f"epoch_s{end}"]) else float(row[f"epoch_s{end}"]) for end in ("_low", "_high"))
    return Expectation(float(row["epoch_s"]), low, high, total_s, energy_j, [run.run_id for run, _ in sources])


def _sources(config: Config, boards: Sequence[str], places: Sequence[Path]) -> list[_Made]:
    """The runs to predict from; empty if they do not suffice."""
    predictions = [*_fitting("*-predict-*", "predict", config, boards, places)]
    if predictions:  # prefer one on equally many boards, else the latest
        return [next((made for made in predictions if made[0].workers == len(boards)), predictions[0])]
    one = next(_fitting("*-w1-*", "train", config, boards[:1], places), None)
    if one is None or len(boards) == 1:
        return [] if one is None else [one]
    probe = next(_fitting("*-probe-*", "probe", config, boards, places), None)
    return [] if probe is None else [one, probe]


def _fitting(pattern: str, task: str, config: Config, boards: Sequence[str], places: Sequence[Path]) -> Iterator[_Made]:
    """Matching runs with this name and task that succeeded, the newest first."""
    folders = [folder for place in places for folder in run_folders(entries(place, pattern))]
    for folder in sorted(folders, key=lambda folder: folder.name, reverse=True):
        try:
            run = load_run(folder / RUN)
        except ConfigError:  # of another version
            continue
        if run.task == task and _fits(run, config, boards):
            manifest, _ = read_manifest(folder)
            if manifest is not None and manifest["status"] == "succeeded":
                yield run, folder


def _fits(run: Run, config: Config, boards: Sequence[str]) -> bool:
    strategies = [it.strategy_on(count) for it, count in ((run.config, run.workers), (config, len(boards)))]
    if any(name not in (NONE, MULTI_WORKER_MIRRORED) for name in strategies):
        return False
    same = (run.config.engine, run.config.model) == (config.engine, config.model)
    same = same and run.config.board_batch(run.workers) == config.board_batch(len(boards))
    return same and set(boards) <= set(run.boards)


def _images(config: Config, run: Run, measured: Measured) -> int | None:
    """Training images of the requested run; None if its archive is not the measured one and its length is unknown."""
    if config.data.train_images is not None:
        return config.data.train_images
    same = (config.data.source, config.data.path) == (run.config.data.source, run.config.data.path)
    return measured.train_images if same and run.config.data.train_images is None else None
