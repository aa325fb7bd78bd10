"""Shapes of the paper's model, to compute PowerSGD's messages without TensorFlow.

Sandler et al., "MobileNetV2: inverted residuals and linear bottlenecks", CVPR 2018, table 2, as Keras builds it with a
width of 1: convolutions without bias, each with a scale and an offset of batch normalisation.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

_BLOCKS = [(1, 16, 1), (6, 24, 2), (6, 32, 3), (6, 64, 4), (6, 96, 3), (6, 160, 3), (6, 320, 1)]  # factor, out, times
_FIRST, _LAST = 32, 1280  # channels
Shape = tuple[int, ...]


def backbone() -> list[Shape]:
    """Shapes of the trainable tensors, from the first layer to the last."""
    shapes = list(_normalised((3, 3, 3, _FIRST)))
    channels = _FIRST
    for factor, out, times in _BLOCKS:
        for _ in range(times):
            wide = factor * channels
            if factor > 1:
                shapes += _normalised((1, 1, channels, wide))
            shapes += _normalised((3, 3, wide, 1))
            shapes += _normalised((1, 1, wide, out))
            channels = out
    return [*shapes, *_normalised((1, 1, channels, _LAST))]


def head(classes: int, dense_units: int) -> list[Shape]:
    """Shapes of the two dense layers on top."""
    return [(_LAST, dense_units), (dense_units,), (dense_units, classes), (classes,)]


def elements(shapes: list[Shape]) -> int:
    """Number of elements in tensors of these shapes."""
    return sum(math.prod(shape) for shape in shapes)


def _normalised(kernel: Shape) -> Iterator[Shape]:
    yield kernel
    channels = kernel[-2] if kernel[-1] == 1 else kernel[-1]
    yield from ((channels,), (channels,))
