"""Runs on a board: trains the kit's model with PyTorch's DistributedDataParallel, and prints what it took as JSON.

The model is Keras' MobileNetV2 with the paper's head, layer by layer (2,931,044 parameters); images are random
bytes of 32x32, enlarged to 64x64 on the board, as the kit does it.
"""

import argparse
import json
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


def main() -> None:
    parser = argparse.ArgumentParser()
    for name in ("rank", "workers", "skip", "timed"):
        parser.add_argument(f"--{name}", type=int, required=True)
    parser.add_argument("--chief", required=True)
    parser.add_argument("--hook", required=True)
    options = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(1)
    net: nn.Module = model()
    assert sum(p.numel() for p in net.parameters()) == PARAMETERS
    averager = None
    if options.workers > 1:
        dist.init_process_group(
            "gloo", init_method=f"tcp://{options.chief}:{PORT}", rank=options.rank, world_size=options.workers
        )
        net = DistributedDataParallel(net)
        if options.hook == "fp16":
            net.register_comm_hook(None, default_hooks.fp16_compress_hook)
        elif options.hook.startswith("powersgd"):
            state = powerSGD_hook.PowerSGDState(None, matrix_approximation_rank=2, start_powerSGD_iter=4)
            net.register_comm_hook(state, powerSGD_hook.powerSGD_hook)
        elif options.hook.startswith("post-local"):
            local = post_localSGD_hook.PostLocalSGDState(
                None, dist.group.WORLD, start_localSGD_iter=4, post_local_gradient_allreduce=False
            )
            net.register_comm_hook(local, post_localSGD_hook.post_localSGD_hook)
            averager = PeriodicModelAverager(period=PERIOD, warmup_steps=4)
    optimizer = torch.optim.Adam(net.parameters(), lr=0.001)
    if averager is not None:
        optimizer = PostLocalSGDOptimizer(optimizer, averager)
    loss_of = nn.CrossEntropyLoss()
    generator = torch.Generator().manual_seed(options.rank)
    images = torch.randint(0, 256, (16 * BATCH, 3, 32, 32), dtype=torch.uint8, generator=generator)
    labels = torch.randint(0, CLASSES, (16 * BATCH,), generator=generator)
    began, before = 0.0, 0
    for step in range(options.skip + options.timed):
        if step == options.skip:
            began, before = time.monotonic(), sent_bytes()
        chosen = torch.randint(0, len(images), (BATCH,), generator=generator)
        x = images[chosen].float() / 127.5 - 1
        optimizer.zero_grad()
        loss = loss_of(net(x), labels[chosen])
        loss.backward()
        optimizer.step()
        loss.item()
    seconds = time.monotonic() - began
    print(json.dumps({"images": options.timed * BATCH, "seconds": seconds, "sent_bytes": sent_bytes() - before}))
    if options.workers > 1:
        dist.destroy_process_group()


if __name__ == "__main__":
    main()
