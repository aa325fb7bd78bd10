"""What of a configuration the engine pytorch does not have, with what to write instead.

Standard library only, Python 3.8 syntax.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Iterator, Tuple

from trainer.contract.strategies import C10D, DDP, RPC

if TYPE_CHECKING:
    from trainer.contract.config import Config

TASKS = ("train", "probe", "trial")  # run.TASKS that it has

# field, its value, the only one that is taken, why
_Rule = Tuple[str, Any, Any, str]


def problems(config: Config, strategy: str, workers: int) -> Iterator[str]:
    """A sentence for each field that has no effect, or another one than it says."""
    for name, value, needed, reason in _rules(config, strategy):
        if value != needed:
            yield f"{name} is {_yaml(value)}, but {reason}: set {name} to {_yaml(needed)}"
    if workers > 1 and config.data.sharding == "measured":
        taken = "sharded" if strategy == DDP else "proportional"
        yield f"data.sharding is measured, which engine pytorch does not have: set data.sharding to {taken}"
    if config.model.xla == "autoclustering":
        yield (
            "model.xla is autoclustering, but with engine pytorch torch.compile compiles all of a step: set model.xla "
            "to jit_compile or none"
        )


def _yaml(value: Any) -> str:
    """A value as an experiment has it."""
    return "null" if value is None else str(value).lower() if isinstance(value, bool) else str(value)


def _rules(config: Config, strategy: str) -> Iterator[_Rule]:
    sync = config.sync
    yield "checkpoint_steps", config.checkpoint_steps, 0, "engine pytorch has checkpoints of whole epochs"
    yield "steps_per_call", config.steps_per_call, None, "engine pytorch makes a step in a call"
    reason = "which backend engine pytorch has is known once it runs, and is recorded"
    yield "sync.strict_implementation", sync.strict_implementation, False, reason
    yield "sync.delay_steps", sync.delay_steps, 0, "engine pytorch applies every mean at once"
    if strategy == C10D:
        yield "sync.bucket_bytes", sync.bucket_bytes, 0, "strategy c10d has no buckets (strategy ddp has)"
    if strategy == DDP and sync.method == "local_sgd":
        reason = "DistributedDataParallel averages the weights alone (strategy c10d has an outer optimizer)"
        yield "sync.outer_momentum", sync.outer_momentum, 0.0, reason
        yield "sync.outer_learning_rate", sync.outer_learning_rate, 1.0, reason
        begins = "DistributedDataParallel's averages begin with synchronous steps (strategy c10d has others)"
        yield "sync.warm_up_period", sync.warm_up_period, 1, begins
        if config.data.sharding == "proportional":
            reason = "DistributedDataParallel's averages count all boards alike (strategy c10d's do not)"
            yield "data.sharding", "proportional", "sharded", reason
    if strategy == RPC:
        yield "deterministic", config.deterministic, False, "gradients are applied in the order in which they arrive"
        yield "sync.scale_rate", sync.scale_rate, "none", "the server applies every board's gradient as a step"
    if config.model.precision == "mixed_float16":
        if strategy == RPC:
            yield "model.precision", "mixed_float16", "mixed_bfloat16", "with strategy rpc no loss is scaled"
        elif strategy == DDP and sync.method == "powersgd":
            reason = "PowerSGD's hook would keep a gradient that overflows in its error for ever"
            yield "model.precision", "mixed_float16", "mixed_bfloat16", reason
