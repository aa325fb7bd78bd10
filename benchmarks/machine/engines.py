"""Whether both engines learn the same: the mean loss of each tenth of an epoch, on real images and real weights.

One worker each, without dropout, whose draws are an engine's own, with the same weights of the head and the same images
in the same order. Rounding alone makes two such runs part, the sooner the greater the learning rate: so each optimizer
has several rates, and there is a third run, TensorFlow's with weights that are off in the fifth digit, as a measure.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.lab.benchmark_run import PROJECT, BenchmarkError, BenchmarkRun
from controller.presets import merged
from trainer.contract.config import parse, to_dict
from trainer.contract.events import Epoch, Window
from trainer.contract.layout import EVENTS, RUN, TF_CONFIG, write_json
from trainer.contract.records import read_records
from trainer.contract.strategies import PYTORCH, TENSORFLOW
from trainer.formats.archives import sha256

_PARTS = 10  # of an epoch
_OPTIMIZERS: tuple[dict[str, Any], ...] = (
    {"name": "adam", "learning_rate": 1e-5},
    {"name": "adam", "learning_rate": 3e-5},
    {"name": "adam", "learning_rate": 3e-4},
    {"name": "sgd", "learning_rate": 1e-4},
    {"name": "sgd", "learning_rate": 0.01},
)
_DISTURBED = "tensorflow, disturbed"
_ARMS = {PYTORCH: PYTORCH, TENSORFLOW: TENSORFLOW, _DISTURBED: TENSORFLOW}  # the engine of each
_PYTHON = {PYTORCH: ".torch-venv/bin/python", TENSORFLOW: ".board-venv/bin/python"}
_HEAD = "head.h5"  # weights that the first engine begins with, and so does the other
_BEFORE = {
    PYTORCH: """
from trainer.pytorch import context, keras_weights
ready = context.TrainingContext.ready
def keeping(self, *state):
    keras_weights.save(self.model, Path(head), image_size)
    ready(self, *state)
context.TrainingContext.ready = keeping
""",
    TENSORFLOW: """
from trainer.learning.context import TrainingContext
build = TrainingContext.build_model
def built(self):
    model = build(self)
    model.load_weights(head)
    return model
TrainingContext.build_model = built
""",
}
_BEFORE[_DISTURBED] = _BEFORE[TENSORFLOW].replace(
    "    return model",
    """    import numpy as np
    rng = np.random.default_rng(0)
    model.set_weights([weight * (1 + 1e-5 * rng.standard_normal(weight.shape)) for weight in model.get_weights()])
    return model""",
)


def measure(images: Path, weights: Path, train_images: int, image_size: int) -> Path:
    """Train an epoch with both engines and each optimizer; returns the file written."""
    bench = BenchmarkRun("curves")
    common: dict[str, Any] = {
        "epochs": 1,
        "window_steps": train_images // 64 // _PARTS,
        "checkpoint_epochs": 0,
        "data": {"source": "npz", "path": str(images), "train_images": train_images, "validation_images": 1000},
        "model": {"image_size": image_size, "dropout": 0, "weights": str(weights), "batch_norm_momentum": 0.9},
        "sync": {"method": "allreduce"},
    }
    for optimizer in _OPTIMIZERS:
        with tempfile.TemporaryDirectory() as folder:
            for arm, engine in _ARMS.items():
                config = merged(common, {"engine": engine, "optimizer": optimizer})
                bench.rows.append({"arm": arm, "optimizer": optimizer, **_trained(Path(folder), arm, config)})
    bench.path.parent.mkdir(exist_ok=True)
    return bench.write(
        image_size=image_size,
        train_images=train_images,
        checksums={"images_sha256": sha256(images), "weights_sha256": sha256(weights)},
    )


def _trained(folder: Path, arm: str, config: dict[str, Any]) -> dict[str, Any]:
    """The losses of the parts of an epoch, and the accuracy after it."""
    own = folder / arm
    own.mkdir()
    paths = {"dataset": config["data"]["path"], "weights": config["model"]["weights"]}
    write_json(
        own / RUN,
        {
            "schema": 2,
            "run_id": "curves",
            "task": "train",
            "experiment": "curves",
            "workers": 1,
            "boards": ["worker0"],
            "seed": 1,
            "config": to_dict(parse(config)),
            "assets": {kind: {"path": path, "sha256": sha256(Path(path))} for kind, path in paths.items()},
            "trainer_sha256": "",
            "git_commit": None,
            "git_dirty": None,
        },
    )
    with socket.create_server(("127.0.0.1", 0)) as free:  # TensorFlow's worker listens at its address, alone too
        address = f"127.0.0.1:{free.getsockname()[1]}"
    cluster = {"cluster": {"worker": [address]}, "task": {"type": "worker", "index": 0}}
    write_json(own / TF_CONFIG, cluster)
    head, image_size = str(folder / _HEAD), config["model"]["image_size"]
    code = f"import sys\nfrom pathlib import Path\nhead, image_size = {head!r}, {image_size}\n{_BEFORE[arm]}"
    code += "from trainer.__main__ import main\nsys.exit(main())\n"
    done = subprocess.run(
        [PROJECT / _PYTHON[_ARMS[arm]], "-c", code, "--config", own / RUN],
        cwd=PROJECT,
        env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "2", "CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
    )
    if done.returncode:
        raise BenchmarkError(f"{arm} failed:\n{(done.stdout + done.stderr)[-3000:]}")
    records = read_records(own / EVENTS)[0]
    losses, before = [], 0.0
    for window in (record for record in records if record["event"] == Window.KIND):
        total = window["loss"] * (window["first_step"] + window["steps"])  # a window has the mean since the beginning
        losses.append((total - before) / window["steps"])
        before = total
    (epoch,) = (record for record in records if record["event"] == Epoch.KIND)
    return {"loss": losses, "val_accuracy": epoch["val_accuracy"]}


def table(result: dict[str, Any]) -> str:
    """A row for each optimizer, rate and arm, and the ratios of the losses to TensorFlow's, in Markdown."""
    lines = [
        f"| optimizer, rate | | {' | '.join(map(str, range(1, _PARTS + 1)))} | validation accuracy |",
        f"|---|---|{'--:|' * (_PARTS + 1)}",
    ]
    rows = result["rows"]
    for base in (row for row in rows if row["arm"] == TENSORFLOW):
        told = f"{base['optimizer']['name']}, {base['optimizer']['learning_rate']:g}"
        others = [row for row in rows if row["optimizer"] == base["optimizer"] and row is not base]
        losses = " | ".join(f"{loss:.4f}" for loss in base["loss"][:_PARTS])
        lines.append(f"| {told} | {TENSORFLOW}, loss | {losses} | {base['val_accuracy']:.4f} |")
        for row in others:
            pairs = list(zip(row["loss"], base["loss"], strict=True))[:_PARTS]
            ratios = " | ".join(f"{loss / of_base:.3f}" for loss, of_base in pairs)
            lines.append(f"| {told} | {row['arm']}, over that | {ratios} | {row['val_accuracy']:.4f} |")
    return "\n".join(lines)


def printed(path: Path) -> str:
    """The table of a file."""
    return table(json.loads(path.read_text(encoding="utf-8")))
