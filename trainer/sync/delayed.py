"""Synchronous steps whose mean gradient travels while the next gradient is computed, and is applied after that.

Each gradient is of the weights of one step before (Li et al., "Pipe-SGD: a decentralized pipelined SGD framework for
distributed deep net training", NeurIPS 2018; Zhu et al., "Delayed gradient averaging: tolerate the communication
latency for federated learning", NeurIPS 2021). All boards have the same weights all the time, and a step takes as long
as computing or as the message, whichever is longer, instead of both.
"""

from __future__ import annotations

import time
from concurrent.futures import Future
from typing import Callable, Optional, Tuple

import tensorflow as tf

from trainer.loop.step_times import StepTimes
from trainer.sync.collective import Flat
from trainer.sync.method import Logs, Mean
from trainer.sync.stepping import SynchronousSteps, Worker

MeanOf = Callable[[Worker], Mean]  # gives the mean for a worker, whose timer it uses


def synchronous(worker: Worker, mean: MeanOf, warm_up: Optional[MeanOf] = None) -> SynchronousSteps:
    """Synchronous steps, with a delay where it is configured; the first `warm_up_steps` by `warm_up`, if given."""
    if worker.context.config.sync.delay_steps:
        return DelayedSteps(worker, mean, warm_up)
    return SynchronousSteps(worker, mean(worker), warm_up(worker) if warm_up else None)


class DelayedSteps(SynchronousSteps):
    """Steps that are applied when the next gradient has been computed."""

    def __init__(self, worker: Worker, mean: MeanOf, warm_up: Optional[MeanOf] = None) -> None:
        sending = worker.timed_apart()
        super().__init__(worker, mean(sending), warm_up(sending) if warm_up else None)
        self._sent = sending.context.timer  # what the exchanges take, of which the steps hide most
        self._flat = Flat([variable.shape for variable in worker.model.trainable_variables])
        self._compute = tf.function(self._packed, input_signature=[*worker.signature, tf.TensorSpec([], tf.float32)])
        self._exchange = self._exchanging(self._mean)
        first = self._warm_up_mean if self._warm_up_steps else None
        self._first_exchange = self._exchanging(first) if first else self._exchange
        self._travelling: Optional[Future[Tuple[tf.Tensor, StepTimes]]] = None

    def trace(self) -> None:
        """Trace the parts of a step."""
        self._worker.dry_run(self._compute_alone)  # else the first step would take seconds
        vector = tf.TensorSpec([self._flat.size], tf.float32)
        for exchange in (self._first_exchange, self._exchange):
            exchange.get_concrete_function(vector)
        self._apply.get_concrete_function(vector)
        if self._held:
            self._hold.get_concrete_function()
            self._holds.trace()

    def step(self, number: int, images: tf.Tensor, labels: tf.Tensor) -> Logs:
        """images: [b, ...], labels: [b] int32 -> logs; applies the mean of the step before, and sends the gradient."""
        held = (number - 1) % self._every + 1
        if held < self._every and number < self._worker.last_step:
            return self._hold(images, labels)
        logs, vector = self._compute(images, labels, tf.constant(1.0 / held))
        mean = self._arrived()
        exchange = self._first_exchange if number <= self._warm_up_steps else self._exchange
        self._travelling = self._worker.context.in_order.submit(self._send, exchange, vector)
        if mean is not None:
            self._apply(mean)
        return logs

    def alike(self, number: int) -> int:
        """Batches that are held until the next update; steps one by one."""
        return super().alike(number) if self._every > 1 else 1

    def finalize(self) -> None:
        """Apply the last mean."""
        self.flush()

    def flush(self) -> None:
        """Wait for the mean in flight, and apply it."""
        mean = self._arrived()
        if mean is not None:
            self._apply(mean)

    def _arrived(self) -> Optional[tf.Tensor]:
        """The mean in flight, [n] float32, once it is there; null if there is none."""
        if self._travelling is None:
            return None
        coming, self._travelling = self._travelling, None
        before = time.monotonic()
        mean, spent = coming.result()
        stall_s, timer = time.monotonic() - before, self._worker.context.timer
        if timer.on:
            # boards wait for each other, then bytes travel: the stall covers the end of that
            travel_s = spent.communication_s or 0.0
            communication_s = min(stall_s, travel_s)
            timer.add(communication_s, stall_s - communication_s, travel_s - communication_s, spent.payload_bytes)
        else:
            timer.add(payload_bytes=spent.payload_bytes)
        return mean

    def _send(self, exchange: Callable[[tf.Tensor], tf.Tensor], vector: tf.Tensor) -> Tuple[tf.Tensor, StepTimes]:
        before = self._sent.read()
        mean = exchange(vector)
        return mean, self._sent.read().since(before)

    def _exchanging(self, mean: Mean) -> Callable[[tf.Tensor], tf.Tensor]:
        @tf.function
        def exchange(vector: tf.Tensor) -> tf.Tensor:
            return self._flat.pack(mean(self._flat.unpack(vector)))

        return exchange

    def _packed(self, images: tf.Tensor, labels: tf.Tensor, share: tf.Tensor) -> Tuple[Logs, tf.Tensor]:
        logs, gradient = self.gradient(images, labels, share)
        return logs, self._flat.pack(gradient)

    def _compute_alone(self, images: tf.Tensor, labels: tf.Tensor) -> Logs:
        return self._compute(images, labels, self._whole)[0]

    @tf.function
    def _apply(self, vector: tf.Tensor) -> None:
        self._worker.apply(self._flat.unpack(vector))
