"""The numbers of the paper that the kit reproduces, and values derived from them.

Park, Lee, Hwang, "Performance Evaluation of Deep Learning Distributed Training on Edge Devices",
2023: MobileNetV2 on CIFAR-100, one against two NVIDIA Jetson AGX Orin, 1 Gbit/s.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Paper:
    """The paper's numbers (fields) and values derived from them (properties).

    Arithmetic of the properties, for one and for two boards:

    - steps per epoch: 50,000 images / 64 images per step, rounded up = 782. "The same data set" on
      every
      device: each of two boards makes all 782 (an inference; the paper does not say it).
    - time per epoch: 9,310 s / 100 = 93.1 s and 28,248 s / 100 = 282.5 s, validation included.
    - epoch ratio: 28,248 / 9,310 = 3.03.
    - time per step: 93.1 s / 782 = 119 ms and 282.5 s / 782 = 361 ms.
    - communication over computation: (361 ms - 119 ms) / 119 ms = 2.03, "the paper's ratio".
    - images per second, each board's copy counted: 50,000 / 93.1 s = 537 and 2 x 50,000 / 282.5 s = 354, 0.66 times.
    - a pass over the data set, the boards' copies together: 282.5 s / 93.1 s = 3.03 times the time, 0.33 of the speed.

    The other reading, 64 images per step over all boards, which share the data set (experiments/paper_global.yml), has
    782 steps of 361 ms too, but 50,000 images per epoch of two boards: 177 images/s, 0.33 times. Steps, their times and
    the ratio are inferred; times and accuracies are the paper's.
    """

    citation: str = (
        "Park, Lee, Hwang: Performance Evaluation of Deep Learning Distributed Training on Edge Devices, 2023"
    )
    train_images: int = 50_000
    batch_size: int = 64  # images per step and board
    epochs: int = 100
    method: str = "keras"  # under MultiWorkerMirroredStrategy
    one_board_s: float = 9_310.0  # the whole training
    two_boards_s: float = 28_248.0
    one_board_val_accuracy_first: float = 0.08  # after epoch 1
    two_boards_val_accuracy_first: float = 0.12

    @property
    def steps_per_epoch(self) -> int:
        return math.ceil(self.train_images / self.batch_size)

    @property
    def epoch_ratio(self) -> float:
        """Time of two boards over time of one."""
        return self.two_boards_s / self.one_board_s

    @property
    def communication_ratio(self) -> float:
        """Communication over computation in a step of two boards."""
        return (self.two_boards_s - self.one_board_s) / self.one_board_s

    def arms(self) -> list[dict[str, Any]]:
        """The paper's two arms with the fields of a compared arm; None where the paper does not state it."""
        return [
            self._arm(1, "none", self.one_board_s, self.one_board_val_accuracy_first),
            self._arm(2, self.method, self.two_boards_s, self.two_boards_val_accuracy_first),
        ]

    def _arm(self, workers: int, sync: str, total_s: float, val_accuracy: float) -> dict[str, Any]:
        epoch_s = total_s / self.epochs
        images_per_s = workers * self.train_images / epoch_s
        return {
            "workers": workers,
            "sync": sync,
            "step_s": epoch_s / self.steps_per_epoch,
            "pass_s": epoch_s,
            "pass_ratio": total_s / self.one_board_s,
            "total_s": total_s,
            "images_per_s": images_per_s,
            "images_ratio": images_per_s * self.one_board_s / (self.train_images * self.epochs),
            "val_accuracy_first": val_accuracy,
            "val_accuracy_final": None,
            "sent_bytes_per_step": None,
        }

    def to_dict(self) -> dict[str, Any]:
        return {
            "citation": self.citation,
            "epoch_ratio": self.epoch_ratio,
            "communication_ratio": self.communication_ratio,
            "arms": self.arms(),
        }


PAPER = Paper()
