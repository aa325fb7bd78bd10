"""Runs on a board: trains the kit's model with PyTorch's DistributedDataParallel.

In every cycle each communication hook makes some steps, in an order that is new each time; prints the turns as JSON.

The model is Keras' MobileNetV2 with the paper's head, layer by layer (2,931,044 parameters); images are random
bytes of 32x32, enlarged to 64x64 on the board, as the kit does it.
"""

import argparse
import json
import random
import time
from pathlib import Path

import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.algorithms.ddp_comm_hooks import default_hooks, post_localSGD_hook, powerSGD_hook
from torch.distributed.algorithms.model_averaging.averagers import PeriodicModelAverager
from torch.distributed.optim import PostLocalSGDOptimizer
from torch.nn.parallel import DistributedDataParallel

BATCH, CLASSES, PORT, PERIOD = 64, 100, 29500, 16
WARM_UP_STEPS = 4
ONE_BOARD, NO_SYNC = "one board", "no_sync"  # one board alone; both, each for itself
# communication hook -> steps in a cycle
HOOKS = {ONE_BOARD: 16, NO_SYNC: 16, "none": 8, "fp16": 8, "powersgd, rank 2": 16, "post-local SGD, period 16": 32}
PARAMETERS = 2_931_044


def conv(
    inputs: int, outputs: int, size: int = 1, stride: int = 1, groups: int = 1, relu: bool = True
) -> nn.Sequential:
    """Convolution, batch normalisation and, but for projections, ReLU6."""
    layers: list[nn.Module] = [
        nn.Conv2d(inputs, outputs, size, stride, size // 2, groups=groups, bias=False),
        nn.BatchNorm2d(outputs),
    ]
    return nn.Sequential(*layers, *[nn.ReLU6(inplace=True)] * relu)


class Block(nn.Module):
    """Inverted residual with a linear bottleneck (Sandler et al., "MobileNetV2", CVPR 2018)."""

    def __init__(self, inputs: int, outputs: int, stride: int, expansion: int) -> None:
        super().__init__()
        wide = inputs * expansion
        self.residual = stride == 1 and inputs == outputs
        self.layers = nn.Sequential(
            *([conv(inputs, wide)] if expansion > 1 else []),
            conv(wide, wide, 3, stride, groups=wide),
            conv(wide, outputs, relu=False),
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.layers(x) if self.residual else self.layers(x)


def model() -> nn.Sequential:
    """Bytes (n, 3, 32, 32) to logits (n, CLASSES)."""
    blocks: list[nn.Module] = []
    inputs = 32
    for expansion, outputs, count, stride in [
        *((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2)),
        *((6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1)),
    ]:
        for place in range(count):
            blocks.append(Block(inputs, outputs, stride if place == 0 else 1, expansion))
            inputs = outputs
    return nn.Sequential(
        nn.UpsamplingBilinear2d(size=64),
        conv(3, 32, 3, 2),
        *blocks,
        conv(320, 1280),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(1280, 512),
        nn.ReLU(),
        nn.Dropout(0.3),
        nn.Linear(512, CLASSES),
    )


def sent_bytes() -> int:
    """Bytes sent so far on the board's interface."""
    return int(Path("/sys/class/net/eth0/statistics/tx_bytes").read_text())


class Variant:
    """A model, its optimizer and how its boards synchronise."""

    def __init__(self, hook: str) -> None:
        torch.manual_seed(1)
        net: nn.Module = model()
        assert sum(p.numel() for p in net.parameters()) == PARAMETERS
        self.averager = None
        if hook not in (ONE_BOARD, NO_SYNC):
            net = DistributedDataParallel(net)
        if hook == "fp16":
            net.register_comm_hook(None, default_hooks.fp16_compress_hook)
        elif hook.startswith("powersgd"):
            state = powerSGD_hook.PowerSGDState(None, matrix_approximation_rank=2, start_powerSGD_iter=3)
            net.register_comm_hook(state, powerSGD_hook.powerSGD_hook)
        elif hook.startswith("post-local"):
            local = post_localSGD_hook.PostLocalSGDState(
                None, dist.group.WORLD, start_localSGD_iter=2, post_local_gradient_allreduce=False
            )
            net.register_comm_hook(local, post_localSGD_hook.post_localSGD_hook)
            self.averager = PeriodicModelAverager(period=PERIOD, warmup_steps=2)
        self.net = net
        self.optimizer: torch.optim.Optimizer = torch.optim.Adam(net.parameters(), lr=0.001)
        if self.averager is not None:
            self.optimizer = PostLocalSGDOptimizer(self.optimizer, self.averager)
        self.loss = nn.CrossEntropyLoss()

    def step(self, images: torch.Tensor, labels: torch.Tensor) -> None:
        self.optimizer.zero_grad()
        loss = self.loss(self.net(images.float() / 127.5 - 1), labels)
        loss.backward()
        self.optimizer.step()
        loss.item()


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rank", type=int, required=True)
    parser.add_argument("--chief", required=True)
    parser.add_argument("--cycles", type=int, required=True)
    options = parser.parse_args()
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"tcp://{options.chief}:{PORT}", rank=options.rank, world_size=2)
    generator = torch.Generator().manual_seed(options.rank)
    images = torch.randint(0, 256, (16 * BATCH, 3, 32, 32), dtype=torch.uint8, generator=generator)
    labels = torch.randint(0, CLASSES, (16 * BATCH,), generator=generator)
    order = random.Random(1)  # the same on both boards
    variants = {hook: Variant(hook) for hook in HOOKS}
    turns = []
    for cycle in range(options.cycles + 1):  # the first one warms up
        for hook in order.sample(sorted(HOOKS), len(HOOKS)):
            idle = hook == ONE_BOARD and options.rank > 0
            # local SGD averages once in 16 steps, wherever its turn begins
            steps = WARM_UP_STEPS if cycle == 0 else HOOKS[hook]
            dist.barrier()
            began, before = time.monotonic(), sent_bytes()
            for _ in range(0 if idle else steps):
                chosen = torch.randint(0, len(images), (BATCH,), generator=generator)
                variants[hook].step(images[chosen], labels[chosen])
            turn = {
                "sync": hook,
                "cycle": cycle,
                "steps": steps,
                "images": 0 if idle else steps * BATCH,
                "elapsed_s": time.monotonic() - began,
                "sent_bytes": sent_bytes() - before,
            }
            turns += [turn] if cycle else []
    dist.barrier()
    print(json.dumps(turns))
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
