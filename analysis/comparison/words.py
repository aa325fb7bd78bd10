"""An arm in words, as one would say it: for the verdict, the report and legends."""

from __future__ import annotations

_METHODS = {
    "none": "",
    "keras": "plain Keras",
    "allreduce": "all-reduce",
    "powersgd": "PowerSGD",
    "local_sgd": "local SGD",
    "auto": "chosen by itself",
    "asynchronous": "parameter servers",
}
_PARTS = {
    "sharded": "images shared out",
    "proportional": "images shared by speed",
    "measured": "images shared by speed",
    "gradient_dtype=float32": "float32",
    "metrics=epoch": "metrics once an epoch",
    "overlap=false": "without overlap",
    "scale_rate=linear": "learning rate times boards",
    "scale_rate=sqrt": "learning rate times root of boards",
    "step_times=false": "",
}
_VALUES = {
    "period": "averaged every {} steps",
    "rank": "rank {}",
    "beta_2": "Adam's beta_2 {}",
    "accumulate_steps": "{} batches a step",
    "delay_steps": "gradients applied a step later",
    "bucket_bytes": "buckets of {} bytes",
    "warm_up_steps": "{} steps together first",
    "warm_up_epochs": "epochs together first: {}",
    "warm_up_period": "averaged every {} steps at first",
    "scale_warm_up_epochs": "",
}


def in_words(workers: int, label: str) -> str:
    """Such as "2 boards, local SGD, images shared out, averaged every 4 steps"; see `method_in_words`."""
    return ", ".join(filter(None, [f"{workers} board{'s' if workers > 1 else ''}", method_in_words(workers, label)]))


def method_in_words(workers: int, label: str) -> str:
    """What such boards do, without their number; empty for a board alone. `label`: see `arms.with_arms`."""
    sync, *parts = label.split(", ")
    told = [_METHODS.get(sync, sync), *map(_part, parts)]
    if workers > 1 and not {"sharded", "proportional", "measured"} & set(parts):
        told.append("all images on each")
    return ", ".join(filter(None, told))


def _part(part: str) -> str:
    """A part in words, or as it is where there are none for it."""
    name, _, value = part.partition("=")
    return _PARTS.get(part, _VALUES.get(name, part).format(value))
