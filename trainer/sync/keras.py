"""The paper's way: Keras' own `fit`, under MultiWorkerMirroredStrategy where there are several boards.

The strategy sums the gradient of every step over all boards before the optimizer applies it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import tensorflow as tf

from trainer import data

if TYPE_CHECKING:
    from trainer.loop import Session


def train(session: Session) -> tf.keras.Model:
    """The model after all epochs of the session; the session's recorder writes the records."""
    with session.strategy.scope():
        model = session.build_model()
        compile_model(session, model)
    session.ready(model)
    images, share, validation = session.images, session.share, session.validation_share
    model.fit(
        on_this_board(session, data.training_batches(images, share, session.seed, session.epochs)),
        initial_epoch=session.epochs.start,
        epochs=session.epochs.stop,
        steps_per_epoch=share.steps(len(images.y_train)),
        validation_data=on_this_board(session, data.validation_batches(images, validation)),
        validation_steps=validation.steps(len(images.y_test)),
        callbacks=[session.recorder],
        verbose=0,
    )
    return model


def compile_model(session: Session, model: tf.keras.Model) -> None:
    """Give the model the session's optimizer, the paper's loss, and accuracy."""
    model.compile(
        optimizer=session.build_optimizer(),
        # the paper's categorical cross-entropy, with labels as numbers instead of one-hot rows
        loss="sparse_categorical_crossentropy",
        metrics=["accuracy"],
    )


def on_this_board(session: Session, batches: tf.data.Dataset) -> tf.data.Dataset:
    """This board's batches in the form that its strategy takes them."""
    if not session.distributed:
        return batches
    return session.strategy.distribute_datasets_from_function(lambda context: batches)
