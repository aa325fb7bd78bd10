"""Keras' optimizers in PyTorch, step by step the same, and the loss scale of mixed precision."""

from __future__ import annotations

from typing import Dict, List, Sequence

import torch

from trainer.contract.causes import NotLearningError
from trainer.contract.config import Config

# of Keras' Adam, and of its LossScaleOptimizer
_EPSILON = 1e-7
_FIRST_SCALE, _GROWTH_STEPS = 2.0**15, 2000
# in a row, after which a run has failed: the loss scale falls from 2^15 to 1 in 15
SKIPPED_STEPS = 50


class Optimizer:
    """The configured optimizer for some parameters, with the rate of each step."""

    def __init__(self, config: Config, parameters: Sequence[torch.nn.Parameter]) -> None:
        self._parameters = list(parameters)
        self._adam = config.optimizer.name == "adam"
        self._betas = (config.optimizer.beta_1, config.optimizer.beta_2)
        self._rate, self._steps = config.optimizer.learning_rate, 0
        if self._adam:
            self.inner: torch.optim.Optimizer
            try:  # one operation for all tensors
                self.inner = torch.optim.Adam(self._parameters, self._rate, self._betas, fused=True)
            except RuntimeError:  # PyTorch before 2.4 has it on GPUs alone
                self.inner = torch.optim.Adam(self._parameters, self._rate, self._betas)
        else:
            self.inner = torch.optim.SGD(self._parameters, self._rate, momentum=config.optimizer.momentum)

    def step(self, rate: float) -> None:
        """Apply the parameters' gradients."""
        self._steps += 1
        group = self.inner.param_groups[0]
        group["lr"] = rate
        if self._adam:
            # Keras adds epsilon to the root of the second moment before its bias is corrected, PyTorch after
            group["eps"] = _EPSILON / (1.0 - self._betas[1] ** self._steps) ** 0.5
        elif rate != self._rate and group["momentum"]:
            # Keras' velocity has the rate in it, PyTorch's is multiplied by the rate when it is applied
            for held in self.inner.state.values():
                if held.get("momentum_buffer") is not None:
                    held["momentum_buffer"].mul_(self._rate / rate)
        self._rate = rate
        self.inner.step()

    def state(self) -> List[torch.Tensor]:
        """Copies of what steps change, for checkpoints: the moments in the order of parameters, then counters."""
        moments = []
        for parameter in self._parameters:
            held = self.inner.state.get(parameter, {})
            for name in self._names:
                value = held.get(name)
                moments.append(torch.zeros_like(parameter) if value is None else value)
        return [*moments, torch.tensor([self._steps, self._rate], dtype=torch.float64)]

    def restore(self, state: Sequence[torch.Tensor]) -> None:
        """Take over what `state` returned."""
        *moments, counters = state
        self._steps, self._rate = int(counters[0]), float(counters[1])
        if not self._steps:
            return
        left = iter(moments)
        for parameter in self._parameters:
            held: Dict[str, torch.Tensor] = {name: next(left).to(parameter.device) for name in self._names}
            if self._adam:
                on_device = self.inner.param_groups[0].get("fused")
                device = parameter.device if on_device else torch.device("cpu")
                held["step"] = torch.tensor(float(self._steps), device=device)
            self.inner.state[parameter] = held

    @property
    def _names(self) -> Sequence[str]:
        return ("exp_avg", "exp_avg_sq") if self._adam else ("momentum_buffer",)


class LossScale:
    """Keras' dynamic loss scale: halved when a gradient overflows, doubled after 2,000 finite steps."""

    def __init__(self, on: bool) -> None:
        self.scale, self._finite, self._skipped, self._applied = _FIRST_SCALE if on else 1.0, 0, 0, 0
        self._on = on

    def applies(self, gradient: Sequence[torch.Tensor]) -> bool:
        """Whether to apply this gradient, which is unscaled; changes the scale.

        Raises NotLearningError after SKIPPED_STEPS in a row that were not applied.
        """
        if not self._on:  # gradients that are not finite give a loss that is not
            return True
        # looked at together: for each look the host waits for the GPU
        if bool(torch.stack([torch.isfinite(part).all() for part in gradient]).all()):
            self._finite, self._skipped, self._applied = self._finite + 1, 0, self._applied + 1
            if self._finite == _GROWTH_STEPS:
                self.scale, self._finite = self.scale * 2.0, 0
            return True
        self.scale, self._finite, self._skipped = max(1.0, self.scale / 2.0), 0, self._skipped + 1
        if self._skipped == SKIPPED_STEPS:
            raise NotLearningError(self._told(f"in {SKIPPED_STEPS} steps"))
        return False

    def finish(self) -> None:
        """Raise NotLearningError if steps were skipped, and none was applied at all."""
        if self._skipped and not self._applied:
            raise NotLearningError(self._told("in the whole run"))

    def state(self) -> torch.Tensor:
        return torch.tensor([self.scale, self._finite], dtype=torch.float64)

    def restore(self, state: torch.Tensor) -> None:
        self.scale, self._finite = float(state[0]), int(state[1])

    def _told(self, when: str) -> str:
        scale = f"{self.scale:g}"
        return f"the optimizer applied no step {when}: all gradients overflowed, the last at a loss scale of {scale}"
