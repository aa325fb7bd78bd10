"""A worker's model, optimizer and training loop; a method decides what workers exchange and when."""

from __future__ import annotations

import contextlib
from typing import ContextManager, Iterator, List, Optional, Protocol, Sequence, Tuple

import torch
from torch.nn import functional

from trainer.pytorch.context import Restorable, State, TrainingContext
from trainer.pytorch.optimizers import LossScale, Optimizer
from trainer.pytorch.vectors import Flat


class Method(Protocol):
    """A method of synchronising under a strategy."""

    def step(self, number: int, images: torch.Tensor, labels: torch.Tensor) -> None:
        """Make step `number` of the run, from 1."""

    def finalize(self) -> None:
        """Give all workers the same weights after the last step."""

    def flush(self) -> None:
        """Wait for communication in flight, before a checkpoint."""

    def consensus(self) -> ContextManager[None]:
        """A context in which the model has weights that all workers share, for validation."""

    def state(self) -> Restorable:
        """The method's state, for checkpoints."""


class Worker:
    """All workers begin with the chief's weights."""

    def __init__(self, context: TrainingContext) -> None:
        self.context, self.group, self.model = context, context.group, context.model
        self.compute, self.timer = context.compute, context.timer
        self.parameters = context.trainable()
        self.optimizer = Optimizer(context.config, self.parameters)
        self.loss_scale = LossScale(context.compute.precision == "mixed_float16")
        # [b, 3, h, w] uint8 -> [b, classes]; a strategy may wrap it
        self.forward: torch.nn.Module = self.model
        if context.compute.xla != "none":
            self.forward = torch.compile(self.model)  # type: ignore[assignment]
        self.gradient: Optional[torch.Tensor] = None  # of all parameters, once it is one vector
        # sums of losses, correct predictions and images
        self._sums = torch.zeros(3, device=context.compute.device)
        self.made_steps = context.pace.before(context.epochs.start)  # steps of earlier attempts
        self.last_step = context.pace.before(context.epochs.stop)
        self.warm_up_steps = context.config.sync.first_steps(context.pace.steps(0))
        self.epoch, self.place = context.epochs.start, 0  # of the step being made, both from 0
        self.group.spread([*self.model.parameters(), *self.model.moving_statistics()])

    def backward(self, images: torch.Tensor, labels: torch.Tensor, weight: float = 1.0) -> None:
        """Add the gradient of a batch's mean loss, times weight and loss scale, to the parameters' gradients."""
        with self.compute.autocast():
            logits = self.forward(images)
        loss = functional.cross_entropy(logits, labels)
        self._count(loss, logits, labels)
        (loss * (weight * self.loss_scale.scale)).backward()

    def apply(self) -> None:
        """Apply the parameters' gradients, which have been unscaled, unless they have overflowed; then drop them."""
        if self.loss_scale.applies(self._gradients):
            self.optimizer.step(self.context.rate.after(self.epoch, self.place))
        for part in self._gradients:
            part.zero_()

    def unscale(self, factor: float = 1.0) -> None:
        """Multiply the parameters' gradients by a factor, and take the loss scale out of them."""
        factor /= self.loss_scale.scale
        if factor != 1.0:
            for part in self._gradients:
                part.mul_(factor)

    @property
    def _gradients(self) -> List[torch.Tensor]:
        """The parameters' gradients: one vector where they are parts of it."""
        if self.gradient is not None:
            return [self.gradient]
        return [parameter.grad for parameter in self.parameters if parameter.grad is not None]

    def flatten_gradient(self) -> torch.Tensor:
        """[n] float32: one vector, of which the parameters' gradients are parts from now on."""
        flat = Flat(self.parameters)
        self.gradient = torch.zeros(flat.size, device=self.compute.device)
        for parameter, part in zip(self.parameters, flat.unpack(self.gradient)):
            parameter.grad = part
        return self.gradient

    def train(self, method: Method) -> None:
        """Train all epochs."""
        context, recorder = self.context, self.context.recorder
        scale = State(lambda: [self.loss_scale.state()], lambda state: self.loss_scale.restore(state[0]))
        context.ready([State(self.optimizer.state, self.optimizer.restore), scale, *method.state()])
        for epoch in context.epochs:
            self.epoch, before, steps = epoch, context.pace.before(epoch), context.pace.steps(epoch)
            context.on_epoch_begin(epoch)
            self._sums.zero_()
            self.model.train()
            recorder.begin_epoch(epoch)
            batches = context.data.training_batches(context.pace.shard(epoch), context.seed, epoch)
            for self.place, (images, labels) in enumerate(batches):
                number = before + self.place + 1
                method.step(number, images, labels)
                if number == self.last_step:
                    method.finalize()  # counted in the last window
                recorder.end_step(self.place + 1, self._so_far)
            assert self.place + 1 == steps
            trained = self._sums.tolist()
            recorder.begin_validation()
            with method.consensus():
                self._validate()
            sums = self.group.means([*trained, *self._sums.tolist()])
            recorder.end_validation()
            recorder.end_epoch(sums[0] / sums[2], sums[1] / sums[2], sums[3] / sums[5], sums[4] / sums[5])
            if context.checkpoint_due(epoch):
                method.flush()
            context.save(epoch)
        self.loss_scale.finish()

    def _validate(self) -> None:
        context = self.context
        self._sums.zero_()
        self.model.eval()
        with torch.no_grad():
            for images, labels in context.data.validation_batches(context.validation_shard):
                with self.compute.autocast():
                    logits = self.model(images)
                self._count(functional.cross_entropy(logits, labels), logits, labels)
                context.recorder.end_validation_step()

    def _count(self, loss: torch.Tensor, logits: torch.Tensor, labels: torch.Tensor) -> None:
        with torch.no_grad():
            count = len(labels)
            right = (logits.argmax(1) == labels).sum()
            self._sums += torch.stack([loss.float() * count, right.float(), self._sums.new_tensor(count)])

    def _so_far(self) -> Tuple[float, float]:
        loss, right, count = self._sums.tolist()
        return loss / count, right / count


class Statistics:
    """The moving statistics of batch normalisation, of which each worker has its own."""

    def __init__(self, worker: Worker) -> None:
        self._worker = worker
        self._tensors: List[torch.Tensor] = worker.model.moving_statistics()

    @contextlib.contextmanager
    def averaged(self) -> Iterator[None]:
        """Give all workers their mean, for good."""
        if self._tensors and self._worker.group.workers > 1:
            self._worker.group.in_order.submit(self._average).result()
        yield

    def _average(self) -> None:
        flat = Flat(self._tensors)
        mine = flat.pack(self._tensors).mul_(self._worker.context.shard.weight)
        assign(self._tensors, flat.unpack(self._worker.group.mean(mine)))


def assign(tensors: Sequence[torch.Tensor], values: Sequence[torch.Tensor]) -> None:
    """Copy values into tensors of the same shapes, in place."""
    with torch.no_grad():
        for tensor, value in zip(tensors, values):
            tensor.copy_(value)
