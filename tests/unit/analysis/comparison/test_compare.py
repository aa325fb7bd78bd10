"""Arms, repeats, and what is not comparable."""

import json
import math

import pytest

from analysis import AnalysisError, NotComparable, compare, load
from analysis.comparison.statistics import ratio
from analysis.comparison.words import in_words
from tests.data.build_runs import PARAMETERS, build_run
from trainer.contract.layout import write_json


def compared(parent):
    return compare(load(parent.iterdir()))


def arm(comparison, workers, label=None):
    arms = comparison.arms[comparison.arms["workers"] == workers]
    return (arms if label is None else arms[arms["label"] == label]).squeeze()


def not_comparable(parent):
    with pytest.raises(NotComparable) as raised:
        compared(parent)
    return {difference.field: difference.values for difference in raised.value.differences}


def test_two_boards_against_one(tmp_path):
    build_run(tmp_path, workers=1, step_s=0.4)
    build_run(tmp_path, workers=2, step_s=1.2)
    comparison = compared(tmp_path)
    one, two = arm(comparison, 1), arm(comparison, 2)
    assert (one["sync"], two["sync"]) == ("none", "keras")
    assert one["pass_ratio"] == 1.0
    assert two["images_ratio"] == pytest.approx(2 / 3)
    assert two["step_ratio"] == pytest.approx(3.0)
    assert two["pass_ratio"] == pytest.approx((8 * 1.2 + 0.5) / (8 * 0.4 + 0.5))
    assert two["sent_bytes_per_step"] == pytest.approx(4 * PARAMETERS)
    assert comparison.rehearsal is True
    assert comparison.synthetic is True
    assert comparison.problems == []


def test_repeats_are_averaged_and_one_run_has_no_spread(tmp_path):
    build_run(tmp_path, workers=1)
    build_run(tmp_path, workers=2, seed=1, step_s=1.0, accuracy=(0.1, 0.2, 0.3))
    build_run(tmp_path, workers=2, seed=2, step_s=1.2, accuracy=(0.1, 0.2, 0.5))
    comparison = compared(tmp_path)
    one, two = arm(comparison, 1), arm(comparison, 2)
    assert (one["runs"], two["runs"]) == (1, 2)
    assert two["step_s"] == pytest.approx(1.1)
    assert two["step_s_std"] == pytest.approx(0.1 * math.sqrt(2))
    assert two["val_accuracy_final"] == pytest.approx(0.4)
    assert math.isnan(one["step_s_std"])


def test_arms_have_intervals(tmp_path):
    for seed, step_s in enumerate([0.40, 0.41, 0.42], 1):
        build_run(tmp_path, workers=1, seed=seed, step_s=step_s)
        build_run(tmp_path, workers=2, seed=seed + 10, step_s=1.5 * step_s + 0.02 * (seed == 2))
    comparison = compared(tmp_path)
    one, two = arm(comparison, 1), arm(comparison, 2)
    speeds = [comparison.runs.loc[comparison.runs["workers"] == workers, "images_per_s"] for workers in (1, 2)]
    assert not two["paired"]  # other seeds
    wanted = ratio(speeds[1], speeds[0], paired=False)
    assert [two["images_ratio"], two["images_ratio_low"], two["images_ratio_high"]] == pytest.approx(list(wanted))
    assert two["efficiency_low"] == pytest.approx(wanted.low / 2)
    assert two["step_s_low"] < two["step_s"] < two["step_s_high"]
    assert 0 < two["detectable_ratio_low"] < two["detectable_ratio"] < two["detectable_ratio_high"]
    assert one["pass_ratio"] == one["efficiency"] == 1.0
    assert math.isnan(one["pass_ratio_low"])


def test_one_run_an_arm_has_no_interval(tmp_path):
    build_run(tmp_path, workers=1)
    build_run(tmp_path, workers=2)
    arms = compared(tmp_path).arms
    assert arms.filter(regex="_(low|high)$|at_least|detectable").isna().all(axis=None)
    assert arms["accuracy_difference"].tolist() == [0, 0]


def test_runs_with_the_same_seeds_are_pairs(tmp_path):
    for seed, step_s in enumerate([0.30, 0.41, 0.52], 1):
        build_run(tmp_path, workers=1, seed=seed, step_s=step_s)
        build_run(tmp_path, workers=2, seed=seed, step_s=1.5 * step_s)
    two = arm(compared(tmp_path), 2)
    assert two["paired"]
    # whatever the drift, two boards were always as much slower
    assert [two["step_ratio_low"], two["step_ratio_high"]] == pytest.approx([1.5, 1.5])
    build_run(tmp_path, workers=2, seed=4)
    assert not arm(compared(tmp_path), 2)["paired"]  # nothing to pair it with


def test_repeats_of_a_study_are_pairs_where_both_arms_have_them(tmp_path):
    for repeat, step_s in enumerate([0.30, 0.41, 0.52], 1):
        build_run(tmp_path, f"one-{repeat}", workers=1, step_s=step_s)
        build_run(tmp_path, f"two-{repeat}", workers=2, step_s=1.5 * step_s)
    build_run(tmp_path, "two-4", workers=2, step_s=0.9)
    loaded = load(tmp_path.iterdir())
    loaded.runs["repeat"] = loaded.runs["run_id"].map(lambda run_id: f"study/{run_id[-1]}")
    two = arm(compare(loaded), 2)
    assert two["paired"]
    assert [two["step_ratio_low"], two["step_ratio"], two["step_ratio_high"]] == pytest.approx([1.5, 1.5, 1.5])


def test_mlperfs_rule_changes_the_averages_and_not_the_intervals(tmp_path):
    for seed, (one, two) in enumerate([(0.40, 1.2), (0.42, 1.3), (0.41, 0.9), (0.39, 1.5), (0.80, 1.1)], 1):
        build_run(tmp_path, workers=1, seed=seed, step_s=one)
        build_run(tmp_path, workers=2, seed=seed + 10, step_s=two)
    loaded = load(tmp_path.iterdir())
    every, kept = (compare(loaded, drop_extremes=drop) for drop in (False, True))
    assert arm(kept, 1)["step_s"] == pytest.approx(0.41)
    assert arm(kept, 2)["step_s"] == pytest.approx(1.2)
    assert arm(kept, 1)["dropped"] == sorted(run for run in arm(kept, 1)["run_ids"] if run.endswith(("s4", "s5")))
    assert arm(kept, 2)["step_ratio"] == pytest.approx((1.1 * 1.2 * 1.3 / (0.40 * 0.41 * 0.42)) ** (1 / 3))
    for name in ("step_ratio_low", "pass_ratio_high", "step_s_low", "step_s_std", "accuracy_difference"):
        assert arm(kept, 2)[name] == arm(every, 2)[name]
    assert every.arms["dropped"].tolist() == [[], []]


def test_mlperfs_rule_leaves_no_pairs(tmp_path):
    for seed in range(1, 6):
        for workers in (1, 2):
            build_run(tmp_path, workers=workers, seed=seed, step_s=0.4 * workers * (1 + 0.1 * seed))
    loaded = load(tmp_path.iterdir())
    assert [arm(compare(loaded, drop_extremes=drop), 2)["paired"] for drop in (False, True)] == [True, False]


def test_the_target_follows_from_one_board_and_not_from_the_worst_arm(tmp_path):
    build_run(tmp_path, workers=1, accuracy=(0.1, 0.2, 0.4))
    build_run(tmp_path, workers=2, accuracy=(0.1, 0.28, 0.3))
    comparison = compared(tmp_path)
    assert (comparison.target_accuracy, comparison.target_arm) == (pytest.approx(0.39), "1 board")
    one, two = arm(comparison, 1), arm(comparison, 2)
    assert one["time_to_accuracy_s"] == pytest.approx(one["total_s"])
    assert math.isnan(two["time_to_accuracy_s"]) and math.isnan(two["time_to_accuracy_ratio"])
    assert (two["unreached"], two["censored_s"]) == (1, pytest.approx(two["total_s"]))
    given = compare(load(tmp_path.iterdir()), target_accuracy=0.25)
    assert (given.target_accuracy, given.target_arm) == (0.25, None)
    assert arm(given, 2)["time_to_accuracy_s"] < arm(given, 1)["time_to_accuracy_s"] and not arm(given, 2)["unreached"]


def test_without_one_board_no_accuracy_is_a_target(tmp_path):
    build_run(tmp_path, workers=2)
    comparison = compared(tmp_path)
    assert math.isnan(comparison.target_accuracy) and comparison.target_arm is None


def declare(folder, study, **design):
    run = json.loads((folder / "run.json").read_text())
    write_json(folder / "run.json", {**run, "study": study, "design": design})


def test_intervals_allow_for_the_choice_among_the_arms_unless_one_was_named_before(tmp_path):
    packs = (0, 1, 2)
    for seed in (1, 2, 3):
        off = 1 + 0.02 * math.sin(5 * seed)
        declare(build_run(tmp_path, f"one-{seed}", seed=seed, step_s=0.4), f"s/one/{seed}")
        for pack in packs:
            override = {"sync": {"bytes_per_pack": pack}}
            folder = build_run(tmp_path, f"{pack}-{seed}", workers=2, seed=seed, step_s=0.5 * off, override=override)
            declare(folder, f"s/pack {pack}/{seed}", primary="pack 1")
    arms = compared(tmp_path).arms
    runs = compared(tmp_path).runs
    seconds = [runs.loc[runs["run_id"].str.startswith(name), "pass_s"] for name in ("0-", "one-")]
    assert arms["comparisons"].tolist() == [3, 3, 1, 3] and arms["primary"].tolist() == [False, False, True, False]
    wanted = ratio(*seconds, paired=True, confidence=1 - 0.05 / 3)
    assert arms["pass_ratio_high"][1] == arms["pass_ratio_high"][3] == pytest.approx(wanted.high.item())
    assert arms["pass_ratio_high"][2] == pytest.approx(ratio(*seconds, paired=True).high.item())


def test_a_study_compares_arms_that_differ_in_what_it_declares(tmp_path):
    def made(name, workers, override, factors=("batch_size", "model.precision", "optimizer.learning_rate"), **more):
        folder = build_run(tmp_path, name, workers=workers, override=override, **more)
        declare(folder, f"tuned/{name}/1", factors=list(factors))

    tuned = {"batch_size": 128, "optimizer": {"learning_rate": 0.003}, "model": {"precision": "mixed_float16"}}
    made("one", 1, {}, accuracy=(0.1, 0.2, 0.3))
    made("tuned", 1, tuned, accuracy=(0.1, 0.31, 0.32))
    made("two", 2, {}, step_s=0.3, accuracy=(0.1, 0.2, 0.31))
    comparison = compared(tmp_path)
    assert comparison.factors == ["batch_size", "model.precision", "optimizer.learning_rate"]
    labels = comparison.arms["label"].tolist()
    assert labels[1] == "none, batch_size=64, precision=float32, learning_rate=0.001"
    assert labels[0] == "none, batch_size=128, precision=mixed_float16, learning_rate=0.003"
    # the tuned board is the rival: the target is its accuracy, and all are set against it
    assert comparison.target_accuracy == pytest.approx(0.31)
    assert comparison.arms["time_to_accuracy_ratio"][0] == 1
    assert arm(comparison, 2)["comparisons"] == 3
    assert "to an accuracy of 0.310" in comparison.verdict and "for a pass" not in comparison.verdict.split(". ")[0]
    made("other", 2, {"batch_size": 32}, factors=["batch_size"])
    assert list(not_comparable(tmp_path)) == ["model.precision", "optimizer.learning_rate"]


def test_a_power_mode_may_be_a_factor(tmp_path):
    for run_id, mode in (("a", "MAXN"), ("b", "MODE_30W")):
        folder = build_run(tmp_path, run_id)
        write_json(folder / "gates.json", {"boards": {"board-1": {"power_mode": mode}}})
        declare(folder, f"modes/{run_id}/1", factors=["power_mode"])
    assert compared(tmp_path).arms["label"].tolist() == ["none, power_mode=MAXN", "none, power_mode=MODE_30W"]


def test_without_one_board_there_is_no_ratio(tmp_path):
    build_run(tmp_path, workers=2)
    two = arm(compared(tmp_path), 2)
    assert math.isnan(two["pass_ratio"])
    assert two["images_per_s"] > 0


def test_a_repeat_whose_loss_is_no_number_is_not_averaged_away(tmp_path):
    build_run(tmp_path, seed=1)
    build_run(tmp_path, seed=2, loss=(4.0, math.nan, math.nan))
    comparison = compared(tmp_path)
    assert math.isnan(arm(comparison, 1)["loss_final"])
    assert "not a finite number" in comparison.problems[0]


def test_failed_and_half_runs_are_shown_and_not_averaged(tmp_path):
    build_run(tmp_path, "good", step_s=0.4)
    build_run(tmp_path, "bad", step_s=9.0, failed={0: "out of memory"})
    unread = build_run(tmp_path, "unread")
    (unread / "boards/board-1/events.jsonl").write_text('{"event": "epo')
    comparison = compared(tmp_path)
    assert arm(comparison, 1)["run_ids"] == ["good"]
    assert arm(comparison, 1)["step_s"] == pytest.approx(0.4)
    assert comparison.excluded.set_index("run_id")["cause"].to_dict() == {
        "bad": "board-1 failed: out of memory",
        "unread": "no epoch of the chief can be read",
    }


def test_a_failed_run_of_another_configuration_does_not_matter(tmp_path):
    build_run(tmp_path, "good")
    build_run(tmp_path, "bad", override={"batch_size": 8}, failed={0: "out of memory"})
    assert len(compared(tmp_path).arms) == 1


def test_nor_does_it_change_the_names_of_the_arms(tmp_path):
    build_run(tmp_path, "good", workers=2, override={"sync": {"implementation": "ring"}})
    build_run(tmp_path, "bad", workers=2, failed={0: "out of memory"})
    assert compared(tmp_path).arms["label"].tolist() == ["keras"]


def test_only_failed_runs_leave_nothing_to_compare(tmp_path):
    build_run(tmp_path, "bad", failed={0: "out of memory"})
    with pytest.raises(AnalysisError, match="bad failed: board-1 failed: out of memory"):
        compared(tmp_path)


def test_no_run_at_all_is_an_error_with_its_reasons(tmp_path):
    (build_run(tmp_path, "bad") / "run.json").write_text("{")
    with pytest.raises(AnalysisError, match=r"(?s)bad: skipped.*no training run found: give run folders"):
        compared(tmp_path)


def test_what_is_compared_may_differ(tmp_path):
    build_run(tmp_path, "a", workers=1, boards=["left"])
    build_run(tmp_path, "b", workers=1, boards=["right"], seed=2)
    build_run(tmp_path, "c", workers=2, override={"data": {"sharding": "sharded"}})
    build_run(tmp_path, "d", workers=2, override={"sync": {"bytes_per_pack": 1_000_000}})
    build_run(tmp_path, "e", workers=2, override={"sync": {"timeout_s": 60.0}})
    build_run(tmp_path, "f", workers=1, override={"strategy": "multi_worker_mirrored"})
    build_run(tmp_path, "g", workers=1, override={"data": {"sharding": "sharded"}})
    for name, sharding in (("h", "proportional"), ("i", "whole")):
        build_run(tmp_path, name, workers=2, override={"data": {"sharding": sharding}, "sync": {"method": "allreduce"}})
    comparison = compared(tmp_path)
    arms = comparison.arms
    assert list(zip(arms["workers"], arms["label"], arms["runs"], strict=True)) == [
        (1, "keras", 1),
        (1, "none", 3),
        (2, "allreduce", 1),
        (2, "allreduce, proportional", 1),
        (2, "keras", 1),
        (2, "keras, bytes_per_pack=1000000", 1),
        (2, "keras, sharded", 1),
    ]
    assert set(arms["sync"]) == {"none", "keras", "allreduce"}
    assert arm(comparison, 1, "none")["pass_ratio"] == 1.0


def test_a_preset_may_shorten_adams_memory_and_makes_an_arm_of_its_own(tmp_path):
    build_run(tmp_path, "one")
    for name, beta_2 in (("usual", 0.999), ("short", 0.99)):
        build_run(tmp_path, name, workers=2, override={"optimizer": {"beta_2": beta_2}})
    labels = compared(tmp_path).arms["label"].tolist()
    assert labels == ["none", "keras", "keras, beta_2=0.99"]
    assert in_words(2, labels[-1]) == "2 boards, plain Keras, Adam's beta_2 0.99, all images on each"


def test_an_implementation_is_named_where_arms_differ_in_it(tmp_path):
    ring = {"sync": {"implementation": "ring"}}
    build_run(tmp_path, "a", workers=2, override=ring)
    assert compared(tmp_path).arms["label"].tolist() == ["keras"]
    build_run(tmp_path, "b", workers=2)
    assert compared(tmp_path).arms["label"].tolist() == ["keras", "keras, implementation=ring"]


def test_boards_that_share_images_by_other_speeds_are_another_arm(tmp_path):
    shared = {"data": {"sharding": "proportional"}, "sync": {"method": "allreduce"}}
    build_run(tmp_path, "a", workers=2, override=shared, speeds=[1.0, 0.5])
    build_run(tmp_path, "b", workers=2, speeds=[1.0, 0.5])
    build_run(tmp_path, "c", workers=2, speeds=[1.0, 0.8])  # all images on every board: it makes no difference
    assert compared(tmp_path).arms["label"].tolist() == ["allreduce, proportional", "keras"]
    build_run(tmp_path, "d", workers=2, override=shared, speeds=[1.0, 0.8])
    assert compared(tmp_path).arms["label"].tolist() == [
        "allreduce, proportional, speeds=[1.0, 0.5]",
        "allreduce, proportional, speeds=[1.0, 0.8]",
        "keras",
    ]


def test_another_batch_size_is_not_comparable(tmp_path):
    build_run(tmp_path, "a", workers=1)
    build_run(tmp_path, "b", workers=2, override={"batch_size": 128})
    assert not_comparable(tmp_path) == {"batch_size": {"64": ["a"], "128": ["b"]}}


def test_every_difference_is_listed_at_once(tmp_path):
    build_run(tmp_path, "a", override={"data": {"train_images": 500}})
    build_run(tmp_path, "b", override={"optimizer": {"name": "sgd"}}, dataset_sha256="e" * 64)
    assert not_comparable(tmp_path) == {
        "data.train_images": {"500": ["a"], "null": ["b"]},
        "optimizer.name": {"adam": ["a"], "sgd": ["b"]},
        "assets.dataset.sha256": {"d" * 64: ["a"], "e" * 64: ["b"]},
    }


def test_a_file_of_weights_may_lie_anywhere_and_must_be_the_same(tmp_path):
    def trained_from(weights, run_id, sha256):
        folder = build_run(tmp_path, run_id, override={"model": {"weights": weights}})
        run = json.loads((folder / "run.json").read_text())
        if sha256:
            run["assets"]["weights"] = {"path": "/weights", "sha256": sha256}
        write_json(folder / "run.json", run)

    trained_from("imagenet", "a", "e" * 64)
    trained_from("/home/me/imagenet.h5", "b", "e" * 64)
    assert compared(tmp_path).arms["runs"].tolist() == [2]
    trained_from("none", "c", None)
    assert not_comparable(tmp_path) == {"assets.weights.sha256": {"e" * 64: ["a", "b"], "null": ["c"]}}


@pytest.mark.parametrize(
    ("fact", "value"),
    [
        ("tensorflow", "2.13.0"),
        ("module", "nvidia,p3701-0005"),
        ("jetpack", "5.1.1"),
        ("cores", 2),
    ],
)
def test_boards_that_differ_are_not_comparable(tmp_path, fact, value):
    known = {"module": "nvidia,p3701-0000", "jetpack": "5.1"}
    build_run(tmp_path, "a", facts=known)
    build_run(tmp_path, "b", facts={**known, fact: value})
    assert list(not_comparable(tmp_path)) == [fact]


def test_boards_in_another_power_mode_are_not_comparable(tmp_path):
    for run_id, mode in (("a", "MAXN"), ("b", "MODE_30W")):
        folder = build_run(tmp_path, run_id)
        write_json(folder / "gates.json", {"boards": {"board-1": {"power_mode": mode}}})
    assert not_comparable(tmp_path) == {"power_mode": {"MAXN": ["a"], "MODE_30W": ["b"]}}
    (tmp_path / "b/gates.json").unlink()
    (problem,) = compared(tmp_path).problems
    assert problem == "power_mode of b is unknown; assumed to equal the other runs'"


def test_a_rehearsal_is_not_comparable_with_boards(tmp_path):
    build_run(tmp_path, "a")
    build_run(tmp_path, "b", facts={"emulated": False})
    assert not_comparable(tmp_path) == {"rehearsal": {"true": ["a"], "false": ["b"]}}


def test_another_link_is_not_comparable_among_several_boards_only(tmp_path):
    build_run(tmp_path, "a", workers=1, facts={"link_rate_bit_per_s": 10_000_000})
    build_run(tmp_path, "b", workers=2)
    assert len(compared(tmp_path).arms) == 2
    build_run(tmp_path, "c", workers=2, facts={"link_rate_bit_per_s": 1_000_000_000})
    assert not_comparable(tmp_path) == {"link_rate_bit_per_s": {"120000000": ["b"], "1000000000": ["c"]}}


def test_a_fact_that_nobody_read_is_a_warning(tmp_path):
    build_run(tmp_path, "a")
    build_run(tmp_path, "b", facts={"tensorflow": None})
    assert compared(tmp_path).problems == ["tensorflow of b is unknown; assumed to equal the other runs'"]


def test_other_packages_are_a_warning_and_unknown_ones_none(tmp_path):
    build_run(tmp_path, "a")
    build_run(tmp_path, "b", facts={"packages_sha256": "b" * 64})
    assert compared(tmp_path).problems == []
    build_run(tmp_path, "c", facts={"packages_sha256": "c" * 64})
    (problem,) = compared(tmp_path).problems
    assert "different packages" in problem and f"{'c' * 64} in c" in problem


def test_another_version_of_the_trainer_is_a_warning(tmp_path):
    build_run(tmp_path, "a")
    build_run(tmp_path, "b", trainer_sha256="b" * 64)
    (problem,) = compared(tmp_path).problems
    assert "different versions of trainer/" in problem
    assert f"{'b' * 64} in b" in problem


def test_many_runs_of_one_value_are_counted_in_the_message(tmp_path):
    for seed in range(6):
        build_run(tmp_path, f"run-{seed}", seed=seed)
    build_run(tmp_path, "odd", override={"batch_size": 32})
    with pytest.raises(NotComparable, match="64 in run-0, run-1, run-2 and 3 more"):
        compared(tmp_path)


def strict(text):
    def refuse(constant):
        raise AssertionError(f"{constant} is not JSON")

    return json.loads(text, parse_constant=refuse)


def test_the_dictionary_is_strict_json_with_null_for_what_is_not_known(tmp_path):
    build_run(tmp_path, "nan", epochs=1, loss=(math.nan,), accuracy=(math.inf,))
    build_run(tmp_path, "bad", workers=2, failed={1: "out of memory"})
    known = strict(json.dumps(compared(tmp_path).to_dict(), allow_nan=False))
    (one,) = known["arms"]
    assert one["time_to_accuracy_s"] is None
    assert one["loss_final"] is None
    assert one["val_accuracy_final"] is None
    assert one["step_s_std"] is None
    assert known["rehearsal"] is True
    assert round(known["paper"]["epoch_ratio"], 2) == 3.03
    assert known["excluded"] == [
        {
            "run_id": "bad",
            "workers": 2,
            "sync": "keras",
            "seed": 1,
            "status": "failed",
            "cause": "board-2 failed: out of memory",
        }
    ]


def test_each_engine_is_compared_with_its_own_one_board(tmp_path):
    def made(name, workers, step_s, override, facts):
        folder = build_run(tmp_path, name, workers=workers, step_s=step_s, override=override, facts=facts)
        declare(folder, f"engines/{name}/1", factors=["engine", "strategy"])

    torch = {"engine": "pytorch", "sync": {"method": "allreduce"}}
    versions = {"tensorflow": None, "pytorch": "2.13.0", "packages_sha256": "p" * 64}
    made("t1", 1, 0.4, {}, None)
    made("t2", 2, 0.8, {}, None)
    made("p1", 1, 0.2, torch, versions)
    made("p2", 2, 0.2, torch, versions)
    comparison = compared(tmp_path)
    assert comparison.problems == []
    ratios = comparison.arms.set_index("label")["images_ratio"]
    assert ratios["none, engine=tensorflow"] == ratios["none, engine=pytorch"] == 1.0
    assert ratios["keras, engine=tensorflow"] == pytest.approx(1.0)
    assert ratios["allreduce, ddp, engine=pytorch"] == pytest.approx(2.0)


def test_strategies_are_arms_of_their_own(tmp_path):
    build_run(tmp_path, "a", workers=1)
    build_run(tmp_path, "b", workers=1, override={"strategy": "none"}, seed=2)
    build_run(tmp_path, "c", workers=1, override={"strategy": "mirrored"})
    asynchronous = {"strategy": "parameter_server", "sync": {"method": "asynchronous"}}
    build_run(tmp_path, "d", workers=2, override=asynchronous)
    build_run(tmp_path, "e", workers=2, override={**asynchronous, "servers": 1})
    arms = compare(load(sorted(tmp_path.iterdir()))).arms
    assert dict(zip(arms["label"], arms["runs"], strict=True)) == {
        "none": 2,
        "keras, mirrored": 1,
        "asynchronous": 1,
        "asynchronous, servers=1": 1,
    }
