"""What is sent in float16 and at low rank, without other boards: their part is simulated."""

import numpy as np
import pytest

pytestmark = pytest.mark.tensorflow

SIMULATED = """
import types
import numpy as np
import tensorflow as tf
from trainer.sync.collective import ScaledMean

def errors(boards, common, spikes=1.0, steps=4):
    '''Relative errors of the means of several steps, added up one board after the other as a ring does.'''
    generator, size = np.random.default_rng(boards), 1000
    mean_of = ScaledMean(types.SimpleNamespace(num_replicas_in_sync=boards), "float16", [size - 100, 100])
    of_all = tf.function(lambda own: tf.map_fn(mean_of.scaled, own, fn_output_signature=tf.float16))
    found = []
    for step in range(steps):
        shared = generator.normal(size=size) * common
        own = generator.normal(size=(boards, size)) + shared
        own[:, -100:] *= 1e-6  # the second part has a scale of its own
        own[step % boards, step] *= spikes
        summed = np.zeros(size, np.float16)
        for message in of_all(tf.constant(own, tf.float32)).numpy():
            summed += message
        mean = mean_of.unscaled(tf.constant(summed / np.float16(boards))).numpy()
        parts = [(mean[:-100], own.mean(0)[:-100]), (mean[-100:], own.mean(0)[-100:])]
        found.append([float(np.linalg.norm(one - other) / np.linalg.norm(other)) for one, other in parts])
    return found[2:]  # the first steps do not know the scale yet
"""


@pytest.mark.parametrize("boards", [2, 64, 256, 1024])
def test_float16_means_are_right_for_any_number_of_boards(on_board, boards):
    found = on_board(
        SIMULATED + "boards = int(sys.argv[1])\nanswer([errors(boards, common) for common in (0.0, 0.2, 1.0)])", boards
    )
    assert max(error for steps in found for step in steps for error in step) < 0.01


def test_an_element_that_suddenly_grows_is_not_clipped(on_board):
    for step in on_board(SIMULATED + "answer(errors(1024, 0.0, spikes=8.0))"):
        assert max(step) < 0.01


def test_a_part_that_was_zero_or_not_finite_is_soon_right_again(on_board):
    before, after = on_board(
        SIMULATED
        + """
one = ScaledMean(types.SimpleNamespace(num_replicas_in_sync=2), "float16", [3])
def sent(value):
    return one.unscaled(one.scaled(tf.fill([3], value))).numpy().tolist()
for value in (1e-9, 1e-9, 1e-3, 1e-3, float("inf"), float("nan")):
    sent(value)
before = sent(2e-3)
for _ in range(100):
    sent(0.0)
for _ in range(4):
    sent(2e-3)
answer([before, sent(2e-3)])
"""
    )
    assert before == after == pytest.approx([2e-3] * 3, rel=1e-3)


@pytest.fixture(scope="module")
def bases(on_board):
    """For some matrices their bases, and what the columns lose when projected on them."""
    return on_board(
        """
        import numpy as np
        import tensorflow as tf
        from trainer.sync.powersgd import orthonormal
        generator = np.random.default_rng(1)
        plain = generator.normal(size=(40, 4))
        dependent = plain @ np.diag([1.0, 1.0, 1.0, 0.0]) + plain[:, :1] @ np.ones((1, 4))
        matrices = {
            "plain": plain, "small": 1e-30 * plain[:7, :3], "large": 1e30 * plain[:9],
            "uneven": plain * [1e9, 1.0, 1e-9, 1e-18], "dependent": dependent, "square": plain[:4],
            "zero": np.zeros((6, 2)), "not finite": np.full((5, 2), np.nan),
        }
        found = orthonormal([tf.constant(matrix, tf.float32) for matrix in matrices.values()])
        def told(matrix, basis):
            basis, matrix = basis.numpy().astype(float), matrix / (np.linalg.norm(matrix, axis=0) + 1e-300)
            return [basis.shape, (basis.T @ basis).tolist(), float(np.abs(matrix - basis @ basis.T @ matrix).max())]
        answer({name: told(matrix, basis) for (name, matrix), basis in zip(matrices.items(), found)})
        """
    )


@pytest.mark.parametrize("name", ["plain", "small", "large", "uneven", "square"])
def test_columns_of_any_size_become_an_orthonormal_basis(bases, name):
    _, products, lost = bases[name]
    np.testing.assert_allclose(products, np.eye(len(products)), atol=1e-5)
    assert lost < 1e-5


def test_a_column_that_depends_on_others_adds_nothing_and_one_of_zeros_a_direction(bases):
    _, products, lost = bases["dependent"]
    lengths = [products[place][place] for place in range(4)]
    assert lengths == pytest.approx([1, 1, 1, 0], abs=1e-5) and lost < 1e-5
    assert bases["zero"][1] == [[1, 0], [0, 1]]
    assert bases["not finite"][0] == [5, 2] and "nan" in str(bases["not finite"][1]).lower()
