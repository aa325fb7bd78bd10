"""The verdict's sentences."""

import math
import re

import pytest

from analysis import compare, load
from analysis.comparison.arms import MARGIN
from analysis.comparison.verdict import verdict
from tests.data.build_runs import build_run
from trainer.contract.config import Config, known_keys
from trainer.contract.methods import METHODS

REAL = {"emulated": False}


def said(parent):
    return compare(load(parent.iterdir())).verdict


def repeats(parent, runs, workers, step_s, accuracy=0.3, **more):
    """Runs whose speed and accuracy vary a little, with the seeds 1, 2, ..."""
    for seed in range(1, runs + 1):
        off = 1 + 0.01 * math.sin(7.0 * seed + workers)
        final = (0.1, 0.2, accuracy + 0.001 * math.sin(3.0 * seed + workers))
        build_run(
            parent,
            f"{workers}-{step_s}-{seed}",
            workers=workers,
            seed=seed,
            step_s=step_s * off,
            accuracy=final,
            **more,
        )


def test_two_boards_beside_the_paper(tmp_path):
    build_run(tmp_path, workers=1, step_s=0.4)
    build_run(tmp_path, workers=2, step_s=1.25)
    assert said(tmp_path) == (
        "Two boards look not worth it in speed: a speed-up of 0.64 (n=1 each: no interval), on emulated boards with "
        "synthetic images. Final accuracy: +0.0 points (0.300 against 0.300; n=1: cannot tell whether that is chance). "
        "Communication limits it: its steps are 67 % computing (reading images included), 33 % communication with "
        "waiting; a faster link, sync.method allreduce (half the bytes) or local_sgd (bytes once in sync.period steps) "
        "would change that; data.sharding sharded would divide an epoch among the boards. Two boards took 2.84 times "
        "as long per epoch as one (the paper: 3.03)."
    )


def test_a_collective_that_was_not_asked_for_is_told_with_its_arms(tmp_path):
    ring = {"facts": {"collective_used": "RingReduce"}}
    build_run(tmp_path, workers=1)
    build_run(tmp_path, "plain", workers=2, **ring)
    build_run(tmp_path, "fast", workers=2, **ring, override={"sync": {"method": "local_sgd"}})
    said_so = said(tmp_path)
    assert said_so.endswith("Two boards (keras), Two boards (local_sgd): asked for NCCL, RingReduce ran.")
    assert said_so.count("asked for") == 1


def test_repeats_are_judged_by_their_interval(tmp_path):
    repeats(tmp_path, 3, 1, 0.4, facts=REAL, synthetic=False)
    repeats(tmp_path, 3, 2, 0.2, facts=REAL, synthetic=False, override={"data": {"sharding": "sharded"}})
    first, second, *_ = said(tmp_path).split(". ")
    assert re.fullmatch(
        r"Two boards \(keras, sharded\) are worth it in speed: a speed-up of 4\.0\d \(95 % interval [34]\.\d\d to "
        r"4\.\d\d; n=3 each, in pairs\)",
        first,
    )
    assert second.startswith("Final accuracy is not worse by more than 0.5 points: ")


def test_repeats_that_are_slower_are_not_worth_it(tmp_path):
    repeats(tmp_path, 3, 1, 0.4)
    repeats(tmp_path, 3, 2, 1.2)
    sentences = said(tmp_path)
    assert sentences.startswith("Two boards are not worth it in speed: a speed-up of 0.6")
    assert re.search(
        r"Two boards took 2\.\d\d times as long per epoch as one "
        r"\(the paper: 3\.03; 95 % interval 2\.\d\d to [23]\.\d\d\)",
        sentences,
    )


def test_an_interval_with_one_in_it_decides_nothing(tmp_path):
    for seed, (one, two) in enumerate([(0.40, 0.82), (0.41, 0.79), (0.39, 0.80)], 1):
        build_run(tmp_path, workers=1, seed=seed, step_s=one)
        build_run(tmp_path, workers=2, seed=seed, step_s=two)
    assert re.match(
        r"Whether two boards are worth it in speed cannot be told: a speed-up of (1.00|0.99|1.01) "
        r"\(95 % interval 0\.9\d to 1\.0\d; n=3 each, in pairs\), on emulated boards with synthetic images; "
        r"these runs could show a difference of 1?\d % or more",
        said(tmp_path),
    )


def test_a_gain_in_speed_that_costs_accuracy_says_so_at_once(tmp_path):
    repeats(tmp_path, 3, 1, 0.4, accuracy=0.3)
    repeats(tmp_path, 3, 2, 0.4, accuracy=0.2)
    first, second, *_ = said(tmp_path).split(". ")
    assert first.startswith("Two boards are worth it in speed, but learn less: ")
    assert second.startswith("Final accuracy is worse: -10.0 points (0.2")


def test_accuracy_that_varies_more_than_the_margin_cannot_be_told(tmp_path):
    for seed, (one, two) in enumerate([(0.30, 0.33), (0.34, 0.31), (0.32, 0.32)], 1):
        build_run(tmp_path, workers=1, seed=seed, accuracy=(0.1, 0.2, one))
        build_run(tmp_path, workers=2, seed=seed, accuracy=(0.1, 0.2, two))
    sentences = said(tmp_path)
    assert (
        "Whether final accuracy is worse by more than 0.5 points cannot be told: +0.0 points (0.320 against"
        in sentences
    )
    assert re.search(r"these runs could show a difference of \d+\.\d points or more", sentences)


def test_as_fast_as_one(tmp_path):
    build_run(tmp_path, workers=1)
    build_run(tmp_path, workers=2)
    assert said(tmp_path).endswith("Two boards took as long per epoch as one (the paper: 3.03 times).")


def test_the_fastest_arm_is_judged_and_the_papers_stands_beside_it(tmp_path):
    build_run(tmp_path, workers=1, step_s=0.4)
    build_run(tmp_path, workers=2, step_s=1.2, seed=1)
    build_run(tmp_path, workers=2, step_s=1.2, seed=2)
    build_run(tmp_path, workers=11, step_s=0.6)
    sentences = said(tmp_path)
    assert sentences.startswith("11 boards look worth it in speed: a speed-up of 7.33 (n=1 each: no interval), on")
    assert sentences.endswith("Two boards took 2.73 times as long per epoch as one (the paper: 3.03).")


def test_runs_are_counted_of_the_two_arms_that_are_compared(tmp_path):
    repeats(tmp_path, 3, 1, 0.4)
    repeats(tmp_path, 3, 2, 0.2)
    build_run(tmp_path, workers=2, step_s=1.2, override={"sync": {"method": "allreduce"}})
    assert re.match(
        r"Two boards \(keras\) are worth it in speed: a speed-up of 4\.0\d \(95 % interval [34]\.\d\d to 4\.\d\d; "
        r"n=3 each, in pairs\)",
        said(tmp_path),
    )


@pytest.mark.parametrize(
    ("arm", "said_of_it"),
    [
        ({"communication_share": 0.5}, "Communication limits it: its steps are 40 % computing"),
        ({"communication_share": 0.5}, "a faster link, a longer sync.period would change that."),
        ({"label": "local_sgd, gradient_dtype=float32", "communication_share": 0.5}, "sync.gradient_dtype float16"),
        ({"waiting_share": 0.5}, "Waiting limits it"),
        ({"waiting_share": 0.5}, "50 % waiting for the slowest board; equally fast boards"),
        ({}, "Computing limits it"),
        ({}, "model.precision mixed_float16 or model.xla autoclustering would change that."),
        ({"energy_ratio": 1.25}, "An image takes 1.25 times the energy of one board."),
        (
            {"energy_ratio": 1.25, "energy_ratio_low": 1.2, "energy_ratio_high": 1.3},
            "board (95 % interval 1.20 to 1.30).",
        ),
    ],
)
def test_it_says_what_limits_and_what_would_change_that(tmp_path, arm, said_of_it):
    build_run(tmp_path, workers=1)
    build_run(tmp_path, workers=2, override={"sync": {"method": "local_sgd"}, "data": {"sharding": "sharded"}})
    arms = compare(load(tmp_path.iterdir())).arms
    known = {"compute_share": 0.4, "communication_share": 0.05, "waiting_share": 0.0}
    for name, value in {**known, **arm}.items():
        arms.loc[1, name] = value
    sentences = verdict(arms, rehearsal=False, synthetic=False)
    assert said_of_it in sentences
    assert 3 <= len(re.findall(r"\.( |$)", sentences)) <= 6


INTERVAL = {"speedup": 1.2, "speedup_low": 1.1, "speedup_high": 1.3, "detectable_speedup": 0.1}
ACCURACY = {"accuracy_difference": -0.01, "accuracy_difference_low": -0.02, "not_worse_p": 0.5}
ACCURACY |= {"accuracy_difference_high": -0.001, "detectable_accuracy": 0.01}


@pytest.mark.parametrize(
    ("arm", "said_of_it"),
    [
        (INTERVAL, "Two boards (local_sgd, sharded) are worth it in speed: "),
        ({**INTERVAL, "speedup_low": 1.0}, "are worth it in speed cannot be told: "),
        ({**INTERVAL, "speedup": 0.9, "speedup_low": 0.8, "speedup_high": 1.0}, "in speed cannot be told: "),
        ({**INTERVAL, "speedup": 0.9, "speedup_low": 0.8, "speedup_high": 0.99}, "are not worth it in speed: "),
        ({"speedup": 1.0, **ACCURACY}, "look not worth it in speed: "),
        ({"speedup": 1.01, **ACCURACY}, "look worth it in speed, but learn less: "),
        ({"speedup": 1.01, **ACCURACY, "accuracy_difference": -MARGIN}, "look worth it in speed: "),
        ({"speedup": 1.01, **ACCURACY, "accuracy_difference_high": 0.0}, "look worth it in speed: "),
        (ACCURACY, "Final accuracy is worse: -1.0 points (0.300 against 0.300; 95 % interval -2.0 to -0.1)."),
        ({**ACCURACY, "accuracy_difference_high": 0.005}, "could show a difference of 1.0 points or more."),
        ({**ACCURACY, "accuracy_difference_high": 0.0}, "Whether final accuracy is worse by more than 0.5 points"),
        ({**ACCURACY, "not_worse_p": 0.049}, "Final accuracy is not worse by more than 0.5 points"),
        ({**ACCURACY, "not_worse_p": 0.05}, "Final accuracy is worse: "),
        ({"communication_share": 0.1, "waiting_share": 0.1}, "Computing limits it"),
        ({"communication_share": 0.2, "waiting_share": 0.2}, "Communication limits it"),
        ({"epoch_ratio": 1.004}, "took as long per epoch as one."),
        ({"epoch_ratio": 1.006}, "took 1.01 times as long per epoch as one."),
    ],
)
def test_on_the_edge_nothing_is_claimed(tmp_path, arm, said_of_it):
    build_run(tmp_path, workers=1)
    build_run(tmp_path, workers=2, override={"sync": {"method": "local_sgd"}, "data": {"sharding": "sharded"}})
    arms = compare(load(tmp_path.iterdir())).arms
    for name, value in {"compute_share": 0.4, "communication_share": 0.05, "waiting_share": 0.0, **arm}.items():
        arms.loc[1, name] = value
    assert said_of_it in verdict(arms, rehearsal=False, synthetic=False)


def test_every_remedy_is_a_field_of_the_configuration(tmp_path):
    known = known_keys(Config)
    for method in METHODS.values():
        assert set(re.findall(r"\bsync\.\w+", method.remedy)) <= set(known)
    assert {"model.precision", "model.xla", "data.sharding", "sync.gradient_dtype"} <= set(known)


def test_one_arm_only(tmp_path):
    build_run(tmp_path, workers=1, step_s=0.4, synthetic=False)
    assert said(tmp_path) == (
        "One board took 3.7 s per epoch and processed 160 images/s, on emulated boards "
        "(n=1: no interval). There is nothing to compare: run the same experiment on more "
        "boards, such as -e workers=2."
    )


def test_one_arm_of_two_boards(tmp_path):
    build_run(tmp_path, workers=2, step_s=0.4)
    assert said(tmp_path).endswith("run the same experiment on one board, -e workers=1.")


def test_several_arms_without_one_board(tmp_path):
    build_run(tmp_path, workers=2, step_s=0.4)
    build_run(tmp_path, workers=3, step_s=0.4)
    sentences = said(tmp_path)
    assert sentences.startswith("Of 2 arms the fastest: three boards took 3.7 s per epoch and")
    assert "Without a run on one board there is no speed-up" in sentences


def test_runs_of_one_epoch_are_compared_per_step(tmp_path):
    build_run(tmp_path, workers=1, epochs=1, step_s=0.4)
    build_run(tmp_path, workers=2, epochs=1, step_s=1.2)
    assert said(tmp_path).endswith("Two boards took 3.00 times as long per step as one.")


def test_one_board_under_the_strategy_against_one_without(tmp_path):
    build_run(tmp_path, "a", step_s=0.4)
    build_run(tmp_path, "b", step_s=0.5, override={"sync": {"one_board": "mwms"}})
    sentences = said(tmp_path)
    assert sentences.startswith("One board (keras) looks not worth it in speed: a speed-up of 0.80 (n=1 each")
    assert sentences.endswith("One board (keras) took 1.22 times as long per epoch as one.")
    assert "data.sharding" not in sentences


@pytest.mark.parametrize("lost", [["epoch_ratio", "step_ratio"], ["speedup"]])
def test_what_is_not_known_is_said_to_be_so(tmp_path, lost):
    build_run(tmp_path, workers=1)
    build_run(tmp_path, workers=2)
    arms = compare(load(tmp_path.iterdir())).arms
    arms.loc[1, lost] = float("nan")
    sentences = verdict(arms, rehearsal=False, synthetic=False)
    assert "nan" not in sentences
    assert "could not be timed against one" in sentences or "there is no speed-up" in sentences
