"""Parts of engine pytorch, each by itself."""

import json
import subprocess
import time
from pathlib import Path

import numpy as np
import pytest
from engine_runs import PYTHONS, free_ports, on_torch

from tests import PROJECT

pytestmark = [
    pytest.mark.tensorflow,
    pytest.mark.skipif(not PYTHONS["pytorch"].exists(), reason="needs .torch-venv: make setup-torch"),
]


@pytest.mark.parametrize("name", ["adam", "sgd", "adam of PyTorch 2.3"])
def test_the_optimizers_make_keras_steps(tmp_path, name):
    """Also where the rate falls, and where a run goes on from a checkpoint. The formulas are those of Keras 2.12."""
    generator = np.random.default_rng(1)
    gradients = generator.normal(0, [1e-9, 1e-4, 1, 100], (6, 4)).astype(np.float32)
    rates = [0.1, 0.1, 0.1, 0.05, 0.05, 0.02]
    np.savez(tmp_path / "steps.npz", gradients=gradients, rates=rates)
    on_torch(
        """
import sys, numpy as np, torch
from trainer.contract.config import parse
from trainer.pytorch.optimizers import Optimizer
config = parse({"optimizer": {"name": sys.argv[2].split()[0], "momentum": 0.9, "beta_1": 0.8, "beta_2": 0.99}})
made = torch.optim.Adam.__init__
def older(self, *given, fused=None):  # which has no such operation on a CPU
    if fused:
        raise RuntimeError("`fused=True` requires all the params to be floating point Tensors of supported devices")
    made(self, *given)
if " " in sys.argv[2]:
    torch.optim.Adam.__init__ = older
gradients, rates = np.load(sys.argv[1])["gradients"], np.load(sys.argv[1])["rates"]
parameter = torch.nn.Parameter(torch.zeros(gradients.shape[1]))
optimizer = Optimizer(config, [parameter])
for step, (gradient, rate) in enumerate(zip(gradients, rates)):
    if step == 3:
        state = [tensor.clone() for tensor in optimizer.state()]
        optimizer = Optimizer(config, [parameter])
        optimizer.restore(state)
    parameter.grad = torch.from_numpy(gradient)
    optimizer.step(float(rate))
np.save(sys.argv[1] + ".npy", parameter.detach().numpy())
""",
        tmp_path / "steps.npz",
        name,
    )
    weights = first = second = np.zeros(4)
    for step, (gradient, rate) in enumerate(zip(gradients.astype(float), rates, strict=True), 1):
        if name == "sgd":
            first = 0.9 * first - rate * gradient
            weights = weights + first
            continue
        first, second = 0.8 * first + 0.2 * gradient, 0.99 * second + 0.01 * gradient**2
        corrected = rate * np.sqrt(1 - 0.99**step) / (1 - 0.8**step)
        weights = weights - corrected * first / (np.sqrt(second) + 1e-7)
    np.testing.assert_allclose(np.load(tmp_path / "steps.npz.npy"), weights, rtol=1e-4)


def test_the_loss_scale_falls_with_overflows_and_grows_as_keras_does():
    on_torch("""
import torch
from trainer.contract.causes import NotLearningError
from trainer.pytorch.optimizers import SKIPPED_STEPS, LossScale
fine, over = [torch.ones(2)], [torch.ones(2), torch.tensor([float("inf")])]
scale = LossScale(True)
assert not scale.applies(over) and scale.scale == 2**14
assert all(scale.applies(fine) for _ in range(1999)) and scale.scale == 2**14
resumed = LossScale(True)
resumed.restore(scale.state())
assert resumed.applies(fine) and resumed.scale == 2**15
assert not any(resumed.applies(over) for _ in range(SKIPPED_STEPS - 1)) and resumed.scale == 1.0
try:
    resumed.applies(over)
except NotLearningError as error:
    assert "loss scale of 1" in str(error)
else:
    raise AssertionError("it goes on without learning")
assert LossScale(False).applies(over) and LossScale(False).scale == 1.0
""")


def test_a_last_batch_of_one_image_normalises_as_in_keras():
    """Images of 32 pixels are one pixel at the end, so that a channel has a single value, of variance 0."""
    on_torch("""
import torch
from trainer.contract.config import parse
from trainer.pytorch.model import Model
model = Model(parse({"model": {"image_size": 32, "batch_norm_momentum": 0.9}}).model, 10, torch.Generator()).train()
model(torch.full((1, 3, 32, 32), 99, dtype=torch.uint8)).sum().backward()
torch.testing.assert_close(model.last_bn.running_var, torch.full((1280,), 0.9))
assert model.blocks[13].depthwise_bn.running_mean.abs().max() > 0  # the first layer with a single value a channel
assert all(part.grad is not None and part.grad.isfinite().all() for part in model.parameters())
x = torch.full((1, 1280, 1, 1), float("inf"))
assert model.last_bn(x).isnan().all()  # a model that has diverged must not look healthy
""")


def test_a_checkpoint_of_the_server_is_of_the_epochs_end():
    """Other workers may be in the next epoch by the time at which the chief writes it."""
    on_torch("""
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace as Stub
import torch
from trainer.contract.config import parse
from trainer.pytorch import rpc
calls = []
worker = Stub(
    group=Stub(workers=1, in_order=ThreadPoolExecutor(1), meet=lambda: calls.append("meet")),
    parameters=[torch.nn.Parameter(torch.ones(3))],
    flatten_gradient=lambda: torch.zeros(3),
    compute=Stub(device=torch.device("cpu")),
    context=Stub(config=parse({}), cluster=Stub(is_chief=True), recorder=Stub()),
    model=Stub(moving_statistics=list),
)
method = rpc.Asynchronous(worker)
(saved,) = method.state()
rpc._apply(torch.full((3,), 2.0), 0.1)
with method.consensus():
    pass
assert calls == ["meet"]
at_end = [part.clone() for part in saved.read()]
rpc._apply(torch.full((3,), -5.0), 0.1)
assert all(map(torch.equal, saved.read(), at_end)), (saved.read(), at_end)
saved.take(at_end)
assert torch.equal(rpc._pull()[0], at_end[0]) and torch.equal(at_end[0], worker.parameters[0])
""")


@pytest.mark.parametrize("before", ["", " of PyTorch 2.4"])
def test_gpus_of_one_machine_are_told_apart_where_pytorch_can(before):
    on_torch(
        """
import sys
import torch
from types import SimpleNamespace as Stub
from trainer.pytorch import group
found = iter([Stub()] * 2 if sys.argv[1] else [Stub(uuid="1"), Stub(uuid="2")])
torch.cuda.get_device_properties = lambda device: next(found)
first, second = group._gpu(torch.device("cuda", 0)), group._gpu(torch.device("cuda", 0))
assert first and (first == second) == bool(sys.argv[1]), (first, second)
""",
        before,
    )


def listeners(port):
    """The addresses at which somebody listens at a port, as the kernel writes them."""
    lines = [line.split() for name in ("tcp", "tcp6") for line in Path("/proc/net", name).read_text().splitlines()[1:]]
    pairs = [fields[1].split(":") for fields in lines if fields[3] == "0A"]
    return [address for address, number in pairs if int(number, 16) == port]


def test_the_gates_all_reduce_listens_at_the_boards_address_alone():
    addresses = [f"127.0.0.1:{port}" for port in free_ports(2)]
    boards = []
    try:
        for rank in range(2):
            request = json.dumps({"addresses": addresses, "rank": rank, "interface": "lo"})
            with (PROJECT / "roles/check/files/torch_all_reduce.py").open() as program:
                command = [PYTHONS["pytorch"], "-", request]
                boards.append(subprocess.Popen(command, stdin=program, stderr=subprocess.PIPE, text=True))
            deadline = time.monotonic() + 60
            while rank == 0 and not listeners(int(addresses[0].split(":")[1])):
                assert time.monotonic() < deadline and boards[0].poll() is None
                time.sleep(0.05)
        assert listeners(int(addresses[0].split(":")[1])) == ["0100007F"]
        for board in boards:
            assert board.wait(60) == 0, board.stderr.read()
    finally:
        for board in boards:
            board.kill()
            board.wait()
            board.stderr.close()
