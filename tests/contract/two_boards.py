"""Runs on the boards' Python, twice at a time: methods of synchronising on a small model, without the trainer's rest.

two_boards.py RANK ADDRESS ADDRESS OUT.npz: trains each scenario as worker RANK and writes the final weights of each.
"""

import dataclasses
import json
import os
import sys
import time
from concurrent.futures import ThreadPoolExecutor

rank, addresses, out = int(sys.argv[1]), sys.argv[2:4], sys.argv[4]
os.environ["TF_CONFIG"] = json.dumps({"cluster": {"worker": addresses}, "task": {"type": "worker", "index": rank}})

import numpy as np  # noqa: E402
import tensorflow as tf  # noqa: E402

from trainer import sync  # noqa: E402
from trainer.contract import lowrank  # noqa: E402
from trainer.contract.checkpoints import START  # noqa: E402
from trainer.contract.cluster import Cluster  # noqa: E402
from trainer.contract.config import parse  # noqa: E402
from trainer.formats.archives import Images  # noqa: E402
from trainer.learning import data  # noqa: E402
from trainer.learning.step_timer import StepTimer  # noqa: E402
from trainer.loop.pace import Pace  # noqa: E402
from trainer.loop.shard import Shard  # noqa: E402
from trainer.sync import collective  # noqa: E402

SEED, BATCH, STEPS = 3, 16, 20
generator = np.random.default_rng(0)
total = 2 * BATCH * STEPS
IMAGES = Images(
    generator.integers(0, 256, (total, 4, 4, 3), dtype=np.uint8),
    generator.integers(0, 5, total).astype(np.int32),
    generator.integers(0, 256, (64, 4, 4, 3), dtype=np.uint8),
    generator.integers(0, 5, 64).astype(np.int32),
    5,
    True,
)


class Silent(tf.keras.callbacks.Callback):
    """Where windows and epochs would be written."""


class Uneven(tf.keras.callbacks.Callback):
    """The second board takes longer, now and then."""

    def on_train_batch_end(self, batch, logs=None):
        time.sleep(0.02 * rank * (batch % 3))


class Speeds(Silent):
    """The second board takes three times as long for a step."""

    def computed_step_s(self):
        return (1.0, 3.0)[rank]


class Slow(tf.keras.callbacks.Callback):
    """Steps that bytes can travel beside, however busy the machine is."""

    def on_train_batch_end(self, batch, logs=None):
        time.sleep(0.05)


class Log(list):
    """Where other records are written."""

    write = list.append


class TrainingContext:
    """What a method needs of the trainer's, with a model that has neither batch norm nor dropout."""

    begins = START

    def __init__(self, strategy, config, workers, scale=1.0, epochs=1, recorder=None, batches=(), overflow=False):
        self.strategy, self.config, self.seed, self.images = strategy, config, SEED, IMAGES
        self.cluster = Cluster(addresses[:workers], rank if workers > 1 else 0)
        batch = batches[rank] if batches else BATCH if workers > 1 else 2 * BATCH
        self.shard = Shard(self.cluster.rank, workers, workers > 1, batch, batches)
        measured_in = 0 if config.data.sharding == "measured" else None
        self.pace = Pace(self.shard, len(IMAGES.y_train), measured_in)
        self.validation_shard = dataclasses.replace(self.shard, sharded=True)
        self.epochs, self.recorder, self.scale = range(epochs), recorder or Silent(), scale
        self.records, self.xla = [], "none"
        self.overflow = overflow
        self.timer, self.log = StepTimer(config.sync.step_times), Log()
        self.in_order = ThreadPoolExecutor(max_workers=1)

    def build_model(self):
        # boards begin differently on purpose: the method must make them equal
        tf.keras.utils.set_random_seed(SEED + self.cluster.rank)
        layers = tf.keras.layers
        return tf.keras.Sequential(
            [
                layers.Rescaling(self.scale / 255, input_shape=(4, 4, 3)),
                layers.Conv2D(8, 3, activation="relu"),
                layers.Flatten(),
                layers.Dense(5, activation="softmax"),
            ]
        )

    def build_optimizer(self):
        optimizer = tf.keras.optimizers.SGD(0.1 if self.scale == 1.0 else 0.0)
        if not self.overflow:
            return optimizer
        scaled = tf.keras.mixed_precision.LossScaleOptimizer(optimizer)
        unscaled = scaled.get_unscaled_gradients

        def once_infinite(gradient):
            """The second board's gradient overflows in the fifth step, which is then skipped."""
            now = tf.logical_and(tf.equal(scaled.iterations, 4), self.cluster.rank == 1)
            return [part * tf.where(now, np.inf, 1.0) for part in unscaled(gradient)]

        scaled.get_unscaled_gradients = once_infinite
        return scaled

    def follow(self, step_s):
        self.log.write(self.pace.follow(step_s))

    def ready(self, model, optimizer, more):
        pass

    def on_epoch_begin(self, epoch, images=0):
        pass

    def checkpoint_due(self, epoch):
        return False

    def save(self, epoch):
        pass


def trained(strategy, workers, config=None, host=False, **fields):
    options = {
        name: fields.pop(name) for name in ("scale", "epochs", "recorder", "batches", "overflow") if name in fields
    }
    context = TrainingContext(strategy, parse({**(config or {}), "sync": fields}), workers, **options)
    collective.reduces_on_host = (lambda _: True) if host else ON_HOST
    print(fields, file=sys.stderr, flush=True)  # shows what hangs
    model = sync.train(context)
    split = context.timer.read()
    RECORDS.append(
        {
            "fields": fields,
            "split": dataclasses.asdict(split),
            "records": [{"event": record.KIND, **dataclasses.asdict(record)} for record in context.log],
        }
    )
    return np.concatenate([weight.ravel() for weight in model.get_weights()])


def delayed_by_hand(every=1, until=STEPS):
    """One board with twice the batch, on which a gradient, of `every` batches, waits until the next one is computed;
    after batch `until` none waits."""
    context = TrainingContext(tf.distribute.get_strategy(), parse({}), 1)
    model, optimizer = context.build_model(), context.build_optimizer()
    batches = list(data.training_batches(IMAGES, context.shard, SEED, range(1)))
    waiting = []
    for first in range(0, STEPS, every):
        with tf.GradientTape() as tape:
            losses = [tf.keras.losses.sparse_categorical_crossentropy(y, model(x)) for x, y in batches[first:][:every]]
            loss = tf.add_n([tf.reduce_mean(loss) for loss in losses]) / len(losses)
        due, waiting = waiting, [tape.gradient(loss, model.trainable_variables)]
        if first + every >= until:
            due, waiting = [*due, *waiting], []
        for gradient in due:
            optimizer.apply_gradients(zip(gradient, model.trainable_variables))
    return np.concatenate([weight.ravel() for weight in model.get_weights()])


RECORDS = []
ON_HOST = collective.reduces_on_host
FIVE = {"steps_per_call": 5}
SCENARIOS = {
    "allreduce": {"method": "allreduce", "gradient_dtype": "float32"},
    "allreduce, host": {"method": "allreduce", "gradient_dtype": "float32", "host": True},
    "allreduce, whole steps": {"method": "allreduce", "gradient_dtype": "float32", "step_times": False},
    "allreduce, five a call": {"method": "allreduce", "gradient_dtype": "float32", "config": FIVE},
    "accumulated, five a call": {
        "method": "allreduce",
        "gradient_dtype": "float32",
        "accumulate_steps": 3,
        "config": FIVE,
    },
    "allreduce, overflow": {"method": "allreduce", "gradient_dtype": "float32", "overflow": True},
    "powersgd, overflow": {"method": "powersgd", "gradient_dtype": "float32", "rank": 100, "overflow": True},
    "powersgd, overflow in float16": {
        "method": "powersgd",
        "gradient_dtype": "float16",
        "rank": 100,
        "overflow": True,
    },
    "buckets": {"method": "allreduce", "gradient_dtype": "float32", "bucket_bytes": 500},
    "proportional": {"method": "allreduce", "gradient_dtype": "float32", "batches": (24, 8)},
    "float16": {"method": "allreduce", "gradient_dtype": "float16"},
    "bfloat16": {"method": "allreduce", "gradient_dtype": "bfloat16"},
    "accumulated": {"method": "allreduce", "gradient_dtype": "float32", "accumulate_steps": 3},
    "delayed": {"method": "allreduce", "gradient_dtype": "float32", "delay_steps": 1, "recorder": Slow()},
    "delayed, accumulated": {
        "method": "allreduce",
        "gradient_dtype": "float32",
        "accumulate_steps": 3,
        "delay_steps": 1,
        "config": FIVE,
    },
    "delayed, powersgd": {"method": "powersgd", "gradient_dtype": "float32", "rank": 100, "delay_steps": 1},
    "delayed, powersgd, warm": {
        "method": "powersgd",
        "gradient_dtype": "float32",
        "rank": 1,
        "warm_up_steps": 20,
        "delay_steps": 1,
    },
    "delayed, whole steps": {"method": "allreduce", "gradient_dtype": "float16", "delay_steps": 1, "step_times": False},
    "delayed, local_sgd, warm": {
        "method": "local_sgd",
        "gradient_dtype": "float32",
        "warm_up_steps": 20,
        "delay_steps": 1,
    },
    "delayed, then local_sgd": {
        "method": "local_sgd",
        "gradient_dtype": "float32",
        "period": 1,
        "overlap": False,
        "warm_up_steps": 8,
        "delay_steps": 1,
    },
    "local_sgd, period 1": {"method": "local_sgd", "gradient_dtype": "float32", "period": 1, "overlap": False},
    "local_sgd, proportional": {
        "method": "local_sgd",
        "gradient_dtype": "float32",
        "period": 1,
        "overlap": False,
        "batches": (8, 24),
    },
    "local_sgd": {"method": "local_sgd", "gradient_dtype": "float16", "period": 4, "recorder": Slow()},
    "local_sgd, in line": {"method": "local_sgd", "gradient_dtype": "float32", "period": 4, "overlap": False},
    "local_sgd, host": {
        "method": "local_sgd",
        "gradient_dtype": "float32",
        "period": 4,
        "overlap": False,
        "host": True,
    },
    "local_sgd, whole steps": {
        "method": "local_sgd",
        "gradient_dtype": "float32",
        "period": 4,
        "overlap": False,
        "step_times": False,
    },
    "local_sgd, five a call": {
        "method": "local_sgd",
        "gradient_dtype": "float32",
        "period": 4,
        "overlap": False,
        "config": FIVE,
    },
    "local_sgd, outer": {
        "method": "local_sgd",
        "gradient_dtype": "float32",
        "period": 4,
        "overlap": False,
        "outer_momentum": 0.5,
    },
    "local_sgd, measured": {
        "method": "local_sgd",
        "gradient_dtype": "float32",
        "period": 4,
        "epochs": 3,
        "recorder": Speeds(),
        "config": {"data": {"sharding": "measured"}},
    },
    "local_sgd, epochs end while averages travel": {
        "method": "local_sgd",
        "period": 1,
        "epochs": 12,
        "recorder": Uneven(),
    },
    "local_sgd, rest": {"method": "local_sgd", "gradient_dtype": "float32", "period": 7},
    "local_sgd, often at first": {
        "method": "local_sgd",
        "period": 6,
        "overlap": False,
        "warm_up_steps": 7,
        "warm_up_period": 2,
    },
    "local_sgd, warm": {"method": "local_sgd", "gradient_dtype": "float32", "period": 4, "warm_up_steps": 20},
    "powersgd, full rank": {"method": "powersgd", "gradient_dtype": "float32", "rank": 100},
    "powersgd": {"method": "powersgd", "gradient_dtype": "float32", "rank": 2},
    "powersgd, warm": {"method": "powersgd", "gradient_dtype": "float32", "rank": 1, "warm_up_steps": 20},
    "auto": {"method": "auto", "efficiency": 0.999999, "period": 8, "epochs": 2},
    "auto, undemanding": {"method": "auto", "gradient_dtype": "float32", "efficiency": 1e-9, "epochs": 2},
    "float16, large gradient": {"method": "allreduce", "gradient_dtype": "float16", "scale": 1e7},
}

if __name__ == "__main__":
    together = tf.distribute.MultiWorkerMirroredStrategy()
    lowrank.MIN_SAVING = 0.0  # compress matrices of this small model too, and at full rank
    weights = {name: trained(together, 2, **fields) for name, fields in SCENARIOS.items()}
    weights["one board"] = trained(tf.distribute.get_strategy(), 1, method="allreduce", gradient_dtype="float32")
    weights["delayed by hand"] = delayed_by_hand()
    weights["delayed by hand, accumulated"] = delayed_by_hand(every=3)
    weights["delayed by hand, then not"] = delayed_by_hand(until=8)
    np.savez(out, records=json.dumps(dict(zip(weights, RECORDS))), **weights)
