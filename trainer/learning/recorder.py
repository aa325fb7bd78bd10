"""Turns what Keras does into records."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any, Dict, Mapping, Optional

import tensorflow as tf

from trainer.contract.records import EventLog
from trainer.learning.optimizers import Rate
from trainer.learning.step_timer import StepTimer
from trainer.loop import recorder
from trainer.loop.pace import Pace

_SCALARS = ("loss", "accuracy", "val_loss", "val_accuracy", "learning_rate", "epoch_s")  # of an epoch's record


class Recorder(recorder.Recorder, tf.keras.callbacks.Callback):
    """The kit's recorder as a callback of Keras, with TensorBoard's scalars."""

    # Keras then passes tensors and does not wait for the device at every step
    _supports_tf_logs = True

    def __init__(
        self,
        log: EventLog,
        interface: Optional[str],
        pace: Pace,
        window_steps: int,
        rate: Rate,
        timer: StepTimer,
        scalars: Optional[Path],
    ) -> None:
        """`scalars`: folder for TensorBoard's scalars; None if another board writes them."""
        super().__init__(log, interface, pace, window_steps, rate, timer)
        self._scalars = None if scalars is None else tf.summary.create_file_writer(str(scalars))

    def on_epoch_begin(self, epoch: int, logs: Optional[Dict[str, Any]] = None) -> None:
        self.begin_epoch(epoch)

    def on_train_batch_end(self, batch: int, logs: Optional[Dict[str, Any]] = None, cut: bool = False) -> None:
        """`cut`: see `end_step`."""
        # under a strategy Keras sums these over the boards, unless metrics are reduced once an epoch
        own = self.model.distribute_reduction_method == "first"
        boards = 1 if own else self.model.distribute_strategy.num_replicas_in_sync
        names = ("loss", "accuracy")
        self.end_step(batch + 1, lambda: tuple(float(logs[name]) / boards for name in names), cut)  # type: ignore

    def on_test_batch_end(self, batch: int, logs: Optional[Dict[str, Any]] = None) -> None:
        self.end_validation_step()

    def on_test_begin(self, logs: Optional[Dict[str, Any]] = None) -> None:
        self.begin_validation()

    def on_test_end(self, logs: Optional[Dict[str, Any]] = None) -> None:
        self.end_validation()

    def on_epoch_end(self, epoch: int, logs: Optional[Dict[str, Any]] = None) -> None:
        values = {name: float(value) for name, value in (logs or {}).items()}
        record = self.end_epoch(values["loss"], values["accuracy"], values["val_loss"], values["val_accuracy"])
        self._write_scalars(record.epoch, {name: dataclasses.asdict(record)[name] for name in _SCALARS})

    def complete(self, epoch: int, train_s: float, values: Mapping[str, float]) -> None:
        """Count an epoch (from 0) whose record others have written, and write its scalars for TensorBoard."""
        self.epochs_completed += 1
        self.train_s += train_s
        self._write_scalars(epoch + 1, values)

    def _write_scalars(self, epoch: int, values: Mapping[str, float]) -> None:
        if self._scalars is not None:
            with self._scalars.as_default(step=epoch):
                for name, value in values.items():
                    tf.summary.scalar(name, value)
            self._scalars.flush()
