"""Sets up what a method of synchronising needs to train a run with PyTorch, from data to records."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Callable, List, Sequence, Union

import numpy as np
import torch

from trainer.contract.checkpoints import Place
from trainer.contract.cluster import Cluster
from trainer.contract.events import End, Resume, Start
from trainer.contract.interface import interface_with
from trainer.contract.layout import EVENTS, WEIGHTS
from trainer.contract.records import EventLog, read_records
from trainer.contract.run import Run
from trainer.contract.strategies import NONE, found
from trainer.formats import archives, checkpoint
from trainer.loop.pace import pace_of
from trainer.loop.rate import Rate
from trainer.loop.recorder import Recorder, spent_s
from trainer.loop.shard import shard_of, validation_shard
from trainer.pytorch import keras_weights
from trainer.pytorch.compute import Compute
from trainer.pytorch.data import Data
from trainer.pytorch.group import Group
from trainer.pytorch.model import Model
from trainer.pytorch.step_timer import StepTimer

# what a checkpoint has: tensors to copy into in place, and what reads and takes other state
Restorable = Sequence[Union[torch.Tensor, "State"]]


class State:
    """State that is not a tensor which stays in its place, as tensors."""

    def __init__(
        self, read: Callable[[], Sequence[torch.Tensor]], take: Callable[[Sequence[torch.Tensor]], None]
    ) -> None:
        self.read, self.take = read, take


class TrainingContext:
    """All that a method of synchronising needs to train as one worker."""

    def __init__(self, run: Run, cluster: Cluster, folder: Path, started: float) -> None:
        self.config, self.seed, self.cluster = run.config, run.seed, cluster
        self._run, self._folder, self._started = run, folder, started
        self.strategy = run.config.strategy_on(cluster.workers)
        self.compute = Compute(run.config)
        self.timer = StepTimer(self.compute, run.config.sync.step_times)
        self.group = Group(cluster, self.compute, run.config.sync.implementation, run.config.sync.timeout_s)
        torch.manual_seed(run.seed)
        self._generator = torch.Generator(self.compute.device)  # of dropout; see on_epoch_begin
        config, staged = run.config.data, run.assets["dataset"]
        images = archives.load(config.source, Path(staged["path"]), config.train_images, config.validation_images)
        self.data = Data(images, self.compute.device)
        self.shard = shard_of(run, cluster)
        self.validation_shard = validation_shard(self.shard)
        self._checkpoints = checkpoint.Checkpoints(folder)
        self._resumed = self._checkpoints.newest() if run.task == "train" else None
        self.epochs = range(self._resumed[0].epoch if self._resumed else 0, run.config.epochs)
        self.pace = pace_of(run, self.shard, self.data.train_images)
        self.rate = Rate(run.config, cluster.workers, self.pace.steps(0))
        self.model = self.build_model()
        self._cache_features_s = self._cache_features() if run.config.model.cache_features else None
        self.interface = interface_with(cluster.own_ip)
        events = folder / EVENTS
        self.records = read_records(events)[0] if self._resumed else []
        self.log = EventLog(events)
        self.recorder = Recorder(self.log, self.interface, self.pace, run.config.window_steps, self.rate, self.timer)
        self.recorder.go_on(self.records, Place(self.epochs.start))

    def trainable(self) -> List[torch.nn.Parameter]:
        """The model's parameters that train."""
        return [parameter for parameter in self.model.parameters() if parameter.requires_grad]

    def ready(self, state: Restorable = ()) -> None:
        """Record that training begins, and resume from a checkpoint if there is one; `state`: see `save`."""
        self._state = state
        if self._resumed is None:
            self._write_start()
            return
        (epoch, _), arrays = self._resumed
        left = [torch.from_numpy(np.asarray(array)) for array in arrays]
        wanted = [tensor.shape for tensor in self._tensors()]
        if [tensor.shape for tensor in left] != wanted:
            raise ValueError(
                f"the checkpoint of epoch {epoch} does not match this model and method of synchronising: "
                "start a new run without resume"
            )
        for part in self._parts():
            if isinstance(part, State):
                count = len(part.read())
                part.take(left[:count])
                left = left[count:]
            else:
                with torch.no_grad():
                    part.copy_(left.pop(0))
        self.log.write(Resume(epoch=epoch, startup_s=time.monotonic() - self._started))

    def _write_start(self) -> None:
        trainable, total = self.model.parameter_counts()
        config = self.config
        exchanges = found(config.engine, self.strategy).collectives
        self.log.write(
            Start(
                board=self._run.boards[self.cluster.rank],
                rank=self.cluster.rank,
                workers=self.cluster.workers,
                trainable_parameters=trainable,
                total_parameters=total,
                gradient_bytes=4 * trainable,
                steps_per_epoch=self.pace.steps(0),
                board_batch=self.shard.batch,
                train_images=self.data.train_images,
                validation_images=self.data.validation_images,
                classes=self.data.classes,
                synthetic=self.data.synthetic,
                sync="none" if self.strategy == NONE else config.sync.method,
                collective_asked=config.sync.implementation if exchanges else None,
                precision=self.compute.precision,
                xla=self.compute.xla,
                cache_features_s=self._cache_features_s,
                interface=self.interface,
                startup_s=time.monotonic() - self._started,
                changing_parameters=trainable + sum(it.numel() for it in self.model.moving_statistics()),
                strategy=self.strategy,
            )
        )

    def on_epoch_begin(self, epoch: int) -> None:
        """Seed dropout for an epoch (from 0): its choices depend on seed, board and epoch alone."""
        mixed = np.random.SeedSequence([self.seed, self.cluster.rank, epoch])
        self._generator.manual_seed(int(mixed.generate_state(1)[0]))

    def checkpoint_due(self, epoch: int) -> bool:
        """Whether a checkpoint is due after this epoch (from 0)."""
        every = self.config.checkpoint_epochs
        return every > 0 and (epoch + 1) % every == 0 and epoch + 1 < self.epochs.stop

    def save(self, epoch: int) -> None:
        """Write the checkpoint of an epoch (from 0) if it is due: the model and the state given to `ready`."""
        if self.checkpoint_due(epoch):
            # copies: training goes on while they are written
            arrays = [tensor.detach().cpu().numpy().copy() for tensor in self._tensors()]
            self._checkpoints.save(Place(epoch + 1), arrays)

    def finish(self) -> None:
        """Save the weights and close the records; checkpoints are no longer needed."""
        self._checkpoints.wait()
        if self.cluster.is_chief:
            weights = self._folder / WEIGHTS / "final.h5"
            weights.parent.mkdir()
            keras_weights.save(self.model, weights, self.config.model.image_size)
        self.log.write(
            End(
                epochs=self.recorder.epochs_completed,
                train_s=self.recorder.train_s,
                total_s=time.monotonic() - self._started + spent_s(self.records),
            )
        )
        self.log.close()
        self._checkpoints.remove()

    def _parts(self) -> Restorable:
        whole = [*self.model.parameters(), *(it for it in self.model.buffers() if it.is_floating_point())]
        return [*whole, *self._state]

    def _tensors(self) -> List[torch.Tensor]:
        return [tensor for part in self._parts() for tensor in (part.read() if isinstance(part, State) else [part])]

    def build_model(self) -> Model:
        """The model in its initial state."""
        weights = self._run.assets.get("weights")
        built = Model(self.config.model, self.data.classes, self._generator)
        if weights is not None:
            keras_weights.load_backbone(built, Path(weights["path"]))
        return built.to(self.compute.device)

    def _cache_features(self) -> float:
        """Replace the images by the backbone's output, which does not change; returns the seconds that took."""
        began = time.monotonic()
        self.model.eval()
        with torch.no_grad():
            train, test = (
                torch.cat([self.model.features(batch) for batch in images])
                for images in self.data.all_images(self.validation_shard.batch)
            )
        self.data.replace_images(train, test)
        self.compute.finish()
        return time.monotonic() - began
