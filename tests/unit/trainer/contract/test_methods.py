"""The records of methods of synchronising: what they say fits the configuration and each other."""

import dataclasses
import math

import pytest

from trainer.contract.methods import (
    BACKWARD_PASS,
    METHODS,
    NEXT_STEPS,
    NOTHING,
    OPTIONS,
    VARIANTS,
    Exchange,
    Sizes,
    exchange_of,
)
from trainer.contract.sections import Sync, sync_of

SIZES = Sizes(gradient=1000, changing=1100, shapes=[(30, 30), (100,)])
# of all methods alike: how collectives run, which rate, what one board alone does
COMMON = {
    "method",
    "implementation",
    "strict_implementation",
    "timeout_s",
    "step_times",
    "scale_rate",
    "scale_warm_up_epochs",
}


def test_every_option_belongs_to_a_method_and_is_a_field():
    assert {option for method in METHODS.values() for option in method.options} == OPTIONS.keys()
    assert [*OPTIONS] == [field.name for field in dataclasses.fields(Sync) if field.name not in COMMON]


def test_variants_are_configurations_of_their_method_that_use_its_options():
    assert len({variant.name for variant in VARIANTS}) == len(VARIANTS)
    for method in METHODS.values():
        for variant in method.variants:
            sync = sync_of(variant.name)
            changed = {name for name, value in dataclasses.asdict(sync).items() if value != getattr(Sync(), name)}
            assert changed - {"method"} <= set(method.options)
            assert sync.method == method.name
            exchange = exchange_of(sync, SIZES)
            for steps in (variant.trial_steps, variant.predict_steps):
                assert not method.local_steps or steps % exchange.every == 0, "whole periods"


@pytest.mark.parametrize(
    ("name", "exchange"),
    [
        ("keras", Exchange([1000], 4, behind=BACKWARD_PASS, single=6)),
        ("keras, metrics epoch", Exchange([1000], 4, behind=BACKWARD_PASS)),
        ("allreduce, float32", Exchange([1000], 4, single=1)),
        ("allreduce, float32, step_times 0", Exchange([1000], 4)),
        ("allreduce, float16, accumulate_steps 3", Exchange([1000], 2, every=3, single=1)),
        ("allreduce, float16, delay_steps 1", Exchange([1000], 2, behind=NEXT_STEPS, single=1)),
        ("allreduce, float16, bucket_bytes 2000", Exchange([500, 500], 2, behind=BACKWARD_PASS)),
        ("powersgd, rank 4", Exchange((4 * 30 + 100, 4 * 30), 2, single=1)),
        ("local_sgd, float32, period 8", Exchange([1100], 4, every=8, behind=NEXT_STEPS, single=1)),
        ("local_sgd, overlap 0", Exchange([1100], 2, every=16, behind=NOTHING, single=1)),
    ],
)
def test_what_boards_exchange(name, exchange):
    assert exchange_of(sync_of(name), SIZES) == exchange


def test_packs_of_fit_are_counted_in_float32():
    assert exchange_of(Sync(bytes_per_pack=1500), SIZES).messages == [pytest.approx(1000 / 3)] * 3


def test_what_depends_on_shapes_is_not_known_without_them():
    found = exchange_of(sync_of("powersgd"), dataclasses.replace(SIZES, shapes=None))
    assert len(found.messages) == 2 and all(map(math.isnan, found.messages))


def test_what_auto_sends_is_only_known_afterwards():
    with pytest.raises(ValueError, match="auto chooses what to send from measurements"):
        exchange_of(Sync(method="auto"), SIZES)
