"""The table and the sentences at the end of a rehearsal."""

import json
from statistics import mean, median

import pytest

from analysis.runs.loading import load
from controller.rehearsal.outcome import measured, sentences
from tests import PROJECT

RUNS = sorted((PROJECT / "tests/data/rehearsal_of_schema1").iterdir())


def test_tracing_is_left_out_of_an_epoch_and_counted_apart():
    table = measured(load(RUNS))
    for folder in RUNS:
        epoch_s, start_s = [], []
        for path in folder.glob("boards/*/events.jsonl"):
            records = [json.loads(line) for line in path.read_text().splitlines()]
            epochs = [record["epoch_s"] for record in records if record["event"] == "epoch"]
            first, *others = [it for it in records if it["event"] == "window" and it["epoch"] == 1]
            usual_s = first["steps"] * median(it["elapsed_s"] / it["steps"] for it in others)
            tracing_s = max(0.0, first["elapsed_s"] - usual_s)
            epoch_s.append((sum(epochs) - tracing_s) / len(epochs))
            start_s.append(next(it["startup_s"] for it in records if it["event"] == "start") + tracing_s)
        row = table.loc[folder.name]
        assert row["epoch_s"] == pytest.approx(mean(epoch_s))
        assert row["start_s"] == pytest.approx(max(start_s), abs=1.0)
        assert row["start_s"] + row["epoch_s"] * 5 == pytest.approx(row["total_s"], rel=0.05)


def test_the_sentences_say_how_much_faster_and_what_it_costs():
    found = {
        "one_board": {"epoch_s": 6.0, "accuracy": 0.8},
        "keras": {"epoch_s": 18.0, "accuracy": 0.9},
        "shared": {"epoch_s": 9.0, "accuracy": 0.8},
        "fast": {"epoch_s": 3.0, "accuracy": 0.79},
    }
    told = sentences(found)
    assert "take 3.00 times as long for an epoch as one board (the paper: 3.03)" in told
    assert "Sharing the images out they take 1.50 times as long." in told
    assert "0.50 times as long: it is 2.00 times as fast as one board" in told
    assert "0.790, one board's 0.800 (-1.0 points)" in told and "emulated boards" in told
    del found["keras"]
    assert "paper" not in sentences(found)
