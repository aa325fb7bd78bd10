"""The size of PowerSGD's messages. Standard library only: training and predictions count the same bytes."""

from __future__ import annotations

import math
from typing import Optional, Sequence, Tuple

MIN_SAVING = 2.0  # compress a matrix only if this many times fewer elements are sent


def as_matrix(shape: Sequence[int], rank: int) -> Optional[Tuple[int, int, int]]:
    """(rows, columns, rank) of a tensor as a matrix; None if a low rank does not save enough."""
    columns = shape[-1] if len(shape) > 1 else 1
    if columns == 1 and len(shape) > 2:  # a depthwise kernel: (height, width, channels, 1)
        columns = shape[-2]
    rows = math.prod(shape) // columns
    rank = min(rank, rows, columns)
    if min(rows, columns) == 1 or rows * columns < MIN_SAVING * rank * (rows + columns):
        return None
    return rows, columns, rank


def low_rank_elements(shapes: Sequence[Sequence[int]], rank: int) -> Tuple[int, int]:
    """Elements of PowerSGD's two messages: P and what is sent whole, then Q (see trainer/sync/powersgd.py)."""
    first = second = 0
    for shape in shapes:
        matrix = as_matrix(shape, rank)
        if matrix is None:
            first += math.prod(shape)
        else:
            rows, columns, kept = matrix
            first += rows * kept
            second += columns * kept
    return first, second
