"""TensorFlow's strategies of one board: they learn what a board without one does."""

import pytest

from controller import synthetic

pytestmark = pytest.mark.tensorflow
WRAPPED = ("mirrored", "central_storage")


@pytest.fixture(scope="module")
def runs(on_board, tmp_path_factory):
    """Records of a run with each strategy, and the error of the one that no board has."""
    images = tmp_path_factory.mktemp("strategies") / "images.tar.gz"
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
        # one backbone and its features for all runs, whose heads begin alike
        whole, cached, build, cache = [], [], TrainingContext._build_whole_model, features.cache
        TrainingContext._build_whole_model = lambda it: whole[0] if whole else whole.append(build(it)) or whole[0]
        features.cache = lambda *given: cached[0] if cached else cached.append(cache(*given)) or cached[0]
        def records(strategy):
            folder = images.parent / strategy
            folder.mkdir()
            config = parse({{
                "epochs": 2, "batch_size": 16, "window_steps": 4, "data": {{"path": str(images)}},
                "strategy": strategy,
                "model": {{"image_size": 32, "fine_tune": "head", "cache_features": True, "dropout": 0}},
            }})
            run = Run("r", "train", "x", 1, 1, ["a"], config, {{"dataset": {{"path": str(images)}}}}, "", None, None)
            perform(run, Cluster(["127.0.0.1:1"], 0), folder, time.monotonic())
            return [json.loads(line) for line in (folder / "events.jsonl").read_text().splitlines()]
        found = {{strategy: records(strategy) for strategy in ("none", *{WRAPPED!r})}}
        try:
            records("tpu")
        except RuntimeError as error:
            found["tpu"] = str(error)
        answer(found)
        """
    )


@pytest.mark.parametrize("strategy", WRAPPED)
def test_a_wrapper_changes_no_result(runs, strategy):
    plain, wrapped = runs["none"], runs[strategy]
    assert (wrapped[0]["strategy"], wrapped[0]["sync"], wrapped[0]["collective_asked"]) == (strategy, "keras", None)
    for kind, names in (("window", ["loss", "accuracy"]), ("epoch", ["loss", "val_loss", "val_accuracy"])):
        curves = [
            [record[name] for record in run if record["event"] == kind for name in names] for run in (plain, wrapped)
        ]
        assert curves[0] == pytest.approx(curves[1], abs=1e-4)
        assert len(curves[0]) > 1


def test_no_strategy_is_recorded_as_such(runs):
    assert (runs["none"][0]["strategy"], runs["none"][0]["sync"]) == ("none", "none")


def test_a_board_without_a_tpu_says_so(runs):
    assert runs["tpu"].startswith("strategy is tpu, but TensorFlow finds no TPU on this board")
