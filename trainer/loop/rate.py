"""The paper's learning rate: constant, then falling exponentially with the epochs."""

from __future__ import annotations

import math

from trainer.contract.config import Config


class Rate:
    """initial for `constant_epochs` epochs, then initial x exp(-decay x epochs since), constant within an epoch.

    A rate scaled for several boards is reached over the first `scale_warm_up_epochs`. It depends on the place in the
    run alone, so that a resumed run continues with it.
    """

    def __init__(self, config: Config, workers: int, batches_per_epoch: int) -> None:
        self.config, self.batches = config, batches_per_epoch
        self.scale = config.sync.learning_rate_scale(workers)
        self.warm_up = config.sync.scale_warm_up_epochs * batches_per_epoch  # batches

    def after(self, epoch: int, batch: int) -> float:
        """The rate for a batch of an epoch, both counted from 0."""
        grown = min((epoch * self.batches + batch) / self.warm_up, 1.0) if self.warm_up else 1.0
        initial = self.config.optimizer.learning_rate * (1.0 + (self.scale - 1.0) * grown)
        decayed = max(epoch - (self.config.schedule.constant_epochs - 1), 0)
        return initial * math.exp(-self.config.schedule.decay * decayed)
