"""The configuration of an experiment: every field with its default (the paper's), range and error message.

Standard library only, Python 3.8 syntax: the controller checks a configuration with it before a board
is touched, and the boards read the same file. "The paper" is Park, Lee, Hwang 2023; what it does not state is marked
"unstated", with the reason for the default.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import Any, Dict, Iterator, List, Mapping, Optional, Sequence, Tuple

from trainer.contract import pytorch_limits, strategies
from trainer.contract.fields import ConfigError, Section, bounded, known_keys, read, shown
from trainer.contract.methods import METHODS
from trainer.contract.sections import Data, Model, Optimizer, Schedule, Sync

__all__ = ["Config", "ConfigError", "known_keys", "parse", "to_dict"]

_WITH_LOCAL_STEPS = [method.name for method in METHODS.values() if method.local_steps]


@dataclass(frozen=True)
class Config(Section):
    """A complete experiment. The defaults are the paper's."""

    engine: str = bounded("tensorflow", choices=strategies.ENGINES)  # what trains
    # how training is distributed, with which methods: STRATEGIES in contract/strategies.py. null: none on one board;
    # on several, multi_worker_mirrored (the paper)
    strategy: Optional[str] = bounded(None, choices=strategies.NAMES)
    # with strategy parameter_server: boards, the last of the run, that are parameter servers and nothing else; 0: each
    # board has a server beside its worker
    servers: int = bounded(0, minimum=0)
    epochs: int = bounded(100, minimum=1)  # passes over the training images (the paper)
    batch_size: int = bounded(64, minimum=1)  # images per step
    # board: batch_size images on each board; global: split across the boards. Unstated in the paper
    batch_per: str = bounded("board", choices=("board", "global"))
    window_steps: int = bounded(10, minimum=1)  # steps per record
    # steps of a window that one call of TensorFlow makes, which saves Python's time for short steps; null: 1, or all of
    # a window where features are cached
    steps_per_call: Optional[int] = bounded(None, minimum=1)
    # epochs between checkpoints, from which an interrupted run can resume; 0: none
    checkpoint_epochs: int = bounded(1, minimum=0)
    # steps of a board between checkpoints within an epoch; local_sgd: until the next average after them; 0: none
    checkpoint_steps: int = bounded(0, minimum=0)
    # what a run does when a board is lost: stop; or continue on the boards that are left, from the newest checkpoint
    # that all of them have, where they are more than half of the boards before, or half with the tie-break
    on_board_loss: str = bounded("stop", choices=("stop", "continue"))
    # which half goes on where boards fall apart into halves: that with the lowest rank, or that of the board which the
    # controller that follows the run names, or a host outside the run (elastic_witness): one for each generation
    tie_break: str = bounded("lowest_rank", choices=("lowest_rank", "controller", "witness"))
    min_workers: int = bounded(1, minimum=1)  # boards without which on_board_loss: continue does not
    # runs with the same seed give the same numbers; slower on a GPU, and an overlapped average of local_sgd is applied
    # just before the next one begins
    deterministic: bool = False
    data: Data = field(default_factory=Data)
    model: Model = field(default_factory=Model)
    optimizer: Optimizer = field(default_factory=Optimizer)
    schedule: Schedule = field(default_factory=Schedule)
    sync: Sync = field(default_factory=Sync)

    def strategy_on(self, workers: int) -> str:
        """The strategy on so many boards."""
        return self.strategy or strategies.default(self.engine, workers)

    def computing(self, workers: int) -> int:
        """How many of so many boards compute: all that are not dedicated parameter servers."""
        return workers - self.servers

    @property
    def steps_a_call(self) -> int:
        """Steps that one call of TensorFlow makes at most."""
        return self.steps_per_call or (self.window_steps if self.model.cache_features else 1)

    @property
    def _fewer_steps(self) -> bool:
        """Whether several boards make fewer steps in an epoch than one."""
        return self.data.sharding != "whole" and self.batch_per == "board"

    def checks(self) -> Iterator[str]:
        if self.steps_per_call and self.window_steps % self.steps_per_call:
            yield (
                f"steps_per_call is {self.steps_per_call}, but window_steps {self.window_steps} is no multiple of it: "
                f"set window_steps to {-(-self.window_steps // self.steps_per_call) * self.steps_per_call}"
            )
        if self.on_board_loss == "continue" and not self.checkpoint_epochs and not self.checkpoint_steps:
            yield (
                "on_board_loss is continue, but checkpoint_epochs 0 leaves nothing to continue from: set "
                "checkpoint_epochs to 1, or on_board_loss to stop"
            )

    def board_batch(self, workers: int) -> int:
        """Images per step on one board."""
        return self.batch_size if self.batch_per == "board" else self.batch_size // workers

    def batches(self, speeds: Sequence[float]) -> Tuple[int, ...]:
        """Images per step of boards with these relative speeds: the same total as with equal ones, at least 1 each."""
        return divided(self.board_batch(len(speeds)) * len(speeds), speeds)

    def _with_servers(self, strategy: str) -> Iterator[str]:
        """Problems of fields that do not go with parameter servers."""
        refused = (
            ("deterministic", self.deterministic, False, "gradients are applied in the order in which they arrive"),
            ("model.cache_features", self.model.cache_features, False, "workers read the images themselves"),
            ("model.xla", self.model.xla, "none", "XLA cannot compile reading from servers"),
            ("steps_per_call", self.steps_a_call, 1, "the chief hands out single steps"),
            ("sync.scale_rate", self.sync.scale_rate, "none", "servers apply every worker's gradient as a step"),
        )
        for name, value, needed, reason in refused:
            if value != needed:
                remedy = f"set {name} to {str(needed).lower()}"
                yield f"{name} is {shown(value)}, but with strategy {strategy} {reason}: {remedy}"
        if self.model.precision == "mixed_float16":
            yield (
                f"model.precision is mixed_float16, but with strategy {strategy} no loss is scaled: set "
                "model.precision to float32 or mixed_bfloat16"
            )

    def problems_with(self, workers: int) -> List[str]:
        """Reasons why this cannot run on `workers` boards, a sentence each."""
        strategy = self.strategy_on(workers)
        problems = strategies.problems(self.engine, strategy, self.sync.method, workers, self.servers)
        if problems:
            return problems  # the others are about a strategy and a method that go together
        if self.engine == strategies.PYTORCH:
            problems += pytorch_limits.problems(self, strategy, workers)
        if strategies.found(self.engine, strategy).servers:
            problems += self._with_servers(strategy)
        elif workers > 1 and self.model.xla == "jit_compile" and self.sync.method == "keras":
            problems.append(
                f"model.xla is jit_compile, but a step of sync.method {self.sync.method} has collectives in it, which "
                "XLA cannot compile: set model.xla to autoclustering, or sync.method to another one, such as allreduce"
            )
        if self.checkpoint_steps:
            problems += self._problems_of_steps(workers)
        if workers > 1 and self.data.sharding == "proportional" and not METHODS[self.sync.method].own_loop:
            problems.append(
                f"data.sharding is proportional, but sync.method {self.sync.method} gives all boards batches of one "
                "size: set sync.method to another one, such as allreduce, or data.sharding to sharded"
            )
        if workers > 1 and self.data.sharding == "measured":
            if not METHODS[self.sync.method].local_steps:
                problems.append(
                    f"data.sharding is measured, but with sync.method {self.sync.method} all boards make the same "
                    f"steps: set sync.method to {' or '.join(_WITH_LOCAL_STEPS)}, or data.sharding to proportional"
                )
            if not self.sync.step_times:
                problems.append(
                    "sync.step_times is false, but data.sharding measured needs these times: set sync.step_times to "
                    "true, or data.sharding to sharded"
                )
            if self.deterministic:
                problems.append(
                    "deterministic is true, but data.sharding measured follows times, which are never the same: set "
                    "deterministic to false, or data.sharding to sharded"
                )
        if workers > 1 and self.sync.scale_rate != "none" and not self._fewer_steps:
            reason = (
                "data.sharding whole gives every board all images"
                if self.batch_per == "board"
                else "batch_per global divides the batch, too"
            )
            problems.append(
                f"sync.scale_rate is {self.sync.scale_rate}, but {workers} boards make no fewer steps than one, since "
                f"{reason}: set sync.scale_rate to none, or data.sharding to sharded and batch_per to board"
            )
        computing = self.computing(workers)
        if self.batch_per == "global" and self.batch_size % computing:
            problems.append(
                f"batch_size is {self.batch_size} for all boards together, which {computing} boards cannot "
                f"share equally: give a multiple of {computing}, or set batch_per to board"
            )
        if workers > 1 and self.on_board_loss == "continue":
            problems += self._problems_of_continuing(workers)
        return problems

    def _problems_of_steps(self, workers: int) -> Iterator[str]:
        if self.engine != strategies.PYTORCH and not METHODS[self.sync.method].own_loop:
            yield (
                f"checkpoint_steps is {self.checkpoint_steps}, but sync.method {self.sync.method} has checkpoints of "
                "whole epochs: set checkpoint_steps to 0, or sync.method to another one, such as allreduce"
            )
        if workers > 1 and self.data.sharding == "measured":
            yield (
                f"checkpoint_steps is {self.checkpoint_steps}, but with data.sharding measured boards make different "
                "numbers of steps: set checkpoint_steps to 0, or data.sharding to sharded"
            )

    def _problems_of_continuing(self, workers: int) -> Iterator[str]:
        if self.min_workers > workers:
            yield f"min_workers is {self.min_workers}, but the run has {workers} boards: lower it, or raise workers"
        if self.engine == strategies.PYTORCH:
            yield "on_board_loss is continue, but engine pytorch ends with a lost board: set on_board_loss to stop"
        elif self.strategy == strategies.PARAMETER_SERVER:
            yield (
                f"on_board_loss is continue, but with strategy {self.strategy} a server that is lost ends the run: set "
                "on_board_loss to stop"
            )
        if self.data.sharding == "measured":
            yield (
                "on_board_loss is continue, but data.sharding measured shares the images among all boards of the run: "
                "set data.sharding to sharded, or on_board_loss to stop"
            )
        if self.sync.method == "auto":
            yield (
                "on_board_loss is continue, but sync.method auto chooses in its first steps, which a board that comes "
                "back has not made: set sync.method to another one, or on_board_loss to stop"
            )
        if self.sync.warm_up_steps or self.sync.warm_up_epochs % 1:
            yield (
                "on_board_loss is continue, and boards that are fewer make more steps in an epoch: give whole "
                "sync.warm_up_epochs instead of other warm-ups, or set on_board_loss to stop"
            )
        fewer = range(self.min_workers, workers)
        odd = [count for count in fewer if self.batch_per == "global" and self.batch_size % count]
        if odd:
            yield (
                f"on_board_loss is continue, but batch_per is global, and {odd[-1]} boards cannot share a batch_size "
                f"of {self.batch_size} equally: set batch_per to board, or on_board_loss to stop"
            )


def divided(total: int, weights: Sequence[float]) -> Tuple[int, ...]:
    """A total in whole parts in proportion to the weights, at least 1 each; by largest remainders (Hamilton)."""
    ideal = [total * weight / sum(weights) for weight in weights]
    found = [max(1, int(part)) for part in ideal]
    by_remainder = sorted(range(len(weights)), key=lambda place: found[place] - ideal[place])
    for place in by_remainder[: max(0, total - sum(found))]:
        found[place] += 1
    return tuple(found)


def parse(raw: Mapping[str, Any], partly: bool = False) -> Config:
    """The configuration that `raw` (nested, as in experiments/*.yml) describes, defaults filled in.

    Raises ConfigError with all problems; with `partly`, where part of the configuration could not be read, only with
    those of single fields.
    """
    return read(Config, raw, partly)


def to_dict(config: Config) -> Dict[str, Any]:
    """The nested dictionary that `parse` turns back into the same configuration."""
    return dataclasses.asdict(config)
