"""What a user may write into an experiment, and what is said where it is wrong."""

import json
from typing import get_type_hints

import pytest

from trainer.contract import config
from trainer.contract.config import Config, ConfigError, parse
from trainer.contract.run import load_run


def problems(raw: dict) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        parse(raw)
    return caught.value.problems


def test_nothing_said_is_the_papers_experiment():
    paper = parse({})
    assert (paper.epochs, paper.batch_size, paper.model.image_size) == (100, 64, 64)
    assert (paper.model.dense_units, paper.model.dropout, paper.model.weights) == (512, 0.3, "imagenet")
    assert (paper.schedule.constant_epochs, paper.sync.method, paper.sync.implementation) == (
        10,
        "keras",
        "nccl",
    )
    assert (paper.data.source, paper.data.sharding) == ("cifar100", "whole")


# what is taken where nothing is said, and the ends of what may be said
LIMITS = {
    "epochs": (100, 1, None),
    "batch_size": (64, 1, None),
    "window_steps": (10, 1, None),
    "steps_per_call": (None, 1, None),
    "checkpoint_epochs": (1, 0, None),
    "min_workers": (1, 1, None),
    "deterministic": (False, None, None),
    "data.train_images": (None, 1, None),
    "data.validation_images": (None, 1, None),
    "model.image_size": (64, 32, 512),
    "model.dense_units": (512, 1, None),
    "model.dropout": (0.3, 0, 0.99),
    "model.cache_features": (False, None, None),
    "model.batch_norm_momentum": (0.999, None, 0.9999),
    "optimizer.learning_rate": (0.001, None, None),
    "optimizer.momentum": (0.9, 0, 0.9999),
    "optimizer.beta_1": (0.9, 0, 0.9999),
    "optimizer.beta_2": (0.999, 0, 0.99999),
    "schedule.constant_epochs": (10, 0, None),
    "schedule.decay": (0.1, 0, None),
    "sync.strict_implementation": (False, None, None),
    "sync.bytes_per_pack": (0, 0, None),
    "sync.timeout_s": (0.0, 0, None),
    "sync.step_times": (True, None, None),
    "sync.bucket_bytes": (0, 0, None),
    "sync.accumulate_steps": (1, 1, None),
    "sync.delay_steps": (0, 0, None),
    "sync.rank": (4, 1, None),
    "sync.period": (16, 1, None),
    "sync.overlap": (True, None, None),
    "sync.outer_momentum": (0.0, 0, 0.9999),
    "sync.outer_learning_rate": (1.0, None, None),
    "sync.warm_up_steps": (0, 0, None),
    "sync.warm_up_epochs": (0.0, 0, None),
    "sync.warm_up_period": (1, 1, None),
    "sync.efficiency": (0.95, None, 1),
    "sync.scale_warm_up_epochs": (0.0, 0, None),
}


def nested(key: str, value: object) -> dict:
    section, _, name = key.rpartition(".")
    return {section: {name: value}} if section else {name: value}


@pytest.mark.parametrize(("key", "default", "least", "most"), [(key, *ends) for key, ends in LIMITS.items()])
def test_a_field_has_its_default_and_its_range(key, default, least, most):
    section, _, name = key.rpartition(".")
    of = getattr(Config(), section) if section else Config()
    assert getattr(of, name) == default
    little = 1e-6 if isinstance(default, float) else 1
    for end, beyond, more in ((least, -little, "more"), (most, little, "less")):
        if end is not None:
            assert parse(nested(key, end))
            (problem,) = problems(nested(key, end + beyond))
            assert problem.endswith(f"give {end} or {more}")


@pytest.mark.parametrize(
    "key", ["model.batch_norm_momentum", "optimizer.learning_rate", "sync.outer_learning_rate", "sync.efficiency"]
)
def test_a_rate_and_a_share_are_above_zero(key):
    assert "give more than 0" in problems(nested(key, 0))[0]
    parse(nested(key, 1e-9))


def test_a_configuration_survives_its_dictionary():
    changed = parse({"epochs": 3, "data": {"train_images": 7}, "optimizer": {"name": "sgd"}})
    assert parse(config.to_dict(changed)) == changed


def test_a_mistyped_key_is_named_with_the_likely_one():
    assert problems({"epohcs": 3}) == ["unknown key epohcs; did you mean epochs?"]


def test_a_key_of_another_section_is_named_with_its_place():
    assert problems({"weights": "none"}) == ["unknown key weights; did you mean model.weights?"]


def test_an_unlike_key_gets_the_known_ones():
    (problem,) = problems({"sync": {"quux": 1}})
    assert problem.startswith("unknown key sync.quux; known keys: sync.method, ")


@pytest.mark.parametrize(
    ("raw", "problem"),
    [
        ({"epochs": "3"}, 'epochs is "3" (text); give a whole number'),
        ({"epochs": True}, "epochs is true (a truth value); give a whole number"),
        ({"epochs": 2.5}, "epochs is 2.5 (a number); give a whole number"),
        ({"epochs": None}, "epochs is null; give a whole number"),
        ({"model": {"dropout": "much"}}, 'model.dropout is "much" (text); give a number'),
        ({"data": {"train_images": "all"}}, 'data.train_images is "all" (text); give a whole number or null'),
        ({"data": 7}, "data is 7 (a whole number); give a mapping of its fields"),
        ({"data": None}, "data is null; give a mapping of its fields"),
        ({"epochs": "010"}, 'epochs is "010" (text); give a whole number in plain digits, such as 10'),
        ({"epochs": "1_000"}, 'epochs is "1_000" (text); give a whole number in plain digits, such as 10'),
        ({"epochs": "1e3"}, 'epochs is "1e3" (text); give a whole number in plain digits, such as 10'),
        ({"epochs": "yes"}, 'epochs is "yes" (text); give a whole number'),
        ({"model": {"dropout": "010"}}, 'model.dropout is "010" (text); give a number in plain digits, such as 0.5'),
        ({"model": {"dropout": "0x1"}}, 'model.dropout is "0x1" (text); give a number in plain digits, such as 0.5'),
        ({"model": {"dropout": "1:30"}}, 'model.dropout is "1:30" (text); give a number in plain digits, such as 0.5'),
        ({"model": {"dropout": "0_1"}}, 'model.dropout is "0_1" (text); give a number in plain digits, such as 0.5'),
        ({"model": {"dropout": "nan"}}, 'model.dropout is "nan" (text); give a number'),
        ({"model": {"dropout": "\u0663"}}, 'model.dropout is "\\u0663" (text); give a number'),
        ({"model": {"dropout": False}}, "model.dropout is false (a truth value); give a number"),
        ({"model": {"xla": "y"}}, "model.xla is 'y'; give one of none, autoclustering, jit_compile"),
        ({"model": {"cache_features": "y"}}, 'model.cache_features is "y" (text); give true or false'),
        ({"model": {"weights": 1.5}}, "model.weights is 1.5 (a number); give text"),
        ({"model": {"weights": ["x" * 300]}}, f'model.weights is ["{"x" * 198}... (a list); give text'),
    ],
)
def test_a_wrong_type_is_named_with_the_wanted_one(raw, problem):
    assert problems(raw) == [problem]


@pytest.mark.parametrize(
    ("raw", "problem"),
    [
        ({"epochs": 0}, "epochs is 0; give 1 or more"),
        ({"optimizer": {"learning_rate": 0}}, "optimizer.learning_rate is 0.0; give more than 0"),
        (
            {"optimizer": {"learning_rate": float("nan")}},
            "optimizer.learning_rate is nan; give a finite number",
        ),
        ({"model": {"dropout": 1}}, "model.dropout is 1.0; give 0.99 or less"),
        ({"sync": {"implementation": "mpi"}}, "sync.implementation is 'mpi'; give one of auto, ring, nccl"),
        (
            {"sync": {"method": "local_sgd", "accumulate_steps": 2}},
            "sync.accumulate_steps is 2, but sync.method local_sgd applies every gradient at once: "
            "set sync.method to allreduce or powersgd, or leave sync.accumulate_steps out",
        ),
        (
            {"sync": {"method": "keras", "delay_steps": 1}},
            "sync.delay_steps is 1, but sync.method keras applies no gradient later: "
            "set sync.method to allreduce or powersgd or local_sgd, or leave sync.delay_steps out",
        ),
        (
            {"model": {"cache_features": True}},
            "model.cache_features is true, but model.fine_tune all changes the backbone, so that its features change "
            "too: set model.fine_tune to head, or leave model.cache_features out",
        ),
        (
            {"model": {"fine_tune": "last:0"}},
            "model.fine_tune is 'last:0'; give all, head or last:N with N layers, such as last:20",
        ),
        ({"epochs": 2**31}, "epochs is 2147483648; give 2147483647 or less"),
        ({"model": {"dense_units": 10**400}}, f"model.dense_units is {'1' + '0' * 199}...; give 2147483647 or less"),
        ({"optimizer": {"learning_rate": 10**400}}, "optimizer.learning_rate is inf; give a finite number"),
        ({"optimizer": {"learning_rate": "1e999"}}, "optimizer.learning_rate is inf; give a finite number"),
        (
            {"data": {"source": "npz", "path": ""}},
            "data.path is ''; give the path of an archive, or leave it out",
        ),
        ({"model": {"weights": " "}}, "model.weights is empty; give imagenet, none or the path of a Keras weight file"),
        ({"data": {"sha256": "sha256:" + "A1" * 32}}, f"data.sha256 is 'sha256:{'A1' * 32}'; write {'a1' * 32}"),
        ({"model": {"weights_sha256": "A1" * 32}}, f"model.weights_sha256 is '{'A1' * 32}'; write {'a1' * 32}"),
        (
            {"data": {"sha256": "abc"}},
            "data.sha256 is 'abc'; give 64 hexadecimal digits in lower case, or null",
        ),
    ],
)
def test_a_value_out_of_range_is_named_with_the_range(raw, problem):
    assert problems(raw) == [problem]


def test_all_problems_are_told_at_once():
    found = problems(
        {"epohcs": 3, "batch_size": 0, "data": {"source": "telepathy", "sharding": 3}, "model": {"dropout": 2}}
    )
    assert {problem.partition(" is ")[0].partition(";")[0] for problem in found} == {
        "unknown key epohcs",
        "batch_size",
        "data.sharding",
        "data.source",
        "model.dropout",
    }


def test_a_source_and_its_path_must_fit():
    assert "give the path of the NumPy archive" in problems({"data": {"source": "npz"}})[0]
    assert "generates its images" in problems({"data": {"source": "synthetic", "path": "x"}})[0]
    assert parse({"data": {"source": "synthetic"}}).data.path is None
    assert parse({"data": {"path": "cifar.tar.gz"}}).data.source == "cifar100"


def test_a_global_batch_is_shared_out():
    shared = parse({"batch_size": 64, "batch_per": "global"})
    assert (shared.board_batch(1), shared.board_batch(2), parse({}).board_batch(2)) == (64, 32, 64)
    assert shared.problems_with(2) == []
    (problem,) = shared.problems_with(3)
    assert "batch_size is 64" in problem and "multiple of 3" in problem


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({}, "data.sharding whole gives every board all images"),
        ({"data": {"sharding": "sharded"}, "batch_per": "global"}, "batch_per global divides the batch, too"),
        ({"data": {"sharding": "sharded"}}, None),
        ({"data": {"sharding": "proportional"}, "sync": {"method": "allreduce"}}, None),
    ],
)
@pytest.mark.parametrize("scale_rate", ["sqrt", "linear"])
def test_a_rate_is_only_scaled_where_boards_make_fewer_steps(fields, reason, scale_rate):
    scaled = parse({**fields, "sync": {**fields.get("sync", {}), "scale_rate": scale_rate}})
    assert scaled.problems_with(1) == [] == parse(fields).problems_with(2)
    told = scaled.problems_with(2)
    assert len(told) == (reason is not None)
    for problem in told:
        assert f"sync.scale_rate is {scale_rate}, but 2 boards make no fewer steps" in problem and reason in problem
        assert "set sync.scale_rate to none, or data.sharding to sharded and batch_per to board" in problem


def test_steps_of_a_call_divide_a_window():
    assert parse({"steps_per_call": 5}).steps_a_call == 5
    assert problems({"steps_per_call": 4}) == [
        "steps_per_call is 4, but window_steps 10 is no multiple of it: set window_steps to 12"
    ]
    cached = {"model": {"fine_tune": "head", "cache_features": True}, "window_steps": 8}
    assert (
        parse({}).steps_a_call,
        parse(cached).steps_a_call,
        parse({**cached, "steps_per_call": 2}).steps_a_call,
    ) == (
        1,
        8,
        2,
    )


def test_xla_cannot_compile_a_step_of_fit_with_collectives():
    compiled = {"model": {"xla": "jit_compile"}}
    assert parse(compiled).problems_with(1) == []
    (problem,) = parse(compiled).problems_with(2)
    assert "model.xla is jit_compile, but a step of sync.method keras has collectives" in problem
    assert parse({**compiled, "sync": {"method": "allreduce"}}).problems_with(2) == []


def test_auto_needs_the_times_that_it_chooses_from():
    (problem,) = problems({"sync": {"method": "auto", "step_times": False}})
    assert "sync.step_times is false, but sync.method auto" in problem


def test_only_nccl_can_be_insisted_on():
    assert parse({"sync": {"strict_implementation": True}}).sync.strict_implementation
    (problem,) = problems({"sync": {"strict_implementation": True, "implementation": "ring"}})
    assert "sync.strict_implementation is true, but sync.implementation ring" in problem


def test_every_field_has_a_place_in_the_known_keys():
    assert {"epochs", "data.path", "sync.bytes_per_pack"} <= set(config.known_keys(Config))
    assert not {"data", "sync"} & set(config.known_keys(Config))


def test_a_section_is_written_with_the_name_that_it_has_in_the_configuration():
    own = {name: hint.prefix for name, hint in get_type_hints(Config).items() if hasattr(hint, "prefix")}
    assert own == {name: f"{name}." for name in ("data", "model", "optimizer", "schedule", "sync")}


def test_a_run_file_that_lacks_fields_is_refused(tmp_path):
    path = tmp_path / "run.json"
    path.write_text('{"run_id": "x", "config": {}}')
    with pytest.raises(ConfigError, match="lacks task, experiment"):
        load_run(path)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"boards": ["a"]}, "workers is 2, but boards lists 1"),
        ({"workers": "2"}, 'workers is "2" \\(text\\)'),
        ({"assets": None}, "assets is null"),
        ({"assets": {"dataset": 3}}, "assets"),
        ({"boards": ["a", "a"]}, "workers is 2, but boards lists 1"),
        ({"boards": ["a", 3]}, "boards is"),
        ({"boards": ["a", "../b"]}, r'"../b" \(text\) is not the name of a folder'),
        ({"run_id": ".."}, r'".." \(text\) is not the name of a folder'),
        ({"git_dirty": "x"}, 'git_dirty is "x"'),
    ],
)
def test_a_run_file_that_contradicts_itself_is_refused(tmp_path, changes, says):
    run = dict.fromkeys(["run_id", "task", "experiment", "trainer_sha256", "git_commit"], "x")
    run |= {"git_dirty": None, "workers": 2, "seed": 1, "boards": ["a", "b"], "assets": {}, "config": {}}
    path = tmp_path / "run.json"
    path.write_text(json.dumps(run))
    loaded = load_run(path)
    assert loaded.boards == ["a", "b"]
    with pytest.raises(AttributeError):
        loaded.seed = 2
    path.write_text(json.dumps({**run, **changes}))
    with pytest.raises(ConfigError, match=says):
        load_run(path)


@pytest.mark.parametrize("text", ["[1]", "3", "{"])
def test_a_file_that_is_no_run_is_refused(tmp_path, text):
    path = tmp_path / "run.json"
    path.write_text(text)
    with pytest.raises(ConfigError, match="run"):
        load_run(path)


def test_defaults_do_not_share_their_sections():
    assert Config() == Config()
    with pytest.raises(AttributeError):
        Config().epochs = 3


@pytest.mark.parametrize(
    ("speeds", "batches"),
    [
        ((1, 1), (64, 64)),
        ((1, 0.5), (85, 43)),
        ((3, 1), (96, 32)),
        ((1, 0.001), (127, 1)),
        ((3, 2), (77, 51)),
        ((1, 1, 0.7), (71, 71, 50)),
    ],
)
def test_batches_follow_the_speeds_and_are_as_many_images(speeds, batches):
    assert parse({"batch_size": 64}).batches(speeds) == batches


@pytest.mark.parametrize(("scale_rate", "scale"), [("none", 1), ("sqrt", 3), ("linear", 9)])
def test_a_rate_is_scaled_by_the_boards_or_their_root(scale_rate, scale):
    assert parse({"sync": {"scale_rate": scale_rate}}).sync.learning_rate_scale(9) == scale


def test_fit_cannot_give_boards_batches_of_their_own():
    config = parse({"data": {"sharding": "proportional"}})
    assert "set sync.method to another one" in config.problems_with(2)[0]
    assert config.problems_with(1) == []
    both = parse({"batch_per": "global", "batch_size": 7, "data": {"sharding": "proportional"}}).problems_with(2)
    assert [problem.split()[0] for problem in both] == ["data.sharding", "batch_size"]
    assert parse({"data": {"sharding": "proportional"}, "sync": {"method": "local_sgd"}}).problems_with(2) == []


def test_only_boards_that_make_steps_on_their_own_can_make_unequal_numbers_of_them():
    measured = {"data": {"sharding": "measured"}}
    alike = parse({**measured, "sync": {"method": "allreduce", "step_times": False}, "deterministic": True})
    found = alike.problems_with(2)
    assert [problem.split()[0] for problem in found] == ["data.sharding", "sync.step_times", "deterministic"]
    assert "set sync.method to local_sgd, or data.sharding to proportional" in found[0]
    assert alike.problems_with(1) == []
    assert parse({**measured, "sync": {"method": "local_sgd"}}).problems_with(2) == []


def test_the_synchronous_beginning_is_told_in_steps_or_in_epochs():
    assert parse({"sync": {"warm_up_steps": 7}}).sync.first_steps(10) == 7
    assert parse({"sync": {"warm_up_epochs": 1.5}}).sync.first_steps(10) == 15
    assert problems({"sync": {"warm_up_steps": 7, "warm_up_epochs": 1}}) == [
        "sync.warm_up_steps is 7 and sync.warm_up_epochs 1: leave one of them out"
    ]


@pytest.mark.parametrize(
    ("written", "rate"),
    [("1e-3", 0.001), ("1E-3", 0.001), ("1.0e-3", 0.001), ("+1e-3", 0.001), (".001", 0.001), ("5.", 5.0), (1, 1.0)],
)
def test_a_number_that_yaml_takes_for_text_is_taken_where_a_number_is_wanted(written, rate):
    found = parse({"optimizer": {"learning_rate": written}}).optimizer.learning_rate
    assert found == rate and type(found) is float


@pytest.mark.parametrize("truth", [True, False])
def test_a_truth_value_may_be_written_as_in_yaml_1_1(truth):
    for written in ("yes", "Yes", "on", "ON") if truth else ("no", "NO", "off", "Off"):
        assert parse({"sync": {"overlap": written}}).sync.overlap is truth


@pytest.mark.parametrize("count", ["\u00b2", "\u0663", "010", "-1", "", "1" * 5000])
def test_a_number_of_layers_is_in_plain_digits(count):
    (problem,) = problems({"model": {"fine_tune": f"last:{count}"}})
    assert problem.endswith("give all, head or last:N with N layers, such as last:20")


def test_of_a_part_of_a_configuration_only_what_a_field_has_by_itself_is_told():
    part = {"epochs": 0, "epohcs": 3, "model": {"cache_features": True, "dropout": 2}}
    assert [problem.split()[0] for problem in problems(part)] == [
        "unknown",
        "model.dropout",
        "model.cache_features",
        "epochs",
    ]
    with pytest.raises(ConfigError) as caught:
        parse(part, partly=True)
    assert [problem.split()[0] for problem in caught.value.problems] == ["unknown", "model.dropout", "epochs"]


@pytest.mark.parametrize(
    ("raw", "workers", "told"),
    [
        ({"min_workers": 3}, 2, "min_workers is 3, but the run has 2 boards"),
        ({"data": {"sharding": "measured"}, "sync": {"method": "local_sgd"}}, 2, "data.sharding measured shares"),
        ({"sync": {"method": "auto"}}, 2, "sync.method auto chooses in its first steps"),
        ({"sync": {"method": "local_sgd", "warm_up_steps": 5}}, 2, "give whole sync.warm_up_epochs"),
        ({"sync": {"method": "local_sgd", "warm_up_epochs": 0.5}}, 2, "give whole sync.warm_up_epochs"),
        ({"batch_per": "global"}, 4, "3 boards cannot share a batch_size of 64 equally"),
    ],
)
def test_what_cannot_go_on_without_a_board_is_said_beforehand(raw, workers, told):
    assert not [problem for problem in parse(raw).problems_with(workers) if told in problem]
    (found,) = parse({**raw, "on_board_loss": "continue"}).problems_with(workers)
    assert told in found


def test_a_run_that_goes_on_needs_checkpoints():
    assert problems({"on_board_loss": "continue", "checkpoint_epochs": 0})[0].startswith("on_board_loss is continue")
