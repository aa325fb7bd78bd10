"""The task of a rehearsal: it can be learned, but not by what a model that sees no shapes can do."""

import numpy as np
import pytest

from controller import synthetic
from controller.presets import configuration
from tests import PROJECT
from trainer.contract.config import parse


@pytest.fixture(scope="module")
def task():
    """Training and validation images with labels, as many as the preset has."""
    data = parse(configuration({"experiment": "rehearsal", "override": {}}, PROJECT, [], 1)).data
    rng = np.random.default_rng(0)
    labels = [np.arange(count) % synthetic.SHOWN for count in (data.train_images, data.validation_images)]
    (x, v), (y, w) = [synthetic.gratings(each, rng) for each in labels], labels
    return x, y, v, w


def test_it_is_a_task_of_twenty_classes_with_enough_images_to_validate_on(task):
    x, y, _, w = task
    assert len(w) >= 2000 and len(np.unique(y)) >= 20 and x.shape[1:] == (32, 32, 3)


def test_a_linear_classifier_on_pixels_does_not_solve_it(task):
    x, y, v, w = (part.reshape(len(part), -1) / 127.5 - 1 if part.ndim == 4 else part for part in task)
    x, v = (np.hstack([part, np.ones((len(part), 1))]).astype(np.float32) for part in (x, v))
    kernel, across = x @ x.T, v @ x.T
    wanted = np.eye(synthetic.SHOWN, dtype=np.float32)[y]
    found = []
    for ridge in (3e3, 1e4, 3e4):
        weights = np.linalg.solve(kernel + ridge * np.eye(len(x), dtype=np.float32), wanted)
        found.append(((across @ weights).argmax(axis=1) == w).mean())
    assert 0.1 < max(found) < 0.4


def test_colour_and_orientation_tell_most_classes_apart(task):
    _, _, v, w = task
    hue = v @ np.exp(2j * np.pi * np.arange(3) / 3)
    tint = hue.mean(axis=(1, 2))
    down, across = np.gradient(hue, axis=(1, 2))
    # twice the angle of the stripes
    turned = np.angle((abs(across) ** 2 - abs(down) ** 2 + 2j * (across * down.conj()).real).sum(axis=(1, 2)))
    near = []
    for angle, count, label in ((np.angle(tint), 5, w // 4), (turned, 4, w % 4)):
        # the direction of each class, from the images themselves
        means = np.stack([np.exp(1j * angle[label == each]).mean() for each in range(count)])
        near.append(np.abs(np.exp(1j * angle)[:, None] - means / np.abs(means)).argmin(axis=1) == label)
    assert 0.8 < (near[0] & near[1]).mean() < 0.9  # chance: 0.05
