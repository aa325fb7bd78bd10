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


def first(parent):
    return said(parent).split(". ")[0]


def test_two_boards_beside_the_paper(tmp_path):
    build_run(tmp_path, workers=1, step_s=0.4)
    build_run(tmp_path, workers=2, step_s=1.25)
    assert said(tmp_path) == (
        "Two boards look not worth it: they take 2.84 times the time of one board for a pass over the data set, 2.51 "
        "times to an accuracy of 0.290 and 2.51 times in all, on emulated boards with synthetic images (n=1 each: no "
        "interval). In images/s that is 0.64 times one board, but each of its 2 boards trains on all images "
        "(data.sharding whole), so that an image counts once per board; data.sharding sharded would divide a pass among"
        " them. Final accuracy: +0.0 points (0.300 against 0.300; n=1: cannot tell whether that is chance). "
        "Communication limits it: its steps are 67 % computing (reading images included), 33 % communication with "
        "waiting; a faster link, sync.method allreduce (half the bytes) or local_sgd (bytes once in sync.period steps) "
        "would change that. Two boards took 2.84 times as long per epoch as one, with 0.64 times the images/s and 0.35 "
        "times the speed per pass; the paper: 3.03, 0.66 and 0.33."
    )


WHOLE, SHARDED = ({"data": {"sharding": sharding}} for sharding in ("whole", "sharded"))


@pytest.mark.parametrize(
    ("sharding", "longer", "images", "worth"),
    [
        (WHOLE, 1.03, 1.94, "look not worth it: they take 1.03 times"),  # twice the images, and no pass is sooner
        (WHOLE, 0.97, 2.06, "look worth it: they take 0.97 times"),
        (SHARDED, 0.53, 2.18, "look worth it: they take 0.53 times"),  # not many more images/s than in the first row
        (SHARDED, 1.03, 0.97, "look not worth it: they take 1.03 times"),
    ],
)
def test_equal_work_decides_and_not_images_per_second(tmp_path, sharding, longer, images, worth):
    build_run(tmp_path, "one", workers=1, step_s=0.4)
    epoch_s = longer * (8 * 0.4 + 0.5)
    folder = build_run(tmp_path, "two", workers=2, step_s=(epoch_s - 0.5) / 8, override=sharding)
    if sharding is SHARDED:  # build_run gives every board all images
        for events in folder.glob("boards/*/events.jsonl"):
            events.write_text(re.sub(r'"images": (\d+)', lambda it: f'"images": {int(it[1]) // 2}', events.read_text()))
    comparison = compare(load(tmp_path.iterdir()))
    two = comparison.arms[comparison.arms["workers"] == 2].iloc[0]
    assert worth in comparison.verdict.split(". ")[0]
    assert two["pass_ratio"] == pytest.approx(longer)
    assert two["images_ratio"] == pytest.approx(images, abs=0.05)


def test_an_arm_that_never_learns_what_one_board_does_is_not_worth_it_however_fast(tmp_path):
    build_run(tmp_path, workers=1, step_s=0.4, accuracy=(0.1, 0.2, 0.3))
    build_run(tmp_path, workers=2, step_s=0.2, accuracy=(0.1, 0.2, 0.25), override=SHARDED)
    assert first(tmp_path) == (
        "Two boards (plain Keras, images shared out) look not worth it: they take 0.57 times the time of one board for "
        "a pass over the data set and 0.64 times in all, and do not reach an accuracy of 0.290 within 14 s (one "
        "board: 22 s), on emulated boards with synthetic images (n=1 each: no interval)"
    )


def test_with_factors_only_the_time_to_the_accuracy_decides(tmp_path):
    build_run(tmp_path, workers=1, step_s=0.4)
    build_run(tmp_path, workers=2, step_s=0.3, accuracy=(0.1, 0.2, 0.25), override=SHARDED)
    compared = compare(load(tmp_path.iterdir()))
    how = {"factors": ["batch_size"], "rehearsal": False, "synthetic": False}
    assert verdict(compared.arms, target=0.29, **how).startswith(
        "Two boards (plain Keras, images shared out) look not worth it: they do not reach an accuracy of 0.290 within "
        "19 s (one board: "
    )
    compared.arms.loc[1, ["unreached", "time_to_accuracy_ratio", "pass_ratio"]] = [0, 0.8, 2.0]
    assert verdict(compared.arms, target=0.29, **how).startswith(
        "Two boards (plain Keras, images shared out) look worth it, but learn less: they take 0.80 times the time of "
        "one board"
    )


def test_an_arm_of_which_some_runs_never_learn_enough_cannot_be_judged(tmp_path):
    repeats(tmp_path, 3, 1, 0.4)
    repeats(tmp_path, 2, 2, 0.2, override=SHARDED)
    build_run(tmp_path, "lost", workers=2, seed=3, step_s=0.2, accuracy=(0.1, 0.2, 0.2), override=SHARDED)
    sentence = said(tmp_path)
    assert sentence.startswith(
        "Whether two boards (plain Keras, images shared out) are worth it cannot be told: they take 0.5"
    )
    assert "do not reach an accuracy of 0.29" in sentence and " in 1 of 3 runs within 1" in sentence


def test_a_start_that_eats_the_gain_decides_against_it(tmp_path):
    build_run(tmp_path, workers=1, step_s=0.4)
    folder = build_run(tmp_path, workers=2, step_s=0.3, override=SHARDED)
    for events in folder.glob("boards/*/events.jsonl"):
        events.write_text(events.read_text().replace('"startup_s": 5.0', '"startup_s": 25.0'))
    sentence = first(tmp_path)
    assert "look not worth it: they take 0.78 times the time of one board for a pass" in sentence
    assert "1.71 times to an accuracy of 0.290 and 1.71 times in all" in sentence


def test_a_collective_that_was_not_asked_for_is_told_with_its_arms(tmp_path):
    ring = {"facts": {"collective_used": "RingReduce"}}
    build_run(tmp_path, workers=1)
    build_run(tmp_path, "plain", workers=2, **ring)
    build_run(tmp_path, "fast", workers=2, **ring, override={"sync": {"method": "local_sgd"}})
    said_so = said(tmp_path)
    assert said_so.endswith(
        "Two boards (plain Keras, all images on each), Two boards (local SGD, all images on each): asked for NCCL, "
        "RingReduce ran."
    )
    assert said_so.count("asked for") == 1


def test_repeats_are_judged_by_their_interval(tmp_path):
    repeats(tmp_path, 3, 1, 0.4, facts=REAL, synthetic=False)
    repeats(tmp_path, 3, 2, 0.2, facts=REAL, synthetic=False, override={"data": {"sharding": "sharded"}})
    one, second, *_ = said(tmp_path).split(". ")
    assert re.fullmatch(
        r"Two boards \(plain Keras, images shared out\) are worth it: they take 0\.56 times the time of one board for "
        r"a pass over the data set \(95 % interval 0\.5\d to 0\.5\d\), 0\.6\d times to an accuracy of "
        r"0\.29\d \(95 % interval .*\) and 0\.6\d times in all \(95 % interval .*\) \(n=3 each, in pairs\)",
        one,
    )
    assert second.startswith("Final accuracy is not worse by more than 0.5 points: ")
    assert re.search(r"; at least [+-]\d\.\d with 95 % confidence, one-sided\)", second)


def test_repeats_that_are_slower_are_not_worth_it(tmp_path):
    repeats(tmp_path, 3, 1, 0.4)
    repeats(tmp_path, 3, 2, 1.2)
    sentences = said(tmp_path)
    assert sentences.startswith("Two boards are not worth it: they take 2.7")
    assert re.search(
        r"Two boards took 2\.\d\d times as long per epoch as one \(95 % interval 2\.\d\d to [23]\.\d\d\), with ",
        sentences,
    )


def test_an_interval_with_one_in_it_decides_nothing(tmp_path):
    for seed, (one, two) in enumerate([(0.40, 0.41), (0.41, 0.395), (0.39, 0.40)], 1):
        build_run(tmp_path, workers=1, seed=seed, step_s=one)
        build_run(tmp_path, workers=2, seed=seed, step_s=two, override=SHARDED)
    assert re.match(
        r"Whether two boards \(plain Keras, images shared out\) are worth it cannot be told: they take 1\.00 times "
        r"the time of one board for a pass over the data set \(95 % interval 0\.9\d to 1\.0\d\), .* \(n=3 each, "
        r"in pairs\); these runs could show a difference of 1?\d % or more \(from their own spread, which so few runs "
        r"tell only to between \d and \d+ %\)",
        said(tmp_path),
    )


def test_a_gain_in_speed_that_costs_accuracy_says_so_at_once(tmp_path):
    repeats(tmp_path, 3, 1, 0.4, accuracy=0.3)
    repeats(tmp_path, 3, 2, 0.2, accuracy=0.2, override=SHARDED)
    one, second, *_ = said(tmp_path).split(". ")
    assert one.startswith("Two boards (plain Keras, images shared out) are not worth it: they take 0.5")
    assert "and do not reach an accuracy of 0.29" in one and " in 3 of 3 runs within 1" in one
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
    assert re.search(r"these runs could show a difference of \d+\.\d points or more \(from their own", sentences)


def test_as_fast_as_one(tmp_path):
    build_run(tmp_path, workers=1)
    build_run(tmp_path, workers=2)
    assert "look not worth it: they take 1.00 times the time of one board" in first(tmp_path)


def test_the_fastest_arm_is_judged_and_the_papers_stands_beside_it(tmp_path):
    build_run(tmp_path, workers=1, step_s=0.4)
    build_run(tmp_path, workers=2, step_s=1.2, seed=1)
    build_run(tmp_path, workers=2, step_s=1.2, seed=2)
    build_run(tmp_path, workers=11, step_s=0.6)
    sentences = said(tmp_path)
    assert sentences.startswith("11 boards look not worth it: they take 1.43 times the time of one board for a pass")
    assert "(n=1 each: no interval; the best of 2 comparisons). In images/s that is 7.33 times one board" in sentences
    assert "Two boards took 2.73 times as long per epoch as one, with 0.67 times the images/s and 0.37" in sentences


def test_runs_are_counted_of_the_two_arms_that_are_compared(tmp_path):
    repeats(tmp_path, 3, 1, 0.4)
    repeats(tmp_path, 3, 2, 0.2)
    build_run(tmp_path, workers=2, step_s=1.2, override={"sync": {"method": "allreduce"}})
    assert re.match(
        r"Two boards \(plain Keras, all images on each\) are worth it: they take 0\.56 times the time of one board",
        said(tmp_path),
    )
    assert "(n=3 each, in pairs; the best of 2 comparisons, intervals are wider for that)" in said(tmp_path)


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
        ({"energy_ratio": 1.25}, "A pass over the data set takes 1.25 times the energy of one board."),
        (
            {"energy_ratio": 1.25, "energy_ratio_low": 1.2, "energy_ratio_high": 1.3},
            "board (95 % interval 1.20 to 1.30).",
        ),
        ({"energy_to_accuracy_ratio": 0.8}, "An accuracy of 0.500 takes 0.80 times the energy of one board."),
    ],
)
def test_it_says_what_limits_and_what_would_change_that(tmp_path, arm, said_of_it):
    build_run(tmp_path, workers=1)
    build_run(tmp_path, workers=2, override={"sync": {"method": "local_sgd"}, "data": {"sharding": "sharded"}})
    arms = compare(load(tmp_path.iterdir())).arms
    known = {"compute_share": 0.4, "communication_share": 0.05, "waiting_share": 0.0}
    for name, value in {**known, **arm}.items():
        arms.loc[1, name] = value
    sentences = verdict(arms, target=0.5, factors=[], rehearsal=False, synthetic=False)
    assert said_of_it in sentences
    assert 3 <= len(re.findall(r"\.( |$)", sentences)) <= 7


def of_all(value, low=math.nan, high=math.nan):
    names = ("pass_ratio", "time_to_accuracy_ratio", "total_ratio")
    return {f"{name}{end}": at for name in names for end, at in (("", value), ("_low", low), ("_high", high))}


SURE = {**of_all(0.8, 0.7, 0.9), "runs": 3, **{f"detectable_ratio{end}": 0.1 for end in ("", "_low", "_high")}}
ACCURACY = {"accuracy_difference": -0.01, "accuracy_difference_low": -0.02, "accuracy_at_least": -0.018}
ACCURACY |= {"accuracy_difference_high": -0.001}
ACCURACY |= {f"detectable_accuracy{end}": value for end, value in (("", 0.01), ("_low", 0.004), ("_high", 0.06))}
NAMED = "Two boards (local SGD, images shared out) "


@pytest.mark.parametrize(
    ("arm", "said_of_it"),
    [
        (SURE, NAMED + "are worth it: they take 0.80 times"),
        ({**SURE, "pass_ratio_high": 1.0}, "are worth it cannot be told: "),
        ({**SURE, "total_ratio_high": 1.1}, "are worth it cannot be told: "),
        ({**SURE, "total_ratio": 1.2, "total_ratio_low": 1.01, "total_ratio_high": 1.4}, NAMED + "are not worth it: "),
        ({**SURE, **of_all(1.1, 1.0, 1.2)}, "are worth it cannot be told: "),
        ({**SURE, **of_all(1.1, 1.01, 1.2)}, NAMED + "are not worth it: "),
        ({**of_all(1.0), **ACCURACY}, "look not worth it: "),
        ({**of_all(0.99), **ACCURACY}, "look worth it, but learn less: "),
        ({**of_all(0.99), **ACCURACY, "accuracy_difference_high": 0.0}, "look worth it: "),
        (ACCURACY, "Final accuracy is worse: -1.0 points (0.300 against 0.300; 95 % interval -2.0 to -0.1)."),
        (
            {**ACCURACY, "accuracy_difference_high": 0.005},
            "could show a difference of 1.0 points or more (from their own spread, which so few runs tell only to "
            "between 0.4 and 6.0 points).",
        ),
        ({**ACCURACY, "accuracy_difference_high": 0.0}, "Whether final accuracy is worse by more than 0.5 points"),
        (
            {**ACCURACY, "accuracy_at_least": -0.0049, "accuracy_difference_high": 0.001},
            "Final accuracy is not worse by more than 0.5 points: -1.0 points (0.300 against 0.300; at least -0.5 with "
            "95 % confidence, one-sided).",
        ),
        ({**ACCURACY, "accuracy_at_least": -0.0049}, "to -0.1; by less than 0.5 points: at least -0.5 with 95 %"),
        ({**ACCURACY, "accuracy_at_least": -MARGIN}, "Final accuracy is worse: "),
        ({"communication_share": 0.1, "waiting_share": 0.1}, "Computing limits it"),
        ({"communication_share": 0.2, "waiting_share": 0.2}, "Communication limits it"),
        ({"primary": True}, "; the arm that was named beforehand)"),
    ],
)
def test_on_the_edge_nothing_is_claimed(tmp_path, arm, said_of_it):
    build_run(tmp_path, workers=1)
    build_run(tmp_path, workers=2, override={"sync": {"method": "local_sgd"}, "data": {"sharding": "sharded"}})
    arms = compare(load(tmp_path.iterdir())).arms
    if "runs" in arm:
        arms["runs"] = arm["runs"]
    for name, value in {"compute_share": 0.4, "communication_share": 0.05, "waiting_share": 0.0, **arm}.items():
        arms.loc[1, name] = value
    assert said_of_it in verdict(arms, target=0.5, factors=[], rehearsal=False, synthetic=False)


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
    assert sentences.startswith("Of 2 arms the fastest: two boards took 3.7 s per epoch and")
    assert "Without a run on one board nothing can be called worth it" in sentences


def test_runs_of_one_epoch_are_compared_per_step(tmp_path):
    build_run(tmp_path, workers=1, epochs=1, step_s=0.4)
    build_run(tmp_path, workers=2, epochs=1, step_s=1.2)
    assert first(tmp_path).startswith(
        "Two boards look not worth it: they take 3.00 times the time of one board for a pass over the data set"
    )


def test_one_board_under_the_strategy_against_one_without(tmp_path):
    build_run(tmp_path, "a", step_s=0.4)
    build_run(tmp_path, "b", step_s=0.5, override={"strategy": "multi_worker_mirrored"})
    sentences = said(tmp_path)
    assert sentences.startswith(
        "One board (plain Keras) looks not worth it: it takes 1.22 times the time of one board for a pass over the "
        "data set, "
    )
    assert "data.sharding" not in sentences


@pytest.mark.parametrize("lost", [["pass_ratio"], ["images_ratio"], list(of_all(1.0))])
def test_what_is_not_known_is_said_to_be_so(tmp_path, lost):
    build_run(tmp_path, workers=1)
    build_run(tmp_path, workers=2)
    arms = compare(load(tmp_path.iterdir())).arms
    arms.loc[1, lost] = float("nan")
    sentences = verdict(arms, target=0.5, factors=[], rehearsal=False, synthetic=False)
    assert "nan" not in sentences
    assert any(it in sentences for it in ("could not be timed against one", "no time is known", "an unknown number of"))
