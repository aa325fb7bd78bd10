"""What tables and figures call a method, an arm and a link: one name each, explained in docs/methods.md."""

from __future__ import annotations

from typing import Any

from trainer.contract.events import NO_SYNC, ONE_BOARD

ENGINES = {"tensorflow": "TensorFlow", "pytorch": "PyTorch"}
# of the kit, by its name in the rows
METHODS = {
    ONE_BOARD: "one board",
    NO_SYNC: "no synchronising",
    "keras": "plain Keras",
    "keras, metrics once an epoch": "plain Keras, metrics once an epoch",
    "allreduce, float32": "allreduce, float32",
    "allreduce, float16": "allreduce, float16",
    "allreduce, float16, bucket_bytes 2000000": "allreduce, float16, buckets",
    "allreduce, buckets": "allreduce, float16, buckets",
    "allreduce, float16, delay_steps 1": "allreduce, float16, a step later",
    "allreduce, a step later": "allreduce, float16, a step later",
    "powersgd, rank 4": "PowerSGD, rank 4",
    "powersgd, rank 4, delay_steps 1": "PowerSGD, rank 4, a step later",
    "powersgd, a step later": "PowerSGD, rank 4, a step later",
    "local_sgd, period 16": "local SGD, period 16",
    "local_sgd, period 32": "local SGD, period 32",
}
# of PyTorch, by strategy and method in the rows
PYTORCH = {
    ONE_BOARD: "one board, PyTorch",
    NO_SYNC: "no synchronising, PyTorch",
    "ddp allreduce, float32": "DDP, no hook",
    "ddp allreduce, float16": "DDP, fp16",
    "ddp powersgd, rank 4": "DDP, PowerSGD, rank 4",
    "ddp local_sgd, period 16": "DDP, post-local SGD, period 16",
    "c10d allreduce, float16": "c10d, allreduce, float16",
    "c10d local_sgd, period 16": "c10d, local SGD, period 16",
    "rpc asynchronous": "RPC, parameter server",
    # by the communication hook, in files that a script of before has measured
    "none": "DDP, no hook",
    "fp16": "DDP, fp16",
    "powersgd, rank 2": "DDP, PowerSGD, rank 2",
    "post-local SGD, period 16": "DDP, post-local SGD, period 16",
}
_LINKS = {"1 Gbit/s": "1 Gbit/s per core"}  # the rate is that of the boards' share of a core


def of_method(row: dict[str, Any]) -> str:
    """The name of a row's method; rows without an engine are TensorFlow's, and a board alone synchronises nothing."""
    if row.get("engine") == "pytorch":
        return PYTORCH[row["sync"]]
    return METHODS[ONE_BOARD if row["boards"] == 1 else row["sync"]]


def of_link(link: str, *rates_bit_per_s: float) -> str:
    """The real rate of a board's link, or the rates that two engines had, and why it is that."""
    told = " and ".join(f"{rate / 1e6:.0f}" for rate in sorted(rates_bit_per_s))
    return f"{told} Mbit/s ({_LINKS.get(link, link)})"
