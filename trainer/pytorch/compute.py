"""What a board computes with: its device, and what the configuration asks of it."""

from __future__ import annotations

import contextlib
import os
from typing import ContextManager

import torch

from trainer.contract.config import Config

_DTYPES = {"mixed_float16": torch.float16, "mixed_bfloat16": torch.bfloat16}


class Compute:
    """The device, precision and compiling of a run: the first GPU, or the CPU."""

    def __init__(self, config: Config) -> None:
        gpu = torch.cuda.is_available()
        self.device = torch.device("cuda", 0) if gpu else torch.device("cpu")
        # a board without a GPU computes in float32 and compiles nothing, as with TensorFlow
        self.precision = config.model.precision if gpu else "float32"
        self.xla = config.model.xla if gpu else "none"
        torch.set_num_threads(len(os.sched_getaffinity(0)))
        if config.deterministic:
            os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
            torch.use_deterministic_algorithms(True)

    def autocast(self) -> ContextManager[object]:
        """The context of a forward pass."""
        if self.precision == "float32":
            return contextlib.nullcontext()
        return torch.autocast(self.device.type, dtype=_DTYPES[self.precision])

    def finish(self) -> None:
        """Wait until the device has computed all that was given to it."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
