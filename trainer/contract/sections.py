"""The sections of a configuration: data, model, optimizer, schedule and sync, each field with its default and range.

Standard library only, Python 3.8 syntax; trainer/contract/config.py has the rest, and says what the comments mean.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import Any, Dict, Iterator, Optional

from trainer.contract.fields import Section, bounded
from trainer.contract.methods import METHODS, those_with

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
    # used by adam only: how much of the moments of the gradient and of its square a step keeps
    beta_1: float = bounded(0.9, minimum=0, maximum=0.9999)
    beta_2: float = bounded(0.999, minimum=0, maximum=0.99999)


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
    # methods, a four-byte all-reduce before a message; false: only whole steps are timed
    step_times: bool = True
    # meanings, units and the methods that use them: OPTIONS and METHODS in contract/methods.py
    bytes_per_pack: int = bounded(0, minimum=0)
    metrics: str = bounded("step", choices=("step", "epoch"))
    gradient_dtype: str = bounded("float16", choices=("float32", "float16", "bfloat16"))
    bucket_bytes: int = bounded(0, minimum=0)
    accumulate_steps: int = bounded(1, minimum=1)
    delay_steps: int = bounded(0, minimum=0, maximum=1)
    rank: int = bounded(4, minimum=1)
    period: int = bounded(16, minimum=1)
    overlap: bool = True
    outer_momentum: float = bounded(0.0, minimum=0, maximum=0.9999)
    outer_learning_rate: float = bounded(1.0, above=0)
    warm_up_steps: int = bounded(0, minimum=0)
    warm_up_epochs: float = bounded(0.0, minimum=0)
    warm_up_period: int = bounded(1, minimum=1)
    efficiency: float = bounded(0.95, above=0, maximum=1)
    # boards that share the images make N times fewer steps per epoch: none keeps the learning rate, sqrt and linear
    # multiply it by sqrt(N) and N (Goyal et al., "Accurate, large minibatch SGD", 2017). Refused where they make no
    # fewer
    scale_rate: str = bounded("none", choices=("none", "sqrt", "linear"))
    # epochs over which a scaled rate grows from the unscaled one (Goyal et al.)
    scale_warm_up_epochs: float = bounded(0.0, minimum=0)

    def first_steps(self, steps_per_epoch: int) -> int:
        """How many of a run's first steps are its warm-up: made synchronously, or with averages more often."""
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
        others = those_with("delay_steps")
        if self.delay_steps > 0 and self.method in METHODS and self.method not in others:
            yield (
                f"sync.delay_steps is {self.delay_steps}, but sync.method {self.method} applies no gradient later: set "
                f"sync.method to {' or '.join(others)}, or leave sync.delay_steps out"
            )


def sync_of(name: str) -> Sync:
    """The section for a name such as "local_sgd, period 16" or "allreduce, float16, bucket_bytes 2000000"."""
    method, *details = name.split(", ")
    fields: Dict[str, Any] = {}
    for detail in details:
        field_name, _, value = detail.partition(" ")
        fields.update({field_name: int(value) if value.isdecimal() else value} if value else {"gradient_dtype": detail})
    return Sync(method=method, **fields)


def _checksum(name: str, value: Optional[str]) -> Iterator[str]:
    if value is None or _SHA256.fullmatch(value):
        return
    meant = re.sub(r"^sha-?256[:=]", "", value.strip().lower()).strip()
    remedy = f"write {meant}" if _SHA256.fullmatch(meant) else "give 64 hexadecimal digits in lower case, or null"
    yield f"{name} is {value!r}; {remedy}"
