"""A parameter server on torch.distributed.rpc (strategy rpc): workers never wait for each other within an epoch.

The chief's process holds the model. For each step a worker sends its gradient, float32, and is answered with the model,
to which the gradients of all workers are applied as they arrive (Dean et al., "Large scale distributed deep networks",
NeurIPS 2012). The chief is a worker, too, and reaches the server without a network.
"""

from __future__ import annotations

import contextlib
import threading
from typing import Any, Iterator, List, Optional, Sequence, Tuple

import torch
from torch.distributed import rpc
from torch.distributed.rendezvous import register_rendezvous_handler

from trainer.contract.config import Config
from trainer.pytorch.context import Restorable, State
from trainer.pytorch.optimizers import Optimizer
from trainer.pytorch.vectors import Flat
from trainer.pytorch.worker import Statistics, Worker, assign

_SCHEME = "cluster-kit"

_Answer = Tuple[torch.Tensor, int]  # the weights, [n] float32, and how many gradients were applied to them


class _Server:
    """The model as one vector, and its optimizer."""

    def __init__(self, config: Config, weights: torch.Tensor) -> None:
        self.weights = torch.nn.Parameter(weights)  # [n] float32
        self.optimizer = Optimizer(config, [self.weights])
        self._updates = 0  # applied gradients
        self._lock = threading.Lock()

    def apply(self, gradient: torch.Tensor, rate: float) -> _Answer:
        """gradient: [n] float32 -> the weights after it was applied at this rate."""
        with self._lock:
            self.weights.grad = gradient
            self.optimizer.step(rate)
            self._updates += 1
            return self.weights.detach().clone(), self._updates

    def pull(self) -> _Answer:
        with self._lock:
            return self.weights.detach().clone(), self._updates

    def state(self) -> List[torch.Tensor]:
        """A copy of the weights and of the optimizer's state."""
        with self._lock:
            return [part.detach().clone() for part in (self.weights, *self.optimizer.state())]

    def restore(self, state: Sequence[torch.Tensor]) -> None:
        assign([self.weights], state[:1])
        self.optimizer.restore(state[1:])


_server: Optional[_Server] = None  # in the chief's process


def _apply(gradient: torch.Tensor, rate: float) -> _Answer:
    """Runs in the chief's process."""
    assert _server is not None
    return _server.apply(gradient, rate)


def _pull() -> _Answer:
    """Runs in the chief's process."""
    assert _server is not None
    return _server.pull()


class Asynchronous:
    """Steps with the server's model."""

    def __init__(self, worker: Worker) -> None:
        global _server
        self._worker, group = worker, worker.group
        self._flat, self._gradient = Flat(worker.parameters), worker.flatten_gradient()
        self._chief = worker.context.cluster.is_chief
        if self._chief:
            _server = _Server(worker.context.config, self._flat.pack(worker.parameters).cpu())
            self._at_epoch_end = _server.state()
        self._statistics = Statistics(worker)
        self._known = 0  # gradients that were applied to the weights that this worker has
        worker.context.recorder.stale_updates = 0
        if group.workers > 1:
            register_rendezvous_handler(_SCHEME, lambda *_, **__: iter([(group.store, group.rank, group.workers)]))
            rpc.init_rpc(
                f"worker-{group.rank}",
                rank=group.rank,
                world_size=group.workers,
                rpc_backend_options=rpc.TensorPipeRpcBackendOptions(
                    init_method=f"{_SCHEME}://",
                    rpc_timeout=group.limit_s,
                    _transports=["uv"],  # TCP at the training interface (TP_SOCKET_IFNAME)
                    _channels=["basic"],
                ),
            )
            group.closing.append(rpc.shutdown)

    def step(self, number: int, images: torch.Tensor, labels: torch.Tensor) -> None:
        """images: [b, ...], labels: [b] int64; one round trip to the server."""
        worker, timer = self._worker, self._worker.timer
        if number == worker.made_steps + 1:
            self._pull_together()  # not before the chief has restored a checkpoint
        worker.backward(images, labels, worker.context.shard.weight)
        here = timer.now()
        gradient = self._gradient.to("cpu", copy=True)
        self._gradient.zero_()
        weights, updates = self._asked(_apply, gradient, worker.context.rate.after(worker.epoch, worker.place))
        recorder = worker.context.recorder
        recorder.stale_updates = (recorder.stale_updates or 0) + updates - 1 - self._known
        self._take(weights, updates)
        if not self._chief:
            stall_s = timer.now() - here if timer.on else 0.0
            timer.add(stall_s, None, payload_bytes=2 * 4 * self._flat.size)

    def _asked(self, function: Any, *arguments: Any) -> _Answer:
        """The server's answer."""
        answer: _Answer = function(*arguments) if self._chief else rpc.rpc_sync("worker-0", function, arguments)
        return answer

    def _take(self, weights: torch.Tensor, updates: int) -> None:
        self._known = updates
        assign(self._worker.parameters, self._flat.unpack(weights.to(self._worker.compute.device)))

    def finalize(self) -> None:
        """Give all workers the server's weights after the last step of all."""
        self._pull_together()

    def flush(self) -> None:
        """Nothing to do: no gradient is on its way between steps."""

    @contextlib.contextmanager
    def consensus(self) -> Iterator[None]:
        """Give all workers the server's weights, once all have made the epoch's steps, and the mean statistics."""
        self._pull_together()
        if _server is not None:  # for the checkpoint, before which other workers may begin the next epoch
            self._at_epoch_end = _server.state()
        with self._statistics.averaged():
            yield

    def _pull_together(self) -> None:
        """Take the server's weights once all workers have come so far."""
        self._worker.group.in_order.submit(self._worker.group.meet).result()
        self._take(*self._asked(_pull))

    def state(self) -> Restorable:
        return [] if _server is None else [State(lambda: self._at_epoch_end, _server.restore)]


def method(worker: Worker) -> Asynchronous:
    """Asynchronous steps with the server in the chief's process."""
    return Asynchronous(worker)
