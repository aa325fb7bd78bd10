"""How boards agree: one module per way; a new way is a module, a line here, and a choice in config.Sync.way.

`keras` trains with Keras' own `fit`; the others are steps of the kit's loop, see stepping.Way.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Callable, Dict

import tensorflow as tf

from trainer.sync import allreduce, auto, keras, local_sgd, powersgd
from trainer.sync.stepping import Board, Way

if TYPE_CHECKING:
    from trainer.learning.context import Session

WAYS: Dict[str, Callable[[Board], Way]] = {
    "allreduce": allreduce.way,
    "auto": auto.way,
    "local_sgd": local_sgd.way,
    "powersgd": powersgd.way,
}


def train(session: Session) -> tf.keras.Model:
    """The model after all epochs of the session; the session's recorder writes the records."""
    if session.config.sync.way == "keras":
        return keras.train(session)
    board = Board(session)
    return board.train(WAYS[session.config.sync.way](board))
