"""Engine pytorch: it computes what TensorFlow computes, and each strategy and method between two real processes."""

import os
import signal
import time

import numpy as np
import pytest
from engine_runs import PYTHONS, Run, on_torch

from controller import resume, synthetic
from trainer.contract.checkpoints import Place
from trainer.contract.strategies import of_engine
from trainer.formats.checkpoint import whole

pytestmark = [
    pytest.mark.tensorflow,
    pytest.mark.skipif(not PYTHONS["pytorch"].exists(), reason="needs .torch-venv: make setup-torch"),
]

TRAINABLE, CHANGING = 2_931_044, 2_965_156  # of the paper's model, without and with moving statistics
SMALL = {
    "engine": "pytorch",
    "epochs": 2,
    "batch_size": 16,
    "window_steps": 4,
    "data": {"source": "synthetic", "sharding": "sharded"},
    "model": {"image_size": 32},
}
# strategy, section sync -> bytes handed to collectives in a step of each worker
PAIRS = {
    ("ddp", "allreduce", "float32"): 4 * TRAINABLE,
    ("ddp", "allreduce", "float16"): 2 * TRAINABLE,
    ("ddp", "powersgd", "float32"): None,
    ("ddp", "local_sgd", "float32"): 4 * TRAINABLE * 5 / 16,  # every fourth step, from the first on, and at the end
    ("c10d", "allreduce", "float32"): 4 * TRAINABLE,
    ("c10d", "allreduce", "float16"): 2 * TRAINABLE,
    ("c10d", "local_sgd", "float16"): 2 * CHANGING / 4,
    ("rpc", "asynchronous", "float32"): 2 * 4 * TRAINABLE,
}


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    path = tmp_path_factory.mktemp("images") / "images.tar.gz"
    synthetic.write_archive(path, 256, 64)
    return path


@pytest.fixture(scope="module")
def backbone(on_board, tmp_path_factory):
    """A weight file of the backbone as Keras writes it, in which no two values are alike."""
    path = tmp_path_factory.mktemp("weights") / "backbone.h5"
    return path, on_board(
        """
        import numpy as np, tensorflow as tf
        backbone = tf.keras.applications.MobileNetV2(input_shape=(32, 32, 3), include_top=False, weights=None)
        generator = np.random.default_rng(1)
        for layer in backbone.layers:
            if isinstance(layer, tf.keras.layers.BatchNormalization):
                gamma, beta, mean, variance = layer.get_weights()
                drawn = [generator.uniform(0.5, 1.5, part.shape) for part in (gamma, variance)]
                small = [generator.normal(0, 0.2, part.shape) for part in (beta, mean)]
                layer.set_weights([drawn[0], small[0], small[1], drawn[1]])
        backbone.save_weights(sys.argv[1])
        answer(True)
        """,
        path,
    )


@pytest.mark.parametrize("fine_tune", ["all", "last:20", "head"])
def test_both_engines_give_the_same_logits(backbone, on_board, tmp_path, fine_tune):
    pixels = np.random.default_rng(2).integers(0, 256, (8, 32, 32, 3), dtype=np.uint8)
    np.save(tmp_path / "pixels.npy", pixels)
    on_torch(
        """
import sys, numpy as np, torch
from pathlib import Path
from trainer.contract.config import parse
from trainer.pytorch import keras_weights
from trainer.pytorch.model import Model
folder, backbone, fine_tune = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3]
config = parse({"model": {"image_size": 48, "fine_tune": fine_tune}}).model
torch.manual_seed(3)
model = Model(config, 10, torch.Generator()).eval()
keras_weights.load_backbone(model, backbone)
torch.nn.init.normal_(model.classes.bias)
keras_weights.save(model, folder / "final.h5", 48)
with torch.no_grad():
    logits = model(torch.from_numpy(np.load(folder / "pixels.npy")).permute(0, 3, 1, 2))
np.save(folder / "logits.npy", logits.numpy())
trainable, total = model.parameter_counts()
np.save(folder / "counts.npy", [trainable, total])
""",
        tmp_path,
        backbone[0],
        fine_tune,
    )
    logits, counts = on_board(
        """
        import numpy as np, tensorflow as tf
        from pathlib import Path
        from trainer.contract.config import parse
        from trainer.learning import model
        folder = Path(sys.argv[1])
        config = parse({"model": {"image_size": 48, "fine_tune": sys.argv[2]}}).model
        built = model.build(config, (32, 32, 3), 10, None, tf.random.Generator.from_seed(1))
        built.load_weights(str(folder / "final.h5"))  # PyTorch has read Keras' file, and Keras reads PyTorch's
        built.layers[-1].activation = tf.keras.activations.linear
        answer([built(np.load(folder / "pixels.npy"), training=False).numpy().tolist(), model.parameter_counts(built)])
        """,
        tmp_path,
        fine_tune,
    )
    ours = np.load(tmp_path / "logits.npy")
    assert np.abs(ours).max() > 0.1
    np.testing.assert_allclose(ours, logits, atol=1e-4)
    assert np.load(tmp_path / "counts.npy").tolist() == counts


def test_both_engines_learn_the_same_from_the_same_images_in_the_same_order(backbone, images, tmp_path):
    """Without dropout, whose draws are each engine's own, and from the same weights of the head."""
    initial = tmp_path / "initial.h5"
    before = {
        "pytorch": f"""
from pathlib import Path
from trainer.pytorch import context, keras_weights
ready = context.TrainingContext.ready
def keeping(self, *state):
    keras_weights.save(self.model, Path({str(initial)!r}), 32)
    ready(self, *state)
context.TrainingContext.ready = keeping
""",
        "tensorflow": f"""
from trainer.learning.context import TrainingContext
build = TrainingContext.build_model
def built(self):
    model = build(self)
    model.load_weights({str(initial)!r})
    return model
TrainingContext.build_model = built
""",
    }
    losses = {}
    for engine in ("pytorch", "tensorflow"):
        config = {
            **SMALL,
            "engine": engine,
            "epochs": 1,
            "window_steps": 2,
            "data": {"source": "synthetic"},
            "model": {"image_size": 32, "dropout": 0, "weights": str(backbone[0])},
            "optimizer": {"learning_rate": 1e-4},  # so that rounding does not grow in these few steps
            "sync": {"method": "allreduce"},
        }
        run = Run(tmp_path / engine, {"dataset": images, "weights": backbone[0]}, config)
        run.succeed(run.start(before[engine]))
        windows = run.records(0, "window")
        losses[engine] = [window["loss"] for window in windows]
    assert len(losses["pytorch"]) == 8
    np.testing.assert_allclose(losses["pytorch"], losses["tensorflow"], rtol=0.02)


@pytest.fixture(scope="module")
def runs(images, tmp_path_factory):
    """A run of two workers by strategy, method and dtype, made when it is first asked for."""
    made = {}

    def run(strategy, method, dtype):
        key = (strategy, method, dtype)
        if key not in made:
            sync = {"method": method, "gradient_dtype": dtype, "period": 4}
            folder = tmp_path_factory.mktemp("pair") / "run"
            made[key] = Run(folder, {"dataset": images}, {**SMALL, "strategy": strategy, "sync": sync}, 2).train()
        return made[key]

    return run


def test_every_pair_of_the_table_is_tried():
    several = [strategy for strategy in of_engine("pytorch") if strategy.most_boards is None]
    assert {pair[:2] for pair in PAIRS} == {(it.name, method) for it in several for method in it.methods}


@pytest.mark.parametrize(("strategy", "method", "dtype"), PAIRS)
def test_two_workers_train_and_agree(runs, strategy, method, dtype):
    run = runs(strategy, method, dtype)
    first, second = (run.records(rank, "epoch") for rank in range(2))
    assert len(first) == 2
    for mine, others in zip(first, second, strict=True):
        for name in ("loss", "accuracy", "val_loss", "val_accuracy"):
            assert mine[name] == others[name], name
    assert first[-1]["loss"] < first[0]["loss"]
    start = run.records(1, "start")[0]
    assert (start["strategy"], start["sync"], start["trainable_parameters"]) == (strategy, method, TRAINABLE)
    stale = [record["staleness"] for record in first + second]
    assert all(it is not None and 0 <= it <= 8 for it in stale) if strategy == "rpc" else set(stale) == {None}
    assert run.result()["facts"]["collective_used"] == "gloo"
    assert (run.boards[0] / "weights/final.h5").exists() and not (run.boards[1] / "weights").exists()
    expected = PAIRS[strategy, method, dtype]
    found = sum(record["payload_bytes"] for record in second) / sum(record["steps"] for record in second)
    if expected is not None:
        assert found == pytest.approx(expected, rel=0.02)
    else:  # PowerSGD, after two steps with the whole gradient
        assert 4 * TRAINABLE * 2 / 16 < found < 4 * TRAINABLE * 4 / 16


def test_ddp_and_the_flat_vector_make_the_same_steps(runs):
    ours, theirs = (runs(strategy, "allreduce", "float32").records(0, "window") for strategy in ("c10d", "ddp"))
    for mine, other in zip(ours, theirs, strict=True):
        assert mine["loss"] == pytest.approx(other["loss"], rel=2e-3)


def test_times_of_a_step_add_up(runs):
    for pair in PAIRS:
        for record in runs(*pair).records(1, "window"):
            parts = record["compute_s"] + record["communication_s"] + (record["waiting_s"] or 0.0)
            assert parts == pytest.approx(record["elapsed_s"])
            assert record["compute_s"] > 0 and record["communication_s"] >= 0


def begun(run):
    """The workers of a run, killed once each has written the checkpoint of its first epoch."""
    workers = run.start()
    try:
        deadline = time.monotonic() + 100
        while not all(Place(1) in whole(board / "checkpoints") for board in run.boards):
            assert time.monotonic() < deadline and all(worker.poll() is None for worker in workers)
            time.sleep(0.01)
    finally:
        for worker in workers:
            worker.kill()
            worker.wait()


@pytest.mark.parametrize(
    ("strategy", "sync"),
    [
        ("none", {"method": "allreduce"}),
        ("c10d", {"method": "local_sgd", "period": 3, "outer_momentum": 0.3}),
        ("ddp", {"method": "allreduce", "accumulate_steps": 3}),  # an epoch has 8 steps: two gradients wait
    ],
)
def test_a_resumed_run_learns_what_the_uninterrupted_one_does(images, tmp_path, strategy, sync):
    config = {**SMALL, "epochs": 3, "deterministic": True, "strategy": strategy, "sync": sync}
    workers = 1 if strategy == "none" else 2
    whole_run = Run(tmp_path / "whole", {"dataset": images}, config, workers).train()
    stopped = Run(tmp_path / "stopped", {"dataset": images}, config, workers)
    begun(stopped)
    kept = resume.begin(stopped.folder)
    assert kept >= Place(1)
    stopped.place()
    stopped.train()
    for rank in range(workers):
        assert [record["epoch"] for record in stopped.records(rank, "resume")] == [kept.epoch]
        ours, theirs = (
            [(record["loss"], record["val_loss"]) for record in run.records(rank, "epoch")]
            for run in (stopped, whole_run)
        )
        assert ours == theirs


@pytest.mark.parametrize("strategy", ["c10d", "ddp", "rpc"])
def test_a_worker_that_loses_another_one_ends_with_that_cause(images, tmp_path, strategy):
    sync = {"method": "asynchronous" if strategy == "rpc" else "allreduce"}
    run = Run(tmp_path / "run", {"dataset": images}, {**SMALL, "epochs": 50, "strategy": strategy, "sync": sync}, 2)
    workers = run.start()
    try:
        deadline = time.monotonic() + 100
        while not all((board / "progress").exists() for board in run.boards):
            assert time.monotonic() < deadline
            time.sleep(0.05)
        os.kill(workers[0].pid, signal.SIGKILL)  # the chief, which has the server of strategy rpc
        workers[1].wait(timeout=60)
    finally:
        for worker in workers:
            worker.kill()
    assert run.result(1)["cause_kind"] == "peer"
