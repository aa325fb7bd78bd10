"""Times every method of synchronising in turn, in one process per board.

In every cycle each method makes some steps, in a new order that is the same on all boards. For comparison, one board
trains while the others idle, and all boards train without synchronising: the speed if synchronising cost nothing.
(Emulated boards share a machine's memory, so that two reach less than twice the speed of one.)
"""

from __future__ import annotations

import copy
import dataclasses
from typing import TYPE_CHECKING, Any, Callable, Dict, Iterator, Mapping, Tuple

import tensorflow as tf

from trainer.contract.events import NO_SYNC, ONE_BOARD
from trainer.contract.methods import METHODS, VARIANTS
from trainer.contract.sections import sync_of
from trainer.learning import data
from trainer.learning.step_timer import StepTimer
from trainer.loop import turns
from trainer.loop.turns import Turn
from trainer.sync import keras, made_for
from trainer.sync.collective import mean_over_boards
from trainer.sync.stepping import Worker

if TYPE_CHECKING:
    from trainer.learning.context import TrainingContext

_CYCLES = 5  # fewer where the experiment has fewer epochs
_ALONE_STEPS = 16

Step = Callable[[], None]


def measure(context: TrainingContext) -> None:
    """Time all methods and record each turn. All boards of the cluster take part."""
    methods = {variant.name: variant.trial_steps for variant in VARIANTS if variant.trial_steps}
    take_turns(context, methods, min(_CYCLES, context.config.epochs), _ALONE_STEPS)
    context.log.close()


def take_turns(context: TrainingContext, methods: Mapping[str, int], cycles: int, alone_steps: int) -> tf.keras.Model:
    """Time these methods, one board alone, and boards that do not synchronise; return the model of one board alone.

    With a cluster of one board, only the board alone is timed.
    """
    model, plain = _plain_step(context)
    plain()
    taken = _ready(context, methods) if context.cluster.workers > 1 else {}
    taken[ONE_BOARD] = Turn(plain if context.cluster.is_chief else lambda: None, alone_steps, context.timer)
    if context.cluster.workers > 1:
        taken[NO_SYNC] = Turn(plain, alone_steps, context.timer)
    together = tf.function(lambda: mean_over_boards(context.strategy, tf.zeros([1])))
    turns.take(context, taken, cycles, lambda: context.in_order.submit(together).result())
    return model


def _ready(context: TrainingContext, methods: Mapping[str, int]) -> Dict[str, Turn]:
    """Each method's turn; traced and warmed up."""
    made = {}
    worker = Worker(context)  # all of the kit's methods train this one model, whose weights are discarded
    worker.last_step = 10**9
    for name, steps in methods.items():
        own = _with(context, name)
        own_loop = METHODS[own.config.sync.method].own_loop
        step, warm_up = _own_step(worker.under(own)) if own_loop else _keras_step(own)
        for _ in range(warm_up):
            step()
            context.log.progress()
        made[name] = Turn(step, steps, own.timer)
    return made


def _with(context: TrainingContext, name: str) -> TrainingContext:
    """The context with the named method of synchronising instead of the experiment's."""
    own = copy.copy(context)
    own.config = dataclasses.replace(context.config, sync=sync_of(name))
    own.timer = StepTimer(own.config.sync.step_times)
    return own


def _batches(context: TrainingContext) -> tf.data.Dataset:
    return data.training_batches(context.images, context.shard, context.seed, range(1000))


def _plain_step(context: TrainingContext) -> Tuple[tf.keras.Model, Step]:
    """A step of fit on one board, without a strategy."""
    model = context.build_model()
    keras.compile_model(context, model)
    keras.time_steps(_with(context, "keras"), model)  # the marks that the methods make, too
    context.ready(model)
    return model, _fit_step(model, iter(_batches(context)))


def _keras_step(context: TrainingContext) -> Tuple[Step, int]:
    """A step of fit under the strategy, and how many to make before timing."""
    with context.strategy.scope():
        model = context.build_model()
        keras.compile_model(context, model)
    keras.time_steps(context, model)
    return _fit_step(model, iter(keras.on_this_board(context, _batches(context)))), 2


def _fit_step(model: tf.keras.Model, batches: Iterator[Any]) -> Step:
    function = model.make_train_function()

    def step() -> None:
        float(function(batches)["loss"])

    return step


def _own_step(worker: Worker) -> Tuple[Step, int]:
    """A step of the kit's own methods, and how many to make before timing."""
    context = worker.context
    batches, made = iter(_batches(context)), 0
    method = made_for(worker)

    def step() -> None:
        nonlocal made
        made += 1
        float(method.step(made, *next(batches))["loss"])

    # an exchange then begins in the middle of a turn, so that all of its cost lies within it
    return step, context.config.sync.period * 3 // 2 if METHODS[context.config.sync.method].local_steps else 2
