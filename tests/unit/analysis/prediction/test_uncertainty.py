"""Intervals of predictions cover what runs take, where the truth is known."""

import json
import math

import numpy as np
import pandas as pd
import pytest

from analysis.prediction.allreduce import AllReduce, Network, Point, fit, tells_latency
from analysis.prediction.costmodel import constants, step
from analysis.prediction.measured import Measured, of_turns
from analysis.prediction.repeats import Error, error_of, error_of_turns
from analysis.prediction.uncertainty import ANOTHER_RUN, intervals, standard_errors
from benchmarks.docs.figures import DOCS
from trainer.contract.events import NO_SYNC, ONE_BOARD
from trainer.contract.methods import Sizes
from trainer.contract.sections import sync_of

NETWORK = Network(1e8)
NOISE = 0.03  # of a turn, relative
SYNC = [sync_of(name) for name in ("keras", "allreduce, float32")]
TRUE = AllReduce(latency_s=0.002, per_byte_s=2e-9)
GRADIENT = 10_000_000
STALL_S = TRUE.seconds(GRADIENT, 2, NETWORK)
TRUE_S = {ONE_BOARD: 0.4, NO_SYNC: 0.42, "keras": 0.5 + STALL_S, "allreduce, float32": 0.45 + STALL_S}


def measured_with(generator, cycles):
    """What a trial of some cycles and some all-reduces measure, each turn with noise of its own."""
    rows = []
    for cycle in range(cycles):
        for name, seconds in TRUE_S.items():
            off = 1 + NOISE * generator.standard_normal()
            together = name not in (ONE_BOARD, NO_SYNC)
            times = {"step_s": seconds * off, "communication_s": STALL_S * off if together else 0.0, "waiting_s": 0.0}
            zero = {"overlapped_s": 0.0, "sent_bytes_per_step": 0.0, "images_per_s": 1.0}
            rows.append(
                {"sync": name, "boards": 2, "cycle": cycle, "payload_bytes_per_step": GRADIENT, **times, **zero}
            )
    found = of_turns(pd.DataFrame(rows), Sizes(GRADIENT / 4, 2_600_000, None), NETWORK.link_bit_per_s)
    points = []
    for size in (GRADIENT / 1024, GRADIENT / 16, GRADIENT / 4, GRADIENT):
        seconds = TRUE.seconds(size, 2, NETWORK) * (1 + NOISE * generator.standard_normal(4))
        points.append(Point(size, float(np.median(seconds)), 2, NETWORK.link_bit_per_s, error_of(seconds.tolist())))
    known = {"run_ids": ("made up",), "emulated": True, "gradient_bytes": GRADIENT, "total_parameters": 2_600_000}
    work = {"shapes": None, "board_batch": 64, "train_images": 6400, "epochs": 2, "sharding": "sharded"}
    return Measured(**known, **work, **{**found, "points": tuple(points)})


def steps_s(measured):
    found = constants(measured)
    return np.array([step(measured, found, sync, 2, NETWORK).total_s for sync in SYNC])


@pytest.mark.slow
@pytest.mark.parametrize("cycles", [2, 5])
def test_nine_of_ten_runs_take_what_the_interval_says(cycles):
    generator = np.random.default_rng(cycles)
    inside = []
    for _ in range(1000):
        low, high = intervals(measured_with(generator, cycles), steps_s)
        # runs of the two methods, each on another day
        took = np.array([TRUE_S["keras"], TRUE_S["allreduce, float32"]])
        took *= np.exp(ANOTHER_RUN.share * generator.standard_normal(2))
        inside += ((low <= took) & (took <= high)).tolist()
    assert 0.88 <= np.mean(inside) <= 0.92


def test_the_standard_error_of_a_parameter_is_its_spread_over_repeated_measurements():
    generator = np.random.default_rng(3)

    def latency(measured):
        return np.array([constants(measured).all_reduce.latency_s])

    found = [measured_with(generator, 3) for _ in range(60)]
    spread = np.std([latency(it)[0] for it in found], ddof=1)
    errors = [standard_errors(it, latency)[0] for it in found]
    assert np.sqrt(np.mean(np.square(errors))) == pytest.approx(spread, rel=0.35)


def test_a_wider_spread_gives_a_wider_interval():
    quiet = measured_with(np.random.default_rng(1), 3)
    low, high = intervals(quiet, steps_s)
    loud = Measured(**{**vars(quiet), "together_step_error": Error(0.2, 4)})
    lower, higher = intervals(loud, steps_s)
    assert (lower < low).all() and (higher > high).all()


def test_without_repeats_nothing_is_known_of_the_error():
    once = measured_with(np.random.default_rng(1), 1)
    bare = Measured(**{**vars(once), "points": ()})
    assert np.isnan(intervals(bare, steps_s)).all() and np.isnan(standard_errors(bare, steps_s)).all()


def test_a_run_to_come_differs_as_those_of_the_benchmark_did():
    rows = json.loads((DOCS / "data/bench-prediction.json").read_text(encoding="utf-8"))["rows"]
    errors = [row["error"] for row in rows]
    assert ANOTHER_RUN.share == pytest.approx(math.sqrt(np.mean(np.square(errors))), abs=0.0005)
    assert ANOTHER_RUN.df == len(errors)


def points_of(*shares, noise=0.0):
    generator = np.random.default_rng(7)
    return [
        Point(GRADIENT * share, TRUE.seconds(GRADIENT * share, 2, NETWORK) * (1 + noise * off), 2, 1e8)
        for share, off in zip(shares, generator.standard_normal(len(shares)), strict=True)
    ]


@pytest.mark.parametrize(
    ("points", "known"),
    [
        (points_of(1 / 16, 1), True),
        (points_of(1 / 15, 1), False),  # two points have no error
        (points_of(1 / 2, 1, 1 / 2, 1), True),  # which these have: none
        (points_of(1 / 2, 1, 1 / 2, 1, noise=0.1), False),
        (points_of(1, 1, 1), False),
        ([], False),
    ],
    ids=["16-fold", "15-fold", "a small error", "a large error", "one size", "none"],
)
def test_latency_is_known_where_payloads_differ_16_fold_or_its_error_says_so(points, known):
    assert tells_latency(points) is known
    assert (fit(points).latency_s > 0) is known


def test_the_error_of_turns_is_pooled_over_the_methods():
    rows = pd.DataFrame({"sync": ["a", "a", "b", "b"], "step_s": [0.9, 1.1, 9.0, 11.0]})
    assert error_of_turns(rows) == Error(pytest.approx(math.sqrt(0.04 / 2) / math.sqrt(2)), 2)
    assert error_of_turns(rows[::2]) is None and error_of([1.0]) is None
