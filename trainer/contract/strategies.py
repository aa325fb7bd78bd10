"""Strategies of distribution: a record for each, with the methods of synchronising that it can train with.

Standard library only, Python 3.8 syntax. What is not here is refused, by name and with what to write instead.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import List, Optional, Sequence, Tuple

from trainer.contract.methods import METHODS

TENSORFLOW, PYTORCH = "tensorflow", "pytorch"
NONE, MULTI_WORKER_MIRRORED, PARAMETER_SERVER = "none", "multi_worker_mirrored", "parameter_server"
TPU = "tpu"
DDP, C10D, RPC = "ddp", "c10d", "rpc"


@dataclass(frozen=True)
class Strategy:
    name: str  # the field `strategy`
    engine: str  # the field `engine`
    does: str  # for the table in docs/methods.md
    methods: Sequence[str]  # each sync.method with which it trains
    most_boards: Optional[int] = None  # null: any number
    collectives: bool = False  # boards exchange by collectives
    servers: bool = False  # boards exchange through parameter servers

    def runs_on(self, workers: int) -> bool:
        """Whether it trains on so many boards."""
        return self.most_boards is None or workers <= self.most_boards


_WITH_COLLECTIVES = tuple(method.name for method in METHODS.values() if not method.servers)

STRATEGIES: Tuple[Strategy, ...] = (
    Strategy(
        name=MULTI_WORKER_MIRRORED,
        engine=TENSORFLOW,
        does="every board has a copy of the model; boards synchronise by collectives (the paper)",
        methods=_WITH_COLLECTIVES,
        collectives=True,
    ),
    Strategy(
        name=NONE,
        engine=TENSORFLOW,
        does="one board trains without a strategy",
        methods=_WITH_COLLECTIVES,
        most_boards=1,
    ),
    Strategy(
        name="mirrored",
        engine=TENSORFLOW,
        does="one board: a copy of the model on each of its GPUs, and an all-reduce between them",
        methods=("keras",),
        most_boards=1,
    ),
    Strategy(
        name="central_storage",
        engine=TENSORFLOW,
        does="one board: the model in the memory of its CPU, computing on each of its GPUs",
        methods=("keras",),
        most_boards=1,
    ),
    Strategy(
        name=PARAMETER_SERVER,
        engine=TENSORFLOW,
        does="parameter servers hold the model; a worker pulls it for each step and pushes its gradient, which is "
        "applied as it arrives",
        methods=tuple(method.name for method in METHODS.values() if method.servers),
        servers=True,
    ),
    Strategy(
        name=TPU,
        engine=TENSORFLOW,
        does="one board with a TPU; refused where there is none",
        methods=("keras",),
        most_boards=1,
    ),
    Strategy(
        name=DDP,
        engine=PYTORCH,
        does="every board has a copy of the model; PyTorch's DistributedDataParallel sends the gradient in buckets "
        "during the backward pass, or its hooks less",
        methods=("allreduce", "powersgd", "local_sgd"),
        collectives=True,
    ),
    Strategy(
        name=C10D,
        engine=PYTORCH,
        does="every board has a copy of the model; the kit's methods on torch.distributed's collectives, with one flat "
        "message",
        methods=("allreduce", "local_sgd"),
        collectives=True,
    ),
    Strategy(
        name=RPC,
        engine=PYTORCH,
        does="the chief's process holds the model; for each step a board sends its gradient to it with "
        "torch.distributed.rpc, and is answered with the model",
        methods=("asynchronous",),
    ),
    Strategy(
        name=NONE,
        engine=PYTORCH,
        does="one board trains alone",
        methods=("allreduce", "powersgd", "local_sgd", "asynchronous"),
        most_boards=1,
    ),
)
ENGINES = tuple(dict.fromkeys(strategy.engine for strategy in STRATEGIES))
NAMES = tuple(dict.fromkeys(strategy.name for strategy in STRATEGIES))


def default(engine: str, workers: int) -> str:
    """The strategy of runs that name none: on one board no strategy, on several the engine's first."""
    return NONE if workers == 1 else of_engine(engine)[0].name


def of_engine(engine: str) -> List[Strategy]:
    """The engine's strategies; the first is that of several boards."""
    return [strategy for strategy in STRATEGIES if strategy.engine == engine]


def found(engine: str, name: str) -> Strategy:
    """The record of an engine's strategy. Raises ValueError where it has none of this name."""
    for strategy in of_engine(engine):
        if strategy.name == name:
            return strategy
    raise ValueError(f"engine {engine} has no strategy {name}")


def problems(engine: str, name: str, method: str, workers: int, servers: int = 0) -> List[str]:
    """Reasons why these do not go together, a sentence each; `servers`: boards that are dedicated servers."""
    known = [strategy.name for strategy in of_engine(engine)]
    if name not in known:
        return [f"strategy is {name}, which engine {engine} does not have: set strategy to {_one_of(known)}"]
    strategy = found(engine, name)
    told = []
    if method not in strategy.methods:
        told.append(
            f"sync.method is {method}, but strategy {name} trains with {_one_of(strategy.methods)}: "
            f"{_remedy(engine, name, method, workers)}"
        )
    if not strategy.runs_on(workers):
        several = [other.name for other in of_engine(engine) if other.most_boards is None]
        told.append(
            f"strategy is {name}, which trains on one board, but workers is {workers}: set workers to 1, or strategy "
            f"to {_one_of(several)}"
        )
    if servers and not strategy.servers:
        with_servers = [other.name for other in of_engine(engine) if other.servers]
        told.append(
            f"servers is {servers}, but strategy {name} has no parameter servers: set servers to 0"
            + (f", or strategy to {_one_of(with_servers)}" if with_servers else "")
        )
    elif servers and servers >= workers:
        told.append(
            f"servers is {servers} of {workers} boards, so that none is left to compute: set servers to "
            f"{workers - 1} or less, or raise workers"
        )
    return told


def _remedy(engine: str, name: str, method: str, workers: int) -> str:
    """What to write instead of a method that the strategy does not have."""
    others = [other.name for other in of_engine(engine) if method in other.methods and other.runs_on(workers)]
    first = f"set sync.method to {_one_of(found(engine, name).methods)}"
    return f"{first}, or strategy to {_one_of(others)}" if others else first


def _one_of(names: Sequence[str]) -> str:
    return " or ".join(filter(None, [", ".join(names[:-1]), names[-1]]))
