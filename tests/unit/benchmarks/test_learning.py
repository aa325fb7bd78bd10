"""The benchmark of learning: which runs it makes, and what it says of them."""

from pathlib import Path

import pytest

from benchmarks.lab.benchmark_run import BenchmarkError
from benchmarks.machine import learning
from benchmarks.machine.learning import (
    BASE,
    GRID,
    SEEDS,
    TUNING_SEEDS,
    Task,
    best_of,
    candidates,
    passes_to,
    plan,
    preset,
    rate_of,
    summary,
    tuning,
)

TASK = Task("images", Path("images.npz"), Path("weights.h5"), 8192, 10_000)


def row(arm: str, boards: int, seed: int, accuracies: list[float]) -> dict:
    rate = {"optimizer": {"learning_rate": 0.001}}
    return {
        "task": "images",
        "arm": arm,
        "boards": boards,
        "seed": seed,
        "val_accuracy": accuracies,
        "config": rate,
    }


def grid(best: float) -> list[dict]:
    return [
        row(tuning(rate_of(rate)), 1, seed, [0.5, 0.9 if rate == best else 0.8 + 0.001 * seed])
        for rate in GRID
        for seed in TUNING_SEEDS
    ]


def tried(rate: float, accuracy: float) -> list[dict]:
    """Rows of the candidate that has this rate and the preset's other fields."""
    fields = candidates(grid(rate), "images")[-1]
    return [row(tuning(fields), 1, seed, [0.5, accuracy]) for seed in TUNING_SEEDS]


@pytest.mark.parametrize(
    ("accuracies", "passes"),
    [([0.4, 0.8], 1.5), ([0.6], 1.0), ([0.2, 0.5, 0.4, 0.7], 3 + 2 / 3), ([0.59, 0.3], None), ([0.8], 0.75)],
)
def test_passes_to_a_target_are_interpolated(accuracies, passes):
    found = passes_to(accuracies, 0.6)
    assert found == (None if passes is None else pytest.approx(passes))


def test_the_rival_has_its_best_rate_and_one_above_it_was_tried():
    best = GRID[-2]
    assert best_of(grid(best) + tried(best, 0.89), "images") == rate_of(best)
    assert best_of(grid(best)[:-1], "images") is None, "not all of the grid is there"
    with pytest.raises(BenchmarkError, match="the greatest of the grid"):
        best_of(grid(GRID[-1]), "images")


def test_the_rival_may_have_what_the_preset_changes_of_the_optimizer():
    best = GRID[1]
    assert best_of(grid(best), "images") is None, "the preset's fields were not tried"
    found = best_of(grid(best) + tried(best, 0.91), "images")
    assert found is not None
    assert found["optimizer"] == {**preset(8)["optimizer"], "learning_rate": best}


def test_the_grid_comes_first_and_the_table_has_its_best_rate():
    first = list(plan(TASK, []))
    assert {(job.boards, job.seed) for job in first} == {(1, seed) for seed in TUNING_SEEDS}
    rows = grid(GRID[1]) + tried(GRID[1], 0.89)
    jobs = list(plan(TASK, rows))[len(first) + len(TUNING_SEEDS) :]
    assert {(job.boards, job.seed) for job in jobs} == {(n, seed) for n in (1, *learning.NUMBERS) for seed in SEEDS}
    assert {job.config.optimizer.learning_rate for job in jobs} == {GRID[1]}
    assert {job.config.sync.method for job in jobs if job.boards > 1} == {"local_sgd"}


def test_a_run_is_known_by_what_its_numbers_follow_from():
    job = next(iter(plan(TASK, [])))
    sums = {"images_sha256": "a", "weights_sha256": "b"}
    key = learning.key_of(job, sums, "code")
    elsewhere = Task("images", Path("/elsewhere/images.npz"), Path("w.h5"), 8192, 10_000)
    assert learning.key_of(next(iter(plan(elsewhere, []))), sums, "code") == key
    others = [list(plan(TASK, []))[1], list(plan(TASK, []))[-1]]
    keys = [learning.key_of(other, sums, "code") for other in others]
    keys += [learning.key_of(job, {**sums, "images_sha256": "c"}, "code"), learning.key_of(job, sums, "other code")]
    assert len({key, *keys}) == 5


def test_boards_are_compared_with_the_best_one_board_of_the_same_seed():
    rows = [row(BASE, 1, seed, [0.8, 0.90 + 0.01 * seed]) for seed in (1, 2, 3)]
    rows += [row("preset", 8, seed, [0.4, 0.89 + 0.01 * seed]) for seed in (1, 2, 3)]
    rows += [row("preset", 2, seed, [0.4, 0.895 + 0.01 * seed]) for seed in (1, 2)]
    one, two, eight = summary(rows, "images")
    assert one["target"] == pytest.approx(0.91)
    assert one["accuracy"] == pytest.approx(0.92) and one["bound"] is None
    assert one["passes"] == pytest.approx(1 + 0.11 / 0.12)
    assert (two["seeds"], two["difference"]) == ([1, 2], pytest.approx(-0.005))
    assert eight["difference"] == pytest.approx(-0.01) and eight["bound"] == pytest.approx(-0.01)
    assert (eight["passes"], eight["unreached"]) == (pytest.approx(2.0), 1)
    assert eight["passes_ratio"] == pytest.approx(2.0 / one["passes"])


def test_the_tables_say_which_rate_was_best_and_how_much_boards_learn():
    rows = [*grid(GRID[1]), *(row(BASE, 1, seed, [0.8, 0.9]) for seed in SEEDS)]
    rows += [row("preset", 2, seed, [0.4, 0.89]) for seed in SEEDS]
    text = learning.table({"rows": rows})
    assert f"| rate {GRID[1]:g} | 11, 12 | 0.9000, 0.9000 |" in text and "Target: 0.8900" in text
    assert "| 2 | 5 | 0.8900 (0.8900 to 0.8900) | -1.00 | -1.00 | 2.00 |" in text
