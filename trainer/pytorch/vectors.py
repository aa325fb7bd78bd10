"""Means of flat vectors over all workers: what is sent, and how it is timed."""

from __future__ import annotations

from typing import List, Sequence, Tuple

import torch

from trainer.pytorch.group import Group
from trainer.pytorch.step_timer import StepTimer


class Flat:
    """Packs tensors into one vector and back: one large message instead of many small ones."""

    def __init__(self, tensors: Sequence[torch.Tensor]) -> None:
        self._shapes = [tensor.shape for tensor in tensors]
        self.sizes = [tensor.numel() for tensor in tensors]  # elements
        self.size = sum(self.sizes)

    def pack(self, tensors: Sequence[torch.Tensor]) -> torch.Tensor:
        """tensors: list of [*shape_i] -> [size], in order; a copy."""
        return torch.cat([tensor.detach().reshape(-1) for tensor in tensors])

    def unpack(self, vector: torch.Tensor) -> List[torch.Tensor]:
        """vector: [size] -> list of [*shape_i], views of it: the inverse of `pack`."""
        return [part.view(shape) for part, shape in zip(vector.split(self.sizes), self._shapes)]


class ScaledMean:
    """vector: [n] float32 -> mean over workers, [n] float32; sent as `dtype`.

    Except for float32, elements are scaled by powers of two, as those of trainer/sync/collective.py are, where the
    reasons stand: the largest element of the last sum would be 2^5, and elements are clipped so that no sum overflows.
    Each part of the vector (`sizes` in elements) has its own scale.
    """

    def __init__(self, group: Group, dtype: str, sizes: Sequence[int], device: torch.device) -> None:
        self._group, self._dtype, self._sizes = group, getattr(torch, dtype), list(sizes)
        # largest element of each part of the last mean, the same on all workers
        self.largest = torch.ones(len(self._sizes), device=device)
        element_bytes = torch.empty(0, dtype=self._dtype).element_size()
        self.payload_bytes = 0 if group.workers == 1 else sum(self._sizes) * element_bytes  # per mean

    def timed(self, vector: torch.Tensor, timer: StepTimer) -> torch.Tensor:
        """vector: [n] float32 -> mean over workers, [n] float32; adds waiting and communication to `timer`."""
        mean, waiting_s, communication_s = self.exchanged(self.scaled(vector), timer)
        timer.add(communication_s, waiting_s, payload_bytes=self.payload_bytes)
        return self.unscaled(mean)

    def exchanged(self, message: torch.Tensor, timer: StepTimer) -> Tuple[torch.Tensor, float, float]:
        """message: [n] `dtype` -> (its mean over workers, seconds of waiting, of communication).

        A four-byte all-reduce shows when all are ready, which separates waiting for a slower board from communication.
        """
        if not timer.on or self._group.workers == 1:
            return self._group.mean(message), 0.0, 0.0
        here = timer.now()
        self._group.meet()
        everywhere = timer.now()
        mean = self._group.mean(message)
        return mean, everywhere - here, timer.now() - everywhere

    def scaled(self, vector: torch.Tensor) -> torch.Tensor:
        """vector: [n] float32 -> the message, [n] `dtype`."""
        if self._dtype == torch.float32:
            return vector
        limit = 2.0**15 / self._group.workers
        # keep values that are not finite: a diverged board must not look healthy
        clipped = (vector * self._scale()).clamp(-limit, limit)
        return torch.where(torch.isfinite(vector), clipped, vector).to(self._dtype)

    def unscaled(self, mean: torch.Tensor) -> torch.Tensor:
        """mean: [n] `dtype` -> [n] float32 at its true scale; updates the scales."""
        if self._dtype == torch.float32:
            return mean
        true = mean.float() / self._scale()
        largest = torch.stack([part.abs().max() for part in true.split(self._sizes)])
        # all zero: there is no gradient, or it was too small for this scale
        largest = torch.where(largest == 0, self.largest / 1024.0, largest)
        self.largest.copy_(torch.where(torch.isfinite(largest), largest.clamp(min=1e-12), self.largest))
        return true

    def _scale(self) -> torch.Tensor:
        """[1] or [n] float32: by how much each element is multiplied."""
        scales = torch.exp2(5.0 - torch.ceil(torch.log2(self._group.workers * self.largest)))
        if len(self._sizes) == 1:
            return scales
        return scales.repeat_interleave(torch.tensor(self._sizes, device=scales.device))
