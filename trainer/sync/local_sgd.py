"""Boards train on their own and average every `period` steps (local SGD; Stich, "Local SGD converges fast and
communicates little", ICLR 2019; post-local SGD: Lin et al., "Don't use large mini-batches, use local SGD", ICLR 2020).

All weights that train are averaged, with the moving statistics of batch normalisation. The optimizer's moments are not:
they follow their own board's gradients and decay within a few steps.

The first steps of a run change the weights most, so that boards drift apart quickly: with a warm-up they are made
synchronously (post-local SGD), or, with `warm_up_period`, averages come more often, which costs nothing where they
travel while the next steps compute.

Boards send the change since the last average, not the weights: small numbers, which float16 represents well. With
`overlap` it is sent while the board computes the next steps, and the result is applied as a correction when it arrives:
weights += mean of all changes - own change.

With `outer_momentum` the mean change is the gradient of an outer optimizer, whose step is the same on all boards (Wang
et al., "SlowMo: improving communication-efficient distributed SGD with slow momentum", ICLR 2020; Douillard et al.,
"DiLoCo", 2023): velocity = outer_momentum * velocity + mean change; step = outer_learning_rate * velocity.
"""

from __future__ import annotations

import contextlib
import math
import time
from concurrent.futures import Future
from typing import Callable, Iterator, List, Optional, Tuple

import tensorflow as tf

from trainer.contract.events import Average
from trainer.learning.model import moving_statistics
from trainer.learning.step_timer import ready
from trainer.sync.allreduce import GradientMean
from trainer.sync.collective import Flat, ScaledMean, after_all, mean_over_boards
from trainer.sync.delayed import synchronous
from trainer.sync.method import Logs, Several
from trainer.sync.stepping import SynchronousSteps, Worker


def method(worker: Worker) -> LocalSgd:
    """Local steps after a warm-up, and an average every `period` steps."""
    config = worker.context.config.sync
    together = synchronous(worker, GradientMean)
    return LocalSgd(worker, config.period, together, worker.warm_up_steps, config.warm_up_period)


class LocalSgd(tf.Module):
    """Local steps, and an average every `period` steps."""

    def __init__(
        self,
        worker: Worker,
        period: int,
        synchronous: SynchronousSteps,
        warm_up_steps: int,
        warm_up_period: int = 1,
    ) -> None:
        """The first `warm_up_steps` steps are made by `synchronous`, or with averages every `warm_up_period` steps."""
        super().__init__()
        config = worker.context.config
        self._worker, self._period, self._overlap = worker, period, config.sync.overlap
        # the step at which an average arrives is random
        self._as_they_come = not config.deterministic
        self._warm_up_steps, self._warm_up_period = warm_up_steps, warm_up_period
        self._synchronous, self._synchronous_steps = synchronous, warm_up_steps if warm_up_period == 1 else 0
        self._averaging = _Averaging(worker)
        self._local = worker.made_steps > self._synchronous_steps  # whether local steps have begun
        self._number = worker.made_steps
        self._alone = tf.function(self._step_alone, input_signature=worker.signature)
        self._several = Several(self._alone, worker)

    def trace(self) -> None:
        """Trace local steps, averages, and the synchronous steps before them."""
        self._worker.dry_run(self._alone)  # else the first local step would take seconds
        self._several.trace()
        self._averaging.trace()
        if not self._local and self._synchronous_steps:
            self._synchronous.trace()

    def step(self, number: int, images: tf.Tensor, labels: tf.Tensor) -> Logs:
        """images: [b, ...], labels: [b] int32 -> logs of a local step; begins or applies averages when due."""
        if number <= self._synchronous_steps:
            self._number = number
            return self._synchronous.step(number, images, labels)
        return self._locally(number, lambda: self._alone(images, labels))

    def alike(self, number: int) -> int:
        """Steps until the next average."""
        if number <= self._synchronous_steps:
            return min(self._synchronous_steps + 1 - number, self._synchronous.alike(number))
        pace = self._worker.pace
        if not pace.unequal:
            local, every = self._local_steps(number)
            return -local % every + 1
        place = number - pace.before(self._worker.epoch)
        return next(end for end in pace.rounds(self._period) if end >= place) - place + 1

    def steps(self, number: int, count: int, batches: Iterator) -> Logs:
        """Logs of the last of `count` steps that are alike."""
        last = number + count - 1
        if number <= self._synchronous_steps:
            self._number = last
            return self._synchronous.steps(number, count, batches)
        return self._locally(last, lambda: self._several(count, batches))

    def _locally(self, number: int, made: Callable[[], Logs]) -> Logs:
        """Logs of local steps, of which the last has this number; begins or applies averages when due."""
        self._number = number
        if not self._local:
            self._synchronous.finalize()
            with self._synchronous.consensus():  # changes are relative to weights that all boards share
                self._averaging.start()
            self._local = True
        logs = made()
        if self._as_they_come:
            self._averaging.take_over_if_there(number)
        if self._due(number):
            self._averaging.begin(number, self._weight(number))
            if not self._overlap:
                self._averaging.finish(number)
        return logs

    def _due(self, number: int) -> bool:
        """Whether an average begins after this step."""
        pace = self._worker.pace
        if not pace.unequal:
            local, every = self._local_steps(number)
            return local % every == 0
        return number - pace.before(self._worker.epoch) in pace.rounds(self._period)

    def common(self, number: int) -> bool:
        """See method.Method."""
        return self._synchronous.common(number) if number <= self._synchronous_steps else self._due(number)

    def _local_steps(self, number: int) -> Tuple[int, int]:
        """Steps since the warm-up, negative before its end, and from one average to the next: one is due at its end."""
        since = number - self._warm_up_steps
        return since, self._period if since > 0 else self._warm_up_period

    def _weight(self, number: int) -> float:
        """This board's weight in the average that begins after this step."""
        pace = self._worker.pace
        if not pace.unequal:
            return self._worker.context.shard.weight
        rounds = pace.rounds(self._period)
        return pace.weight(rounds.index(number - pace.before(self._worker.epoch)), len(rounds))

    def finalize(self) -> None:
        """Average the changes since the last average, and wait for it."""
        if not self._local:
            self._synchronous.finalize()
        else:
            if not self._due(self._number):  # else the last step has begun it
                self._averaging.begin(self._number, self._worker.context.shard.weight)
            self._averaging.finish(self._number)
            self._averaging.adopt()

    def flush(self) -> None:
        """Wait for what is in flight; usually it arrived during validation."""
        self._synchronous.flush()
        self._averaging.finish(self._number)

    @contextlib.contextmanager
    def consensus(self) -> Iterator[None]:
        """Give the model the weights of the last applied average, which all boards have; sends nothing."""
        with self._averaging.consensus() if self._local else self._synchronous.consensus():
            yield

    def _step_alone(self, images: tf.Tensor, labels: tf.Tensor) -> Logs:
        logs, gradient = self._worker.backward(images, labels)
        self._worker.apply(gradient)
        return logs


class _Averaging(tf.Module):
    """Averages all boards' weights in the background."""

    def __init__(self, worker: Worker) -> None:
        super().__init__()
        config, model = worker.context.config.sync, worker.model
        self._strategy, self._timer, self._log = worker.strategy, worker.context.timer, worker.context.log
        self._weight = tf.Variable(1.0, trainable=False)  # of this board in the next mean
        self._momentum, self._outer_rate = config.outer_momentum, config.outer_learning_rate
        self._variables = [*model.trainable_variables, *moving_statistics(model)]
        self._flat = Flat([variable.shape for variable in self._variables])
        learned = Flat([variable.shape for variable in model.trainable_variables]).size
        self._sizes = [learned, self._flat.size - learned]
        self._scaled = ScaledMean(self._strategy, config.gradient_dtype, [size for size in self._sizes if size])
        # [n] float32: the weights of all boards after the last average
        self._anchor = tf.Variable(self._packed(), trainable=False)
        self._velocity = tf.Variable(tf.zeros(learned if self._momentum else 0), trainable=False)
        self._in_order = worker.context.in_order
        self._travelling: Optional[Tuple[int, tf.Tensor, Future[Tuple[tf.Tensor, float, float]]]] = None

    def trace(self) -> None:
        """Trace an average."""
        vector = tf.TensorSpec([self._flat.size], tf.float32)
        self._change.get_concrete_function()
        self._mean.get_concrete_function(vector)
        self._correct.get_concrete_function(vector, vector)

    def start(self) -> None:
        """Start from the current weights, which all boards share."""
        self._anchor.assign(self._packed())

    def begin(self, number: int, weight: float) -> None:
        """Begin to send this board's change since the last average, after the previous average has been applied."""
        self.finish(number)
        self._weight.assign(weight)
        change = self._change()
        self._travelling = (number, change, self._in_order.submit(self._exchange, change))

    def take_over_if_there(self, number: int) -> None:
        """Apply the average in flight if it has arrived."""
        if self._travelling is not None and self._travelling[2].done():
            self.finish(number)

    def finish(self, number: int) -> None:
        """Wait for the average in flight, if any, and apply it."""
        if self._travelling is None:
            return
        begun, change, coming = self._travelling
        self._travelling = None
        before = time.monotonic()
        mean, waiting_s, travel_s = coming.result()
        stall_s = time.monotonic() - before
        if self._timer.on:
            # boards wait for each other, then bytes travel: the stall covers the end of that
            communication_s = min(stall_s, travel_s)
            self._timer.add(communication_s, stall_s - communication_s, overlapped_s=travel_s - communication_s)
        distance, moved = (float(norm) for norm in self._correct(change, mean))
        self._log.write(
            Average(
                step=begun,
                applied_at=number,
                travel_s=travel_s if self._timer.on else None,
                waiting_s=waiting_s if self._timer.on else None,
                stall_s=stall_s,
                distance=distance,
                moved=moved,
            )
        )

    def adopt(self) -> None:
        """Give the model the weights of the last average, bit-identical on all boards."""
        self._assign(self._flat.unpack(self._anchor.read_value()))

    @contextlib.contextmanager
    def consensus(self) -> Iterator[None]:
        """Give the model the weights of the last average, then this board's own again."""
        own = self._packed()
        self.adopt()
        try:
            yield
        finally:
            self._assign(self._flat.unpack(own))

    def _assign(self, values: List[tf.Tensor]) -> None:
        for variable, value in zip(self._variables, values):
            variable.assign(value)

    def _packed(self) -> tf.Tensor:
        return self._flat.pack([variable.read_value() for variable in self._variables])

    @tf.function
    def _change(self) -> tf.Tensor:
        return self._packed() - self._anchor

    def _exchange(self, change: tf.Tensor) -> Tuple[tf.Tensor, float, float]:
        mean, waiting_s, travel_s = self._mean(change)
        return mean, float(waiting_s), float(travel_s)

    @tf.function
    def _mean(self, change: tf.Tensor) -> Tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        self._timer.add(payload_bytes=self._scaled.payload_bytes)
        small = self._scaled.scaled(self._weight * change)
        if not self._timer.on:
            here = everywhere = tf.constant(math.nan, tf.float64)
        elif self._strategy.num_replicas_in_sync == 1:
            here = everywhere = ready([small])
        else:
            small, here, everywhere = after_all(self._strategy, small)
        mean = mean_over_boards(self._strategy, small)
        arrived = ready([mean]) if self._timer.on else everywhere
        return self._scaled.unscaled(mean), everywhere - here, arrived - everywhere

    @tf.function
    def _correct(self, change: tf.Tensor, mean: tf.Tensor) -> Tuple[tf.Tensor, tf.Tensor]:
        learned, statistics = tf.split(mean, self._sizes)
        distance, moved = _length((mean - change)[: self._sizes[0]]), _length(learned)
        if self._momentum:
            learned = self._velocity.assign(self._momentum * self._velocity + learned)
        plain = not self._momentum and self._outer_rate == 1.0
        step = mean if plain else tf.concat([self._outer_rate * learned, statistics], axis=0)
        self._anchor.assign_add(step)
        for variable, part in zip(self._variables, self._flat.unpack(step - change)):
            variable.assign_add(part)
        return distance, moved


def _length(vector: tf.Tensor) -> tf.Tensor:
    """vector: [n] -> its Euclidean norm, [], in one pass."""
    return tf.sqrt(2.0 * tf.nn.l2_loss(vector))
