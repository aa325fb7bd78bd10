"""The trainer's TensorFlow parts, run with the boards' own Python."""

import math
import sys

import pytest

from analysis.runs.unpacking import unpack
from controller import synthetic
from controller.resolve import LARGEST_SEED
from trainer.contract.config import parse
from trainer.contract.methods import METHODS

RESUMED = [(name, "float32") for name, method in METHODS.items() if not method.servers]
RESUMED += [(name, "mixed_float16") for name in ("keras", "allreduce")]
RESUMED += [(name, "float32 a step later") for name in ("allreduce", "powersgd")]
pytestmark = pytest.mark.tensorflow


@pytest.fixture(scope="module")
def orders(on_board):
    """Labels are image numbers: what each board sees in each epoch, for some shares."""
    return on_board(
        """
        import numpy as np
        from trainer.learning import data
        from trainer.formats.archives import Images
        count = 23
        images = Images(np.zeros((count, 2, 2, 3), np.uint8), np.arange(count, dtype=np.int32),
                        np.zeros((9, 2, 2, 3), np.uint8), np.arange(9, dtype=np.int32), 23, True)
        def seen(rank, workers, sharded, seed, epochs):
            shard = data.Shard(rank, workers, sharded, 5)
            batches = [y.numpy().tolist() for _, y in data.training_batches(images, shard, seed, epochs)]
            assert len(batches) == shard.steps(count) * len(epochs)
            return batches
        def validated(rank, workers):
            shard = data.Shard(rank, workers, True, 4)
            return [y.numpy().tolist() for _, y in data.validation_batches(images, shard)]
        answer({
            "alone": seen(0, 1, False, 1, range(3)),
            "again": seen(0, 1, False, 1, range(3)),
            "resumed": seen(0, 1, False, 1, range(2, 3)),
            "other seed": seen(0, 1, False, 2, range(3)),
            "sharded": [seen(rank, 2, True, 1, range(1)) for rank in range(2)],
            "whole": [seen(rank, 2, False, 1, range(1)) for rank in range(2)],
            "validation": [validated(rank, 2) for rank in range(2)],
        })
        """
    )


def flat(batches):
    return [label for batch in batches for label in batch]


def test_an_epoch_shows_every_image_once_in_another_order(orders):
    epochs = [flat(orders["alone"][5 * number : 5 * number + 5]) for number in range(3)]
    assert all(sorted(epoch) == list(range(23)) for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) == 3
    assert [len(batch) for batch in orders["alone"][:5]] == [5, 5, 5, 5, 3]


def test_the_order_depends_on_the_seed_alone(orders):
    assert orders["again"] == orders["alone"] != orders["other seed"]


def test_a_resumed_run_sees_what_the_uninterrupted_one_would_have(orders):
    assert orders["resumed"] == orders["alone"][10:]


def test_sharded_boards_share_the_images_out_in_equal_parts(orders):
    first, second = map(flat, orders["sharded"])
    assert len(first) == len(second) == 12  # 23 images: one board begins again with the first
    assert set(first) | set(second) == set(range(23))
    assert len(set(first) & set(second)) == 1


def test_whole_boards_each_see_all_in_an_order_of_their_own(orders):
    first, second = map(flat, orders["whole"])
    assert sorted(first) == sorted(second) == list(range(23))
    assert first != second


def test_validation_is_shared_out(orders):
    first, second = map(flat, orders["validation"])
    assert set(first) | set(second) == set(range(9)) and len(first) == len(second) == 5


def test_the_learning_rate_is_constant_then_falls_exponentially_from_epoch_10(on_board):
    found = on_board(
        """
        from trainer.contract.config import parse
        from trainer.learning.optimizers import Rate
        rate = Rate(parse({"optimizer": {"learning_rate": 0.5}}), 1, 7)
        answer([[float(rate(7 * epoch)), float(rate(7 * epoch + 6)), rate.after(epoch, 3)] for epoch in range(13)])
        """
    )
    for epoch, (first, last, recorded) in enumerate(found):
        assert first == last == pytest.approx(recorded)
        assert first == pytest.approx(0.5 * math.exp(-0.1 * max(0, epoch - 9)))


def test_a_rate_scaled_for_two_boards_is_reached_after_its_warm_up(on_board):
    scaled, recorded = on_board(
        """
        from trainer.contract.config import parse
        from trainer.learning.optimizers import Rate
        config = {"optimizer": {"learning_rate": 0.5}, "sync": {"scale_rate": "linear", "scale_warm_up_epochs": 2}}
        rate = Rate(parse(config), 2, 10)
        steps = (0, 10, 20, 35)
        answer([[float(rate(step)) for step in steps], [rate.after(step // 10, step % 10) for step in steps]])
        """
    )
    assert scaled == pytest.approx([0.5, 0.75, 1.0, 1.0])
    assert recorded == pytest.approx(scaled)


def test_adam_is_keras_adam(on_board):
    ours, of_keras, betas = on_board(
        """
        import tensorflow as tf
        from trainer.contract.config import parse
        from trainer.learning.optimizers import Adam, optimizer
        def learnt(kind):
            optimizer, generator = kind(0.1, beta_1=0.8, epsilon=1e-5), tf.random.Generator.from_seed(1, alg="philox")
            variables = [tf.Variable(generator.normal(shape)) for shape in ([7, 5], [5])]
            for _ in range(20):
                gradients = [generator.normal(variable.shape) for variable in variables]
                optimizer.apply_gradients(zip(gradients, variables))
            found = [*variables, *optimizer.variables]
            return [value for it in found for value in tf.reshape(it, [-1]).numpy().tolist()]
        configured = optimizer(parse({"optimizer": {"beta_1": 0.5, "beta_2": 0.99}}), 0.1)
        assert isinstance(configured, Adam)
        answer([learnt(Adam), learnt(tf.keras.optimizers.Adam), [configured.beta_1, configured.beta_2]])
        """
    )
    assert len(ours) == 3 * 40 + 1  # weights, both moments, and the number of updates
    assert ours == pytest.approx(of_keras, abs=2e-5)  # float32, in another order
    assert betas == [0.5, 0.99]


@pytest.mark.parametrize("name", ["adam", "sgd"])
def test_updates_are_not_compiled_one_by_one_where_a_gpu_is_listed(on_board, name):
    found = on_board(
        """
        import tensorflow as tf
        from trainer.contract.config import parse
        from trainer.learning import optimizers
        keras_optimizer = sys.modules[tf.keras.optimizers.Adam.__mro__[1].__module__]
        keras_optimizer.tf.config.list_physical_devices = lambda kind=None: ["a GPU"]
        config = parse({"optimizer": {"name": sys.argv[1]}})
        def learnt(compiled):
            built = optimizers.optimizer(config, optimizers.Rate(config, 1, 10))
            generator = tf.random.Generator.from_seed(1)
            assert getattr(tf.keras.optimizers, built.__class__.__name__)().jit_compile, "Keras would compile"
            asked, built.jit_compile = built.jit_compile, compiled
            variable = tf.Variable(generator.normal([50]))
            for _ in range(5):
                built.apply_gradients([(generator.normal([50]), variable)])
            return asked, variable.numpy().tolist()
        answer([learnt(False), learnt(True)])
        """,
        name,
    )
    (asked, plain), (_, compiled) = found
    assert asked is False
    assert plain == pytest.approx(compiled, abs=1e-6)


def test_the_model_is_the_papers(on_board):
    found = on_board(
        """
        from trainer.contract.config import parse
        import tensorflow as tf
        from trainer.learning.model import build, moving_statistics, parameter_counts
        generator = tf.random.Generator.from_seed(1, alg="philox")
        def facts(**fields):
            model = build(parse({"model": fields}).model, (32, 32, 3), 100, None, generator)
            momenta = {layer.momentum for layer in model.get_layer(index=3).layers if hasattr(layer, "momentum")}
            statistics = sum(int(tf.size(it)) for it in moving_statistics(model))
            return {"counts": parameter_counts(model), "statistics": statistics,
                    "layers": [layer.name for layer in model.layers],
                    "input": model.input_shape, "backbone": model.get_layer(index=3).input_shape,
                    "output": model.output_shape, "momenta": list(momenta)}
        answer({"all": facts(), "head": facts(fine_tune="head"), "last": facts(fine_tune="last:3"),
                "momentum": facts(batch_norm_momentum=0.5)})
        """
    )
    paper = found["all"]
    assert paper["counts"] == [2_931_044, 2_965_156]
    assert paper["layers"][-4:] == ["pool", "dense", "dropout", "classes"]
    assert (paper["input"], paper["backbone"][1:3], paper["output"]) == ([None, 32, 32, 3], [64, 64], [None, 100])
    assert paper["momenta"] == [0.999] and found["momentum"]["momenta"] == [0.5]
    head = 1280 * 512 + 512 + 512 * 100 + 100
    assert found["head"]["counts"][0] == head
    # what is frozen is neither learned nor sent
    assert (paper["statistics"], found["head"]["statistics"], found["last"]["statistics"]) == (34_112, 0, 2 * 1280)
    # the last three layers of the backbone: a 1x1 convolution to 1,280 channels, its batch norm and its ReLU
    assert found["last"]["counts"][0] == head + 320 * 1280 + 2 * 1280


def test_weights_of_a_file_are_taken(on_board, tmp_path):
    same = on_board(
        """
        import numpy as np, tensorflow as tf
        from pathlib import Path
        from trainer.contract.config import parse
        from trainer.learning.model import build
        path = Path(sys.argv[1])
        given = tf.keras.applications.MobileNetV2(input_shape=(64, 64, 3), include_top=False, weights=None)
        given.save_weights(str(path))
        generator = tf.random.Generator.from_seed(1, alg="philox")
        taken = build(parse({}).model, (32, 32, 3), 100, path, generator).get_layer(index=3)
        answer(all(np.array_equal(a, b) for a, b in zip(given.get_weights(), taken.get_weights())))
        """,
        tmp_path / "backbone.h5",
    )
    assert same is True


def test_keras_reads_the_generated_archive_as_cifar_100(on_board, tmp_path):
    path = tmp_path / "synthetic.tar.gz"
    synthetic.write_archive(path, 200, 100)
    unpack(path, tmp_path)
    keras, own = on_board(
        """
        from pathlib import Path
        import numpy as np
        import tensorflow as tf
        import trainer.learning  # chooses the Keras
        from trainer.formats import archives
        load_batch = sys.modules[tf.keras.datasets.cifar100.load_data.__module__].load_batch
        x, y = load_batch(sys.argv[1] + "/cifar-100-python/train", label_key="fine_labels")
        images = archives.load("cifar100", Path(sys.argv[1]) / "synthetic.tar.gz", None, None)
        answer([[x.transpose(0, 2, 3, 1).tolist(), list(y)], [images.x_train.tolist(), images.y_train.tolist()]])
        """,
        tmp_path,
    )
    assert keras == own


def test_every_method_of_the_configuration_has_a_module(on_board):
    with pytest.raises(ValueError, match="give one of ") as error:
        parse({"sync": {"method": "telepathy"}})
    offered = str(error.value).partition("give one of ")[2].split(", ")
    entries = on_board(
        """
        import importlib
        modules = {name: importlib.import_module(f"trainer.sync.{name}") for name in sys.argv[1:]}
        answer({name: [hasattr(module, "method"), hasattr(module, "train")] for name, module in modules.items()})
        """,
        *offered,
    )
    assert entries == {name: [method.own_loop, not method.own_loop] for name, method in METHODS.items()}


@pytest.fixture(scope="module")
def head_runs(on_board, tmp_path_factory):
    """Records of two runs that train the head, with and without cached features; and their final weights."""
    images = tmp_path_factory.mktemp("head") / "images.tar.gz"
    synthetic.write_archive(images, 128, 64)
    return on_board(
        f"""
        import dataclasses, json, time
        from pathlib import Path
        import numpy as np
        from trainer.__main__ import perform
        from trainer.contract.cluster import Cluster
        from trainer.contract.config import parse
        from trainer.contract.run import Run
        images = Path({str(images)!r})
        def records(method, cached):
            folder = images.parent / f"{{method}}-{{cached}}"
            folder.mkdir()
            config = parse({{
                "epochs": 2, "batch_size": 32, "window_steps": 1,
                "data": {{"path": str(images)}},
                "model": {{"image_size": 32, "fine_tune": "head", "cache_features": cached}},
                "sync": {{"method": method}},
            }})
            run = Run("r", "train", "x", 1, 1, ["a"], config, {{"dataset": {{"path": str(images)}}}}, "", None, None)
            perform(run, Cluster(["127.0.0.1:1"], 0), folder, time.monotonic())
            lines = (folder / "events.jsonl").read_text().splitlines()
            return [json.loads(line) for line in lines]
        cases = [(method, cached) for method in ("keras", "allreduce") for cached in (False, True)]
        answer({{f"{{method}}, {{cached}}": records(method, cached) for method, cached in cases}})
        """
    )


@pytest.mark.parametrize("method", ["keras", "allreduce"])
def test_the_head_learns_the_same_from_cached_features(head_runs, method):
    plain, cached = head_runs[f"{method}, False"], head_runs[f"{method}, True"]
    for kind, names in (("window", ["loss"]), ("epoch", ["loss", "val_loss"])):
        for name in names:
            curves = [[record[name] for record in run if record["event"] == kind] for run in (plain, cached)]
            assert curves[0] == pytest.approx(curves[1], abs=1e-4)
            assert len(set(curves[0])) == len(curves[0]) > 1
    start = cached[0]
    assert start["cache_features_s"] > 0
    assert start["trainable_parameters"] == plain[0]["trainable_parameters"]
    assert plain[0]["cache_features_s"] is None


WAYS = {
    "plain": {"steps_per_call": 1},
    "several steps a call": {"steps_per_call": 4},
    "no times": {"sync": {"step_times": False}},
    "compiled": {"model": {"xla": "jit_compile"}},
    "clustered": {"model": {"xla": "autoclustering"}},
}


@pytest.fixture(scope="module")
def ways(on_board, tmp_path_factory):
    """Records of runs that differ in how a step is made, by method and way."""
    images = tmp_path_factory.mktemp("ways") / "images.tar.gz"
    synthetic.write_archive(images, 128, 64)
    return on_board(
        f"""
        import json, time
        from pathlib import Path
        from trainer.__main__ import perform
        from trainer.contract.cluster import Cluster
        from trainer.contract.config import parse
        from trainer.contract.run import Run
        from trainer.learning import features
        from trainer.learning.context import TrainingContext
        images = Path({str(images)!r})
        TrainingContext._use_the_gpu = lambda it: vars(it).update(precision="float32", xla=it.config.model.xla)
        # one backbone and its features for all runs, whose heads begin alike
        whole, cached, build, cache = [], [], TrainingContext._build_whole_model, features.cache
        TrainingContext._build_whole_model = lambda it: whole[0] if whole else whole.append(build(it)) or whole[0]
        features.cache = lambda *given: cached[0] if cached else cached.append(cache(*given)) or cached[0]
        def records(method, number, way):
            folder = images.parent / f"{{method}}-{{number}}"
            folder.mkdir()
            model = {{"image_size": 32, "fine_tune": "head", "cache_features": True, "dropout": 0}}
            model = {{**model, **way.get("model", {{}})}}
            config = parse({{
                "epochs": 2, "batch_size": 16, "window_steps": 4, "data": {{"path": str(images)}}, **way,
                "model": model, "sync": {{"method": method, "period": 3, **way.get("sync", {{}})}},
            }})
            run = Run("r", "train", "x", 1, 1, ["a"], config, {{"dataset": {{"path": str(images)}}}}, "", None, None)
            perform(run, Cluster(["127.0.0.1:1"], 0), folder, time.monotonic())
            return [json.loads(line) for line in (folder / "events.jsonl").read_text().splitlines()]
        answer({{method: {{name: records(method, number, way) for number, (name, way) in enumerate({WAYS!r}.items())}}
                for method in ("keras", "powersgd", "local_sgd")}})
        """
    )


@pytest.mark.parametrize("way", [*WAYS][1:])
@pytest.mark.parametrize("method", ["keras", "powersgd", "local_sgd"])
def test_how_a_step_is_made_changes_no_result(ways, method, way):
    plain, other = ways[method]["plain"], ways[method][way]
    for kind, names in (("window", ["loss", "accuracy"]), ("epoch", ["loss", "val_loss", "val_accuracy"])):
        one, two = (
            [[record[name] for name in names] for record in run if record["event"] == kind] for run in (plain, other)
        )
        assert len(one) == len(two) > 0
        assert [value for values in two for value in values] == pytest.approx(
            [value for values in one for value in values], abs=1e-4
        )
    windows = [record for record in other if record["event"] == "window"]
    assert [record["steps"] for record in windows] == [4, 4, 4, 4]
    untimed = way == "no times"
    for record in windows:
        assert (record["compute_s"] is None) == (record["communication_s"] is None) == untimed


@pytest.fixture(scope="module")
def overflowing_runs(on_board, tmp_path_factory):
    """How runs with mixed precision end whose gradients all overflow, by method and epochs."""
    images = tmp_path_factory.mktemp("overflow") / "images.tar.gz"
    synthetic.write_archive(images, 128, 32)
    return on_board(
        f"""
        import time
        from pathlib import Path
        import tensorflow as tf
        from trainer.__main__ import perform
        from trainer.contract import causes
        from trainer.contract.cluster import Cluster
        from trainer.contract.config import parse
        from trainer.contract.run import Run
        from trainer.learning import features, optimizers
        from trainer.learning.context import TrainingContext
        images = Path({str(images)!r})
        def use(context):
            context.precision, context.xla = context.config.model.precision, "none"
            tf.keras.mixed_precision.set_global_policy(context.precision)
        TrainingContext._use_the_gpu = use
        # one backbone and its features for all runs, whose heads begin alike
        whole, cached, build, cache = [], [], TrainingContext._build_whole_model, features.cache
        TrainingContext._build_whole_model = lambda it: whole[0] if whole else whole.append(build(it)) or whole[0]
        features.cache = lambda *given: cached[0] if cached else cached.append(cache(*given)) or cached[0]
        optimizers.Adam.aggregate_gradients = lambda self, found: [(part * float("inf"), its) for part, its in found]
        def end(method, epochs):
            folder = images.parent / f"{{method}}-{{epochs}}"
            folder.mkdir()
            config = parse({{
                "epochs": epochs, "batch_size": 8, "data": {{"path": str(images)}}, "sync": {{"method": method}},
                "model": {{"image_size": 32, "fine_tune": "head", "cache_features": True, "dropout": 0,
                          "precision": "mixed_float16"}},
            }})
            run = Run("r", "train", "x", 1, 1, ["a"], config, {{"dataset": {{"path": str(images)}}}}, "", None, None)
            try:
                perform(run, Cluster(["127.0.0.1:1"], 0), folder, time.monotonic())
            except Exception as error:
                return vars(causes.of_exception(error))
        answer({{method: [end(method, epochs) for epochs in (1, 8)] for method in ("keras", "allreduce")}})
        """
    )


@pytest.mark.parametrize("method", ["keras", "allreduce"])
def test_a_run_whose_steps_are_all_skipped_fails_by_name(overflowing_runs, method):
    short, long = overflowing_runs[method]
    assert short["kind"] == long["kind"] == "not_learning"
    assert short["sentence"].startswith("the optimizer applied no step in the whole run: all gradients overflowed")
    # windows end at batches 10 and 16 of an epoch: 50 batches after the first one, the next window has failed
    assert "applied no step in the 54 batches before batch 64" in long["sentence"]
    assert long["sentence"].endswith("the last at a loss scale of 1")


@pytest.fixture(scope="module")
def resumed_runs(on_board, tmp_path_factory):
    """By method and precision: records of a run, and of ones that were stopped in their third epoch and went on: from
    its beginning, and from a checkpoint within it."""
    images = tmp_path_factory.mktemp("resume") / "images.tar.gz"
    synthetic.write_archive(images, 128, 32)
    return on_board(
        f"""
        import json, subprocess, time
        from pathlib import Path
        from trainer.__main__ import perform
        from trainer.learning.context import TrainingContext
        from trainer.contract.cluster import Cluster
        from trainer.contract.config import to_dict, parse
        from trainer.contract.run import load_run
        from trainer.contract.events import Choice
        from trainer.contract.methods import METHODS
        from trainer.sync import auto
        import tensorflow as tf
        loss_scale_optimizer = sys.modules[tf.keras.mixed_precision.LossScaleOptimizer.__module__]
        images = Path({str(images)!r})
        # after 28 of 32 steps; by itself one board chooses the whole gradient
        name = "local_sgd, float16, period 4"
        auto.choose = lambda *times: Choice("local_sgd", "float16", 4, 0.9, 0.9, 1.0, 0.1, 0.1, "a test's choice", name)

        def use(context):
            context.precision, context.xla = context.config.model.precision, "none"
            tf.keras.mixed_precision.set_global_policy(context.precision)

        def finish(context, trained):
            state = context.recorder.applied._optimizer
            scales.append(None if state is None else [float(state.loss_scale), int(state.dynamic_counter)])
            end(context, trained)

        def initial(self, *_, **__):
            begin_scale(self, 2.0**24, 20, 2.0)  # the first steps overflow, and the scale soon grows again

        TrainingContext._use_the_gpu = use
        scales, end, TrainingContext.finish = [], TrainingContext.finish, finish
        begin_scale = loss_scale_optimizer._DynamicLossScaleState.__init__
        loss_scale_optimizer._DynamicLossScaleState.__init__ = initial

        class Stop(Exception):
            pass

        def stop_in_the_third(context, epoch, images=0):
            if epoch == 2 and bool(images) == within:
                context._checkpoints.wait()
                raise Stop
            go_on(context, epoch, images)

        go_on = TrainingContext.on_epoch_begin

        def records(method, precision, stopped):
            global within
            within = stopped == "within"
            folder = images.parent / f"{{method}}-{{precision}}-{{stopped}}"
            board = folder / "boards/a"
            board.mkdir(parents=True)
            config = parse({{
                "epochs": 4, "batch_size": 8, "window_steps": 2, "deterministic": True,
                "data": {{"path": str(images)}},
                "model": {{"image_size": 32, "fine_tune": "head", "cache_features": True,
                          "precision": precision.split()[0]}},
                "sync": {{"method": method, "period": 4, "outer_momentum": 0.3,
                         "delay_steps": int("later" in precision)}},
                "checkpoint_steps": 6 if METHODS[method].own_loop else 0,
            }})
            (folder / "run.json").write_text(json.dumps({{
                "run_id": "r", "task": "train", "experiment": "x", "workers": 1, "boards": ["a"],
                "seed": {LARGEST_SEED},  # the trainer can do with all that may be asked for
                "config": to_dict(config), "assets": {{"dataset": {{"path": str(images)}}}}, "trainer_sha256": "",
                "git_commit": None, "git_dirty": None}}))
            (folder / "manifest.json").write_text("{{}}")
            run, cluster = load_run(folder / "run.json"), Cluster(["127.0.0.1:1"], 0)
            if stopped:
                TrainingContext.on_epoch_begin = stop_in_the_third
                try:
                    perform(run, cluster, board, time.monotonic())
                except Stop:
                    pass
                TrainingContext.on_epoch_begin = go_on
                with (board / "events.jsonl").open("a") as file:
                    file.write('{{"event": "window", "epoch": 3')  # what came after the last epoch
                begin = "import json, pathlib, sys; from controller import resume; "
                begin += "print(json.dumps(resume.begin(pathlib.Path(sys.argv[1]))))"
                command = [{sys.executable!r}, "-c", begin, folder]
                resumed = subprocess.run(command, stdout=subprocess.PIPE)
                # of 8 images each; local_sgd averages after 4, 8 ... of the run's steps
                images_kept = 8 * (8 if method in ("local_sgd", "auto") else 6) if within else 0
                assert json.loads(resumed.stdout) == [2, images_kept], resumed.stdout
            perform(run, cluster, board, time.monotonic())
            left = [path.name for path in board.iterdir()]
            lines = (board / "events.jsonl").read_text().splitlines()
            return [[json.loads(line) for line in lines], left, scales[-1]]

        answer({{f"{{method}}, {{precision}}": [records(method, precision, stopped) for stopped in
                    (False, True, *(["within"] if METHODS[method].own_loop else []))]
                for method, precision in {RESUMED!r}}})
        """
    )


@pytest.mark.parametrize(("method", "precision"), RESUMED)
def test_a_run_that_went_on_learns_what_the_uninterrupted_one_does(resumed_runs, method, precision):
    (whole, left, scale), *others = resumed_runs[f"{method}, {precision}"]
    assert (scale is None) == precision.startswith("float32")
    assert scale is None or (scale[0] < 2**24 and scale[1] > 0), "the first steps overflow"
    assert "checkpoints" not in left, "a run that is over needs none"
    assert len(others) == 1 + METHODS[method].own_loop
    for resumed, _, resumed_scale in others:
        assert resumed_scale == scale
        learns_the_same(whole, resumed)
    for resumed, *_ in others[1:]:
        keeps_a_part_of_an_epoch(resumed)


def learns_the_same(whole, resumed):
    kinds = [
        [(r["event"], r.get("epoch")) for r in run if r["event"] in ("epoch", "resume")] for run in (whole, resumed)
    ]
    assert kinds[0] == [("epoch", epoch) for epoch in (1, 2, 3, 4)]
    assert kinds[1] == [*kinds[0][:2], ("resume", 2), *kinds[0][2:]]
    curves = [[(r["loss"], r["val_loss"]) for r in run if r["event"] == "epoch"] for run in (whole, resumed)]
    assert curves[1] == [pytest.approx(point, abs=1e-6) for point in curves[0]]
    assert len(set(curves[0])) == 4
    assert resumed[-1]["event"] == "end" and resumed[-1]["epochs"] == 4
    assert resumed[-1]["train_s"] == pytest.approx(sum(r["train_s"] for r in resumed if r["event"] == "epoch"))


def keeps_a_part_of_an_epoch(resumed):
    (third,) = (r for r in resumed if r["event"] == "epoch" and r["epoch"] == 3)
    windows = [r for r in resumed if r["event"] == "window" and r["epoch"] == 3]
    assert (third["steps"], third["images"]) == (16, 128)
    assert [r["first_step"] for r in windows] == list(range(0, 16, 2)), "each step once"
    assert third["train_s"] == pytest.approx(sum(r["elapsed_s"] for r in windows))
    (went_on,) = (r for r in resumed if r["event"] == "resume")
    before = [r for r in resumed[: resumed.index(went_on)] if r["event"] == "checkpoint"][-1]
    assert (before["epoch"], before["images"]) == (2, went_on["images"]) and before["stall_s"] >= 0
    assert before["train_s"] < third["train_s"] and before["size_bytes"] > 0
