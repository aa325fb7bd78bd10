"""The configuration of an experiment: every field with its default (the paper's), range and error message.

Standard library only, Python 3.8 syntax: the controller checks a configuration with it before a board
is touched, and the boards read the same file. "The paper" is Park, Lee, Hwang 2023; what it does not state is marked
"unstated", with the reason for the default.
"""

from __future__ import annotations

import dataclasses
import math
import re
from dataclasses import dataclass, field
from typing import Any, Dict, Iterator, List, Mapping, Optional, Sequence, Tuple

from trainer.contract.fields import ConfigError, Section, bounded, known_keys, read
from trainer.contract.methods import METHODS, those_with

__all__ = [
    "Config",
    "ConfigError",
    "Data",
    "Model",
    "Optimizer",
    "Schedule",
    "Sync",
    "known_keys",
    "parse",
    "sync_of",
    "to_dict",
]

_SHA256 = re.compile("[0-9a-f]{64}")
_WITH_LOCAL_STEPS = [method.name for method in METHODS.values() if method.local_steps]


@dataclass(frozen=True)
class Data(Section):
    """The data set, and which of its images a board trains on."""

    prefix = "data."

    source: str = bounded("cifar100", choices=("cifar100", "synthetic", "npz"))  # kind of data set
    # archive on the controller: CIFAR-100's python archive, or a NumPy archive with x_train, y_train,
    # x_test, y_test; null: download CIFAR-100 once
    path: Optional[str] = None
    sha256: Optional[str] = None  # SHA-256 of the archive at `path`; null skips the check
    train_images: Optional[int] = bounded(None, minimum=1)  # number of training images, from the first; null: all
    validation_images: Optional[int] = bounded(None, minimum=1)  # number of validation images, likewise; null: all
    # whole: every board trains on every image in an epoch ("the same data set", the paper); sharded: on an equal part;
    # proportional: on a part, in batches, in proportion to its relative_speed in the inventory, so that a slower board
    # takes no longer for a step; measured: from the second epoch on, on a part in whole batches in proportion to the
    # speeds of the first, so that a slower board makes fewer steps (sync.method local_sgd)
    sharding: str = bounded("whole", choices=("whole", "sharded", "proportional", "measured"))

    def checks(self) -> Iterator[str]:
        if self.path is not None and not self.path.strip():
            yield f"data.path is {self.path!r}; give the path of an archive, or leave it out"
        elif self.source == "npz" and not self.path:
            yield "data.path is null, but data.source npz needs it: give the path of the NumPy archive"
        if self.source == "synthetic" and self.path:
            yield (
                f"data.path is {self.path!r}, but data.source synthetic generates its images: "
                "set data.source to that of the archive, or leave data.path out"
            )
        yield from _checksum("data.sha256", self.sha256)


@dataclass(frozen=True)
class Model(Section):
    """Keras MobileNetV2 with the paper's head."""

    prefix = "model."

    image_size: int = bounded(64, minimum=32, maximum=512)  # pixels per side after resizing (the paper)
    # imagenet (the paper), none (random), or the path of a Keras weight file (.h5, without top)
    weights: str = "imagenet"
    weights_sha256: Optional[str] = None  # SHA-256 of a weight file given by path; null skips the check
    # which layers train: all, head, or last:N layers of the backbone and the head. Unstated in the paper; its
    # all-reduce time matches the gradient of all layers
    fine_tune: str = "all"
    dense_units: int = bounded(512, minimum=1)  # units of the head's hidden layer (the paper)
    dropout: float = bounded(0.3, minimum=0, maximum=0.99)  # fraction dropped in the head (the paper)
    # with fine_tune head: compute the backbone's output once per board and image, and train the head on it
    cache_features: bool = False
    # dtype of the computation on a GPU; a board without one computes in float32, as its records say
    precision: str = bounded("float32", choices=("float32", "mixed_float16", "mixed_bfloat16"))
    # compiling with XLA on a GPU; ignored on a CPU, where XLA is several times slower. autoclustering: what XLA finds
    # worth it; jit_compile: all of a step but its collectives, which XLA cannot compile
    xla: str = bounded("none", choices=("none", "autoclustering", "jit_compile"))
    # momentum of batch normalisation's moving statistics; Keras' MobileNetV2 has 0.999, which needs thousands of steps
    # to settle
    batch_norm_momentum: float = bounded(0.999, above=0, maximum=0.9999)

    def checks(self) -> Iterator[str]:
        if not self.weights.strip():
            yield "model.weights is empty; give imagenet, none or the path of a Keras weight file"
        if not re.fullmatch(r"all|head|last:[1-9][0-9]{0,4}", self.fine_tune):
            yield f"model.fine_tune is {self.fine_tune!r}; give all, head or last:N with N layers, such as last:20"
        if self.cache_features and self.fine_tune != "head":
            yield (
                f"model.cache_features is true, but model.fine_tune {self.fine_tune} changes the backbone, so that its "
                "features change too: set model.fine_tune to head, or leave model.cache_features out"
            )
        yield from _checksum("model.weights_sha256", self.weights_sha256)


@dataclass(frozen=True)
class Optimizer(Section):
    """The optimizer. The paper names neither it nor its rate: these are Keras' defaults."""

    prefix = "optimizer."

    name: str = bounded("adam", choices=("adam", "sgd"))  # unstated in the paper
    learning_rate: float = bounded(0.001, above=0)  # unstated in the paper
    momentum: float = bounded(0.9, minimum=0, maximum=0.9999)  # used by sgd only


@dataclass(frozen=True)
class Schedule(Section):
    """The learning rate: constant, then exponential decay from epoch 10 (the paper)."""

    prefix = "schedule."

    constant_epochs: int = bounded(10, minimum=0)  # epochs before the decay (the paper)
    # the rate is multiplied by exp(-decay) per epoch; unstated in the paper, 0.1 is the example in Keras'
    # LearningRateScheduler, whose shape the paper describes
    decay: float = bounded(0.1, minimum=0)


@dataclass(frozen=True)
class Sync(Section):
    """How boards synchronise."""

    prefix = "sync."

    method: str = bounded("keras", choices=tuple(METHODS))  # described in contract/methods.py
    # the collective to ask TensorFlow for; the paper set NCCL. The records say which one ran
    implementation: str = bounded("nccl", choices=("auto", "ring", "nccl"))
    # with implementation nccl: refuse boards that are not known to run NCCL; false: the check warns, TensorFlow falls
    # back to its ring, and the records say so
    strict_implementation: bool = False
    # seconds after which a collective fails the run; 0: no limit, and the supervisor stops a run that hangs (role
    # train). TensorFlow keeps a thread for each collective for this long: with 600 s, tens of thousands
    timeout_s: float = bounded(0.0, minimum=0)
    # whether communication and waiting are timed within steps, which costs a mark or two and, with the kit's own
    # methods, a four-byte all-reduce before each message; false: only whole steps are timed
    step_times: bool = True
    # meanings, units and the methods that use them: OPTIONS and METHODS in contract/methods.py
    bytes_per_pack: int = bounded(0, minimum=0)
    metrics: str = bounded("step", choices=("step", "epoch"))
    gradient_dtype: str = bounded("float16", choices=("float32", "float16", "bfloat16"))
    bucket_bytes: int = bounded(0, minimum=0)
    accumulate_steps: int = bounded(1, minimum=1)
    rank: int = bounded(4, minimum=1)
    period: int = bounded(16, minimum=1)
    overlap: bool = True
    outer_momentum: float = bounded(0.0, minimum=0, maximum=0.9999)
    outer_learning_rate: float = bounded(1.0, above=0)
    warm_up_steps: int = bounded(0, minimum=0)
    warm_up_epochs: float = bounded(0.0, minimum=0)
    efficiency: float = bounded(0.95, above=0, maximum=1)
    # boards that share the images make N times fewer steps per epoch: none keeps the learning rate, sqrt and linear
    # multiply it by sqrt(N) and N (Goyal et al., "Accurate, large minibatch SGD", 2017). Refused where they make no
    # fewer
    scale_rate: str = bounded("none", choices=("none", "sqrt", "linear"))
    # epochs over which a scaled rate grows from the unscaled one (Goyal et al.)
    scale_warm_up_epochs: float = bounded(0.0, minimum=0)
    # strategy on one board; plain: none, mwms: MultiWorkerMirroredStrategy with one worker
    one_board: str = bounded("plain", choices=("plain", "mwms"))

    def first_steps(self, steps_per_epoch: int) -> int:
        """How many of a run's first steps are made synchronously, with the whole gradient."""
        return self.warm_up_steps or round(self.warm_up_epochs * steps_per_epoch)

    def learning_rate_scale(self, workers: int) -> float:
        """The factor of the learning rate on so many boards."""
        return {"none": 1.0, "sqrt": math.sqrt(workers), "linear": float(workers)}[self.scale_rate]

    def checks(self) -> Iterator[str]:
        if self.warm_up_steps and self.warm_up_epochs:
            yield (
                f"sync.warm_up_steps is {self.warm_up_steps} and sync.warm_up_epochs {self.warm_up_epochs:g}: leave "
                "one of them out"
            )
        if self.strict_implementation and self.implementation != "nccl":
            yield (
                f"sync.strict_implementation is true, but sync.implementation {self.implementation} is one that every "
                "TensorFlow has: set sync.implementation to nccl, or leave sync.strict_implementation out"
            )
        if self.method == "auto" and not self.step_times:
            yield (
                "sync.step_times is false, but sync.method auto chooses from these times: set sync.step_times to true, "
                "or sync.method to another one"
            )
        others = those_with("accumulate_steps")
        if self.accumulate_steps > 1 and self.method in METHODS and self.method not in others:
            yield (
                f"sync.accumulate_steps is {self.accumulate_steps}, but sync.method {self.method} applies every "
                f"gradient at once: set sync.method to {' or '.join(others)}, or leave sync.accumulate_steps out"
            )


def sync_of(name: str) -> Sync:
    """The section for a name such as "local_sgd, period 16" or "allreduce, float16, bucket_bytes 2000000"."""
    method, *details = name.split(", ")
    fields: Dict[str, Any] = {}
    for detail in details:
        field_name, _, value = detail.partition(" ")
        fields.update({field_name: int(value) if value.isdecimal() else value} if value else {"gradient_dtype": detail})
    return Sync(method=method, **fields)


@dataclass(frozen=True)
class Config(Section):
    """A complete experiment. The defaults are the paper's."""

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
    # what a run does when a board is lost: stop; or continue on the boards that are left, from the newest checkpoint
    # that all of them have, where they are more than half of the boards before, or half with the tie-break
    on_board_loss: str = bounded("stop", choices=("stop", "continue"))
    # which half goes on where boards fall apart into halves: that with the lowest rank, or that of the board which the
    # controller that follows the run names; it names one for each generation
    tie_break: str = bounded("lowest_rank", choices=("lowest_rank", "controller"))
    min_workers: int = bounded(1, minimum=1)  # boards without which on_board_loss: continue does not
    # runs with the same seed give the same numbers; slower on a GPU, and an overlapped average of local_sgd is applied
    # just before the next one begins
    deterministic: bool = False
    data: Data = field(default_factory=Data)
    model: Model = field(default_factory=Model)
    optimizer: Optimizer = field(default_factory=Optimizer)
    schedule: Schedule = field(default_factory=Schedule)
    sync: Sync = field(default_factory=Sync)

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
        if self.on_board_loss == "continue" and not self.checkpoint_epochs:
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

    def problems_with(self, workers: int) -> List[str]:
        """Reasons why this cannot run on `workers` boards, a sentence each."""
        problems = []
        if workers > 1 and self.model.xla == "jit_compile" and not METHODS[self.sync.method].own_loop:
            problems.append(
                f"model.xla is jit_compile, but a step of sync.method {self.sync.method} has collectives in it, which "
                "XLA cannot compile: set model.xla to autoclustering, or sync.method to another one, such as allreduce"
            )
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
        if self.batch_per == "global" and self.batch_size % workers:
            problems.append(
                f"batch_size is {self.batch_size} for all boards together, which {workers} boards cannot "
                f"share equally: give a multiple of {workers}, or set batch_per to board"
            )
        if workers > 1 and self.on_board_loss == "continue":
            problems += self._problems_of_continuing(workers)
        return problems

    def _problems_of_continuing(self, workers: int) -> Iterator[str]:
        if self.min_workers > workers:
            yield f"min_workers is {self.min_workers}, but the run has {workers} boards: lower it, or raise workers"
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


def _checksum(name: str, value: Optional[str]) -> Iterator[str]:
    if value is None or _SHA256.fullmatch(value):
        return
    meant = re.sub(r"^sha-?256[:=]", "", value.strip().lower()).strip()
    remedy = f"write {meant}" if _SHA256.fullmatch(meant) else "give 64 hexadecimal digits in lower case, or null"
    yield f"{name} is {value!r}; {remedy}"


def parse(raw: Mapping[str, Any], partly: bool = False) -> Config:
    """The configuration that `raw` (nested, as in experiments/*.yml) describes, defaults filled in.

    Raises ConfigError with all problems; with `partly`, where part of the configuration could not be read, only with
    those of single fields.
    """
    return read(Config, raw, partly)


def to_dict(config: Config) -> Dict[str, Any]:
    """The nested dictionary that `parse` turns back into the same configuration."""
    return dataclasses.asdict(config)
