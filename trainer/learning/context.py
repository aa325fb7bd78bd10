"""Sets up what a method of synchronising needs to train a run, from data to records."""

from __future__ import annotations

import os
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Callable, List, Optional, Sequence

import numpy as np
import tensorflow as tf

from trainer.contract.checkpoints import START, Place
from trainer.contract.cluster import Cluster
from trainer.contract.events import Checkpoint, End, Resume, Start
from trainer.contract.generation import Generation
from trainer.contract.interface import interface_with
from trainer.contract.layout import EVENTS, TENSORBOARD, WEIGHTS
from trainer.contract.methods import METHODS
from trainer.contract.records import EventLog, read_records
from trainer.contract.run import Run
from trainer.contract.strategies import NONE, Strategy, found
from trainer.formats import archives, checkpoint
from trainer.learning import features, model, optimizers, strategies
from trainer.learning.recorder import Recorder
from trainer.learning.step_timer import StepTimer
from trainer.loop.pace import pace_of
from trainer.loop.recorder import spent_s
from trainer.loop.shard import Shard, shard_of, validation_shard


class TrainingContext:
    """All that a method of synchronising needs to train as one worker."""

    def __init__(
        self,
        run: Run,
        cluster: Cluster,
        folder: Path,
        started: float,
        log: Optional[EventLog] = None,
        generation: Optional[Generation] = None,
    ) -> None:
        """`log`: where records go; null: to this board's own. `generation`: that of the boards if some were lost."""
        self.config, self.seed, self.cluster = run.config, run.seed, cluster
        self._run, self._folder, self._started = run, folder, started
        self.set_threads()
        # first: it starts this worker's server, which TensorFlow requires before any other op
        self.strategy = self.build_strategy()
        self._use_the_gpu()
        tf.keras.utils.set_random_seed(run.seed)
        if run.config.deterministic:
            tf.config.experimental.enable_op_determinism()
        # of dropout; see on_epoch_begin. What workers draw for a chief has no state, which would be the chief's
        self.generator = (
            model.Stateless() if self.distribution.servers else tf.random.Generator.from_seed(run.seed, alg="philox")
        )
        self.images = self.load_images()
        self.shard = shard_of(run, cluster)
        self._checkpoints = checkpoint.Checkpoints(folder)
        self._resumed = self._checkpoints.newest() if run.task == "train" else None
        self._later = generation is not None and generation.number > 1  # than the first generation of boards
        self.begins = self._resumed[0] if self._resumed else START  # where in the run
        if generation is not None and self._later and generation.place != self.begins:
            raise ValueError(f"the checkpoint of {generation.place}, which the other boards begin with, is damaged")
        self.epochs = range(self.begins.epoch, run.config.epochs)
        self.pace = pace_of(run, self.shard, len(self.images.y_train))
        updates = self.pace.steps(0) * (self.shard.workers if self.distribution.servers else 1)  # of an epoch
        self.rate = optimizers.Rate(run.config, cluster.workers, updates, self.pace.measured_in)
        self.timer = StepTimer(run.config.sync.step_times)
        # TensorFlow pairs collectives by the order in which each board calls them: if one may run in the background,
        # all others are called from this one thread
        self.in_order = ThreadPoolExecutor(max_workers=1)
        self._cached: Optional[features.Cached] = None
        if run.config.model.cache_features:
            self._cached = features.cache(self._build_whole_model(), self.images, self.shard.batch)
            self.images = self._cached.images
        self.interface = interface_with(cluster.own_ip)
        events = folder / EVENTS
        # seconds of earlier attempts, up to the checkpoint
        self.records = read_records(events)[0] if self._resumed or self._later else []
        self.log = log or EventLog(events)
        self.recorder = Recorder(
            self.log,
            self.interface,
            self.pace,
            run.config.window_steps,
            self.rate,
            self.timer,
            folder / TENSORBOARD if cluster.is_chief and run.task == "train" else None,
        )
        self.recorder.go_on(self.records, self.begins)
        self.pace.go_on(self.records)
        if self.pace.unequal:
            self.rate.follow(self.pace.steps(self.epochs.start))

    @property
    def distributed(self) -> bool:
        """Whether boards exchange by collectives."""
        return self.distribution.collectives

    @property
    def distribution(self) -> Strategy:
        """What the contract says of the run's strategy."""
        return found(self.config.engine, self.config.strategy_on(self.cluster.workers))

    @property
    def validation_shard(self) -> Shard:
        """What this board validates; the images are always shared among the boards.

        Batches are larger than in training, which keeps the values of all layers for the backward pass.
        """
        return validation_shard(self.shard)

    def build_model(self) -> tf.keras.Model:
        """The model to train in its initial state; under a strategy, boards take over the chief's weights."""
        return self._build_whole_model() if self._cached is None else self._cached.build_head()

    def build_optimizer(self) -> tf.keras.optimizers.Optimizer:
        """The configured optimizer under the paper's schedule."""
        built = optimizers.optimizer(self.config, self.rate)
        # Keras' own fit does that by itself
        scaled = self.precision == "mixed_float16" and METHODS[self.config.sync.method].own_loop
        return tf.keras.mixed_precision.LossScaleOptimizer(built) if scaled else built

    def ready(
        self,
        built: tf.keras.Model,
        optimizer: Optional[tf.keras.optimizers.Optimizer] = None,
        more: Callable[[], Sequence[tf.Variable]] = tuple,
    ) -> None:
        """Record that training begins, and resume from a checkpoint if there is one.

        Checkpoints save and restore all variables that training changes: those of the model, of its optimizer (null: it
        is not trained), and what `more` returns.
        """
        self._state_of = lambda: [*built.variables, *optimizers.state(optimizer), *more()]
        if self._resumed is None and not any(record["event"] == Start.KIND for record in self.records):
            self._write_start(built)
        elif self._resumed is None:
            self.log.write(Resume(epoch=0, startup_s=time.monotonic() - self._started))
        else:
            place, arrays = self._resumed
            variables = self._state()
            if [variable.shape for variable in variables] != [array.shape for array in arrays]:
                raise ValueError(
                    f"the checkpoint of {place} does not match this model and method of synchronising: "
                    "start a new run without resume"
                )
            for variable, array in zip(variables, arrays):
                variable.assign(array)
            if self._later and optimizer is not None:  # other boards make other numbers of steps; the rate follows it
                made = self.pace.before(self.epochs.start) + self.pace.begun(self.begins)
                optimizer.iterations.assign(made // self.config.sync.accumulate_steps)
            startup_s = time.monotonic() - self._started
            self.log.write(Resume(epoch=place.epoch, startup_s=startup_s, images=place.images))
        if optimizer is not None:
            last = built.trainable_variables[-1]  # the bias of the last layer
            self.recorder.applied = optimizers.AppliedSteps(optimizer, last, self.config.sync.accumulate_steps)

    def _write_start(self, built: tf.keras.Model) -> None:
        trainable, total = model.parameter_counts(built)
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
                train_images=len(self.images.y_train),
                validation_images=len(self.images.y_test),
                classes=self.images.classes,
                synthetic=self.images.synthetic,
                sync="none" if self.distribution.name == NONE else self.config.sync.method,
                collective_asked=self.config.sync.implementation if self.distributed else None,
                precision=self.precision,
                xla=self.xla,
                cache_features_s=None if self._cached is None else self._cached.seconds,
                interface=self.interface,
                startup_s=time.monotonic() - self._started,
                changing_parameters=trainable + sum(it.shape.num_elements() for it in model.moving_statistics(built)),
                strategy=self.distribution.name,
            )
        )

    def on_epoch_begin(self, epoch: int, images: int = 0) -> None:
        """Seed dropout for an epoch (from 0), or for what follows a checkpoint after `images` of it.

        Its choices depend on seed, board, and that place alone.
        """
        mixed = np.random.SeedSequence([self.seed, self.cluster.rank, epoch, *([images] if images else [])])
        self.generator.reset_from_seed(int(mixed.generate_state(1)[0]))

    def follow(self, step_s: Sequence[float]) -> None:
        """Share out the steps of the later epochs by each board's seconds for one."""
        record = self.pace.follow(step_s)
        self.rate.follow(record.steps[self.cluster.rank])
        self.log.write(record)

    def checkpoint_due(self, epoch: int) -> bool:
        """Whether a checkpoint is due after this epoch (from 0)."""
        every = self.config.checkpoint_epochs
        return every > 0 and (epoch + 1) % every == 0 and epoch + 1 < self.epochs.stop

    def save(self, epoch: int) -> None:
        """Write the checkpoint of an epoch (from 0) if it is due."""
        if self.checkpoint_due(epoch):
            self._save(Place(epoch + 1), 0.0, 0.0)

    def save_within(self, epoch: int, step: int, stalled_s: float) -> None:
        """Write a checkpoint after so many steps of an epoch (from 0), for which steps have stalled already."""
        place = self.pace.place(self.begins, epoch, step)
        self._save(place, self.recorder.epoch_train_s, stalled_s)
        self.on_epoch_begin(epoch, place.images)

    def _save(self, place: Place, train_s: float, stalled_s: float) -> None:
        began = time.monotonic()
        arrays = [variable.numpy() for variable in self._state()]
        self._checkpoints.wait()
        if not self.distribution.servers:  # whose boards have only what all of them are told
            stall_s, size_bytes = stalled_s + time.monotonic() - began, sum(array.nbytes for array in arrays)
            self.log.write(Checkpoint(*place, train_s=train_s, stall_s=stall_s, size_bytes=size_bytes))
        self._checkpoints.save(place, arrays)

    def _state(self) -> List[tf.Variable]:
        # each board saves its own copy of a variable that the strategy keeps per board
        return [self.strategy.experimental_local_results(variable)[0] for variable in self._state_of()]

    def finish(self, trained: tf.keras.Model) -> None:
        """Save the weights and close the records; checkpoints are no longer needed."""
        self._checkpoints.wait()
        if self.recorder.applied is not None:
            self.recorder.applied.finish()
        # reading a variable kept per board is a collective: every worker saves, the chief's file counts
        weights = self._folder / WEIGHTS / "final.h5"
        weights.parent.mkdir(exist_ok=True)  # a generation of boards may have come as far as this
        whole = trained if self._cached is None else self._cached.whole_with(trained)
        whole.save_weights(str(weights), save_format="h5")
        if not self.cluster.is_chief:
            weights.unlink()
            weights.parent.rmdir()
        self.log.write(
            End(
                epochs=self.recorder.epochs_completed,
                train_s=self.recorder.train_s,
                total_s=time.monotonic() - self._started + spent_s(self.records),
            )
        )
        self.log.close()
        self._checkpoints.remove()

    def _build_whole_model(self) -> tf.keras.Model:
        weights = self._run.assets.get("weights")
        return model.build(
            self.config.model,
            self.images.x_train.shape[1:],
            self.images.classes,
            weights=None if weights is None else Path(weights["path"]),
            generator=self.generator,
        )

    def _use_the_gpu(self) -> None:
        """Apply the configuration's settings for a GPU, if there is one."""
        gpu = bool(tf.config.list_physical_devices("GPU"))
        self.precision = self.config.model.precision if gpu else "float32"
        self.xla = self.config.model.xla if gpu else "none"
        tf.keras.mixed_precision.set_global_policy(self.precision)
        if self.xla == "autoclustering":
            tf.config.optimizer.set_jit("autoclustering")

    def set_threads(self) -> None:
        """Give TensorFlow's executor a second thread on a board with one core or a fraction of one.

        A single thread finishes the backward pass before it computes the weights' gradients, the first layer's first:
        no bucket could be sent early.
        """
        # the steps of a head with cached features are too short for it
        if len(os.sched_getaffinity(0)) == 1 and not self.config.model.cache_features:
            tf.config.threading.set_inter_op_parallelism_threads(2)

    def build_strategy(self) -> tf.distribute.Strategy:
        """The strategy under which the run trains; it starts this worker's server."""
        return strategies.build(self.config, self.cluster)

    def load_images(self) -> archives.Images:
        """The images to train on, as they were staged."""
        config, staged = self.config.data, self._run.assets["dataset"]
        return archives.load(config.source, Path(staged["path"]), config.train_images, config.validation_images)
