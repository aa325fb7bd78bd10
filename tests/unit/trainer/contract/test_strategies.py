"""The table of strategies: which method goes with which, and what the refusal of all others says."""

import itertools

import pytest

from trainer.contract import strategies
from trainer.contract.config import ConfigError, parse
from trainer.contract.methods import METHODS
from trainer.contract.strategies import STRATEGIES, default, found, of_engine

LEGAL = [(it.engine, it.name, method) for it in STRATEGIES for method in it.methods]
ILLEGAL = [
    (it.engine, it.name, method) for it, method in itertools.product(STRATEGIES, METHODS) if method not in it.methods
]


def boards(strategy):
    return strategy.most_boards or 2


def test_every_method_has_a_strategy_and_every_strategy_a_method():
    assert {method for _, _, method in LEGAL} == METHODS.keys()
    assert all(it.methods for it in STRATEGIES)


def test_one_board_needs_no_strategy_and_several_have_the_papers():
    assert default("tensorflow", 1) == "none"
    assert default("tensorflow", 2) == "multi_worker_mirrored"
    assert parse({}).strategy_on(1) == "none" and parse({}).strategy_on(3) == "multi_worker_mirrored"
    assert parse({"strategy": "multi_worker_mirrored"}).strategy_on(1) == "multi_worker_mirrored"


@pytest.mark.parametrize(("engine", "name", "method"), LEGAL)
def test_a_pair_of_the_table_is_taken(engine, name, method):
    config = parse({"engine": engine, "strategy": name, "sync": {"method": method}})
    assert config.problems_with(boards(found(engine, name))) == []


@pytest.mark.parametrize(("engine", "name", "method"), ILLEGAL)
def test_every_other_pair_is_refused_by_name_with_a_pair_to_write(engine, name, method):
    config = parse({"engine": engine, "strategy": name, "sync": {"method": method}})
    (problem,) = config.problems_with(boards(found(engine, name)))
    assert problem.startswith(f"sync.method is {method}, but strategy {name} trains with ")
    assert f"set sync.method to {found(engine, name).methods[0]}" in problem


def test_a_method_without_its_strategy_is_refused_with_the_strategy():
    (problem,) = parse({"sync": {"method": "asynchronous"}}).problems_with(2)
    assert problem.startswith(
        "sync.method is asynchronous, but strategy multi_worker_mirrored trains with keras, allreduce, "
    )
    assert problem.endswith(", or strategy to parameter_server")


@pytest.mark.parametrize("name", [it.name for it in of_engine("tensorflow") if it.most_boards == 1])
def test_a_strategy_of_one_board_is_refused_on_two(name):
    assert parse({"strategy": name}).problems_with(1) == []
    (problem,) = parse({"strategy": name}).problems_with(2)
    assert problem == (
        f"strategy is {name}, which trains on one board, but workers is 2: set workers to 1, or strategy to "
        "multi_worker_mirrored or parameter_server"
    )


def test_dedicated_servers_need_their_strategy_and_leave_a_board_that_computes():
    with_servers = {"strategy": "parameter_server", "sync": {"method": "asynchronous"}}
    assert parse({**with_servers, "servers": 1}).problems_with(2) == []
    (problem,) = parse({**with_servers, "servers": 2}).problems_with(2)
    assert problem == (
        "servers is 2 of 2 boards, so that none is left to compute: set servers to 1 or less, or raise workers"
    )
    (problem,) = parse({"servers": 1}).problems_with(2)
    assert problem == (
        "servers is 1, but strategy multi_worker_mirrored has no parameter servers: set servers to 0, or strategy to "
        "parameter_server"
    )


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"deterministic": True}, "deterministic is true (a truth value), but with strategy parameter_server"),
        ({"model": {"cache_features": True, "fine_tune": "head"}, "steps_per_call": 1}, "model.cache_features is true"),
        ({"model": {"xla": "jit_compile"}}, 'model.xla is "jit_compile" (text), but'),
        ({"steps_per_call": 2}, "steps_per_call is 2"),
        ({"sync": {"method": "asynchronous", "scale_rate": "linear"}, "data": {"sharding": "sharded"}}, "scale_rate"),
        ({"model": {"precision": "mixed_float16"}}, "model.precision is mixed_float16"),
        ({"data": {"sharding": "proportional"}}, "data.sharding is proportional"),
    ],
)
def test_fields_that_do_not_go_with_servers_are_refused(fields, says):
    config = parse({"strategy": "parameter_server", "sync": {"method": "asynchronous"}, **fields})
    (problem,) = config.problems_with(2)
    assert says in problem and ": set " in problem


def test_a_global_batch_is_shared_by_the_boards_that_compute():
    with_servers = {"strategy": "parameter_server", "sync": {"method": "asynchronous"}, "servers": 1}
    assert parse({**with_servers, "batch_per": "global", "batch_size": 64}).problems_with(3) == []
    assert parse({**with_servers, "batch_per": "global", "batch_size": 63}).problems_with(3) != []


@pytest.mark.parametrize(("key", "choices"), [("strategy", strategies.NAMES), ("engine", strategies.ENGINES)])
def test_what_no_record_has_is_refused_with_all_names(key, choices):
    with pytest.raises(ConfigError, match=f"{key} is 'horovod'; give one of {', '.join(choices)}"):
        parse({key: "horovod"})
